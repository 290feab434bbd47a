//! Driver for Intel 82574-class network cards, `no_std`, generic over the `hal` traits.
//!
//! Start with [`device`]: bring-up in datasheet order, then the few things an owner may ask. The data path is
//! `rx` and `tx`; `desc` and `regs` are the datasheet's tables. Not here: PCI configuration space, links,
//! packets, policy. The card is not trusted: it may write anything into the DMA arena at any moment.
//!
//! ```ignore
//! let mut nic = Nic::new(0x10D3, InterruptMode::MsiX, bar0, &mut arena, clock)?;
//! loop {
//!     nic.acknowledge();
//!     let (mut rx, mut tx) = nic.rings();
//!     rx.poll(64, &mut |frame, hints| forward(frame, hints));
//!     tx.reclaim();
//!     tx.send(&[&header, &payload], TxOffload::None)?;
//!     tx.kick();
//!     // once a second, or when nothing was received: nic.service()?
//!     if nic.arm() == Armed::Sleep { halt() }
//! }
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(any(test, feature = "fake"))]
extern crate std;

pub mod chip;
mod desc;
pub mod device;
pub mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod filter;
pub mod interrupt;
pub mod link;
mod nvm;
mod phy;
mod regs;
mod reset;
pub mod rx;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod tx;

pub use device::{Armed, Events, Nic};
pub use error::{SetupError, TxError};
pub use interrupt::InterruptMode;
pub use link::{Duplex, LinkState};
pub use rx::{RxChecksum, RxHints};
pub use tx::TxOffload;
