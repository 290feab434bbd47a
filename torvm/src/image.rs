//! The machine as the library asks for it.

pub(crate) mod disk;
pub(crate) mod nic;
pub(crate) mod ring3;

use link::{Link, Meta};
use nic::Nic;
use rt::user::{Frames as Pages, NoFrames};
use rt::{Clock, PortBell, wall_clock};
use torvm::files::Limits;
use torvm::frames::{Frames, PortFault};
use torvm::time::Now;

/// How much the files may take.
pub(crate) const LIMITS: Limits = Limits { bytes: 22 << 20, nodes: 2048 };

/// The program's part of the heap, in hundredths: the rest is for sockets (40 MiB at most) and files.
const PROGRAM_SHARE: u64 = 45;

/// The memory that the program is made of.
pub(crate) fn frames_for_program(heap_len: u64) -> Result<Pages, NoFrames> {
    Pages::take(heap_len / 100 * PROGRAM_SHARE)
}

/// The time.
pub(crate) fn now() -> Now {
    Now { us: Clock.us(), wall_ns: wall_clock::now_ns().unwrap_or(0) }
}

/// A port that frames come and go by.
#[expect(clippy::large_enum_variant, reason = "moved once, when the port comes up")]
pub(crate) enum Port {
    /// A link to another domain.
    Link(Link<PortBell>),
    /// A card, on machines that are not ours.
    Nic(Nic),
}

/// Calls the same method of whichever port it is.
macro_rules! port {
    ($self:expr, $port:ident => $call:expr) => {
        match $self {
            Port::Link($port) => $call,
            Port::Nic($port) => $call,
        }
    };
}

impl Frames for Port {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        port!(self, port => port.receive(buffer))
    }

    fn send(&mut self, meta: &Meta, frame: &[u8]) -> bool {
        port!(self, port => Frames::send(port, meta, frame))
    }

    fn has_room(&mut self, len: usize) -> bool {
        port!(self, port => Frames::has_room(port, len))
    }

    fn flush(&mut self) {
        port!(self, port => port.flush());
    }

    fn finishes_checksums(&self) -> bool {
        port!(self, port => port.finishes_checksums())
    }

    fn arm(&mut self) -> bool {
        port!(self, port => Frames::arm(port))
    }
}
