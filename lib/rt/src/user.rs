//! User mode: one program in ring 3, in memory of its own, and every way back from there.
//!
//! The program has the lower half of the address space but its first 512 GiB, which are the runtime's and closed to
//! it. Whatever it does ends in a [`Trap`]: a call, an interrupt, or a fault. Nothing here knows what a call means.
//!
//! The runtime never reads or writes at an address of the program: it looks the address up in the page tables and
//! copies to or from the frame behind it. So no address that a program gives can make the runtime fault, and
//! processors that offer it (SMAP) deny such accesses altogether.

mod context;
mod entry;
mod frames;
mod processor;
mod space;

pub use context::{BadBase, Context, Trap};
pub(crate) use entry::interrupted;
pub use frames::{Frames, NoFrames};
pub(crate) use space::Top;
pub use space::{Access, BadAddress, MapError, Space};

use crate::ram::PAGE;

/// First address that a program may use.
pub const FIRST: u64 = 1 << 39;
/// End of the addresses that a program may use. The last page below 2^47 is nobody's, so that no instruction ends at
/// an address that is not canonical.
pub const END: u64 = (1 << 47) - PAGE;
