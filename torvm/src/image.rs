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

/// How much the files may take: what the gateway keeps there (a consensus, its guards) needs less than 7 MiB.
pub(crate) const LIMITS: Limits = Limits { bytes: 12 << 20, nodes: 2048 };

/// The runtime's part of the heap: 40 MiB for sockets at most, the files, and room for everything else.
const OUR_PART: u64 = 56 << 20;

/// The memory that the program is made of: what the runtime can spare, on small machines half.
pub(crate) fn frames_for_program(heap_len: u64) -> Result<Pages, NoFrames> {
    Pages::take(heap_len.saturating_sub(OUR_PART).max(heap_len / 2))
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
