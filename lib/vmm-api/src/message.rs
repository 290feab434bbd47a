//! Requests and events while the machine runs. Descriptors travel beside a message as `SCM_RIGHTS`, in
//! the order given in its doc line.

use serde::{Deserialize, Serialize};

/// One end of a link inside a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Port of the link device.
    Port(u8),
    /// Interface of a Linux machine, index into [`crate::config::Config::vifs`].
    Vif(u8),
}

/// From dom0 to the VMM. Every request is answered by [`Event::Done`] or [`Event::Failed`] with its `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by dom0, echoed in the answer.
    pub id: u64,
    /// What to do.
    pub what: What,
}

/// What dom0 asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// First half of an attach. Descriptor: the memfd that this machine will write. The VMM maps it
    /// writable once and seals it (`SHRINK|GROW|FUTURE_WRITE|SEAL`) before it answers.
    PrepareLink {
        /// Which end.
        end: End,
    },
    /// Second half. Descriptors: the peer's memfd (sealed by its writer; checked), the eventfd that this
    /// end rings (write), the eventfd that rings this end (the peer writes it).
    AttachLink {
        /// Which end.
        end: End,
        /// Number of this incarnation of the link, larger than any before.
        epoch: u64,
        /// What the peer is to this machine, [`abi::link_device::Role`] as number.
        role: u32,
        /// Size of either region in bytes, header page included.
        region_len: u32,
    },
    /// Takes the peer's regions away; the guest sees the port down (a vif: link down).
    DetachLink {
        /// Which end.
        end: End,
    },
    /// Connects a stream to a vsock port of the guest. Descriptor: the host's end of the stream.
    VsockConnect {
        /// Port inside the guest.
        port: u32,
    },
    /// Presses the ACPI power button (Linux) or asks a unikernel to stop.
    PowerButton,
    /// Ends the machine at once.
    Kill,
    /// Asks for [`Event::Stats`].
    Stats,
}

/// From the VMM to dom0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The machine is built and confined; its processors are about to run.
    Running,
    /// A request was carried out.
    Done {
        /// The request.
        id: u64,
    },
    /// A request was not carried out, and nothing was left half-done.
    Failed {
        /// The request.
        id: u64,
        /// What, why, and what to do.
        error: String,
    },
    /// Answer to [`What::Stats`].
    Stats {
        /// The request.
        id: u64,
        /// Counters by name, in a stable order.
        counters: Vec<(String, u64)>,
    },
    /// The machine has ended; the process exits right after.
    Ended(Ended),
}

/// Why a machine ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The guest powered off.
    PoweredOff,
    /// The guest asked to be rebooted.
    Rebooted,
    /// The guest said that it panicked; the console has the text.
    Panicked,
    /// A processor shut down: triple fault.
    TripleFault,
    /// A unikernel ended by itself with this code.
    Exited(u32),
    /// KVM or the host refused to go on.
    HostError(String),
    /// dom0 asked for it.
    Killed,
}
