//! A TCP connection as seen from the middle.
//!
//! State and window checks follow van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000): what one
//! side may send is bounded by what it sent, what the other acknowledged, and the window that the other offered.
//! A reset ends a connection only with the exact next sequence number, and a SYN in a living connection changes
//! nothing (RFC 5961): whoever guesses blindly cannot make the firewall forget a connection.

use crate::verdict::DropReason;
use packet::tcp::{ACK, FIN, RST, SYN, Tcp};

/// Least room below the last acknowledged byte in which an acknowledgement may be old.
const MIN_ACK_WINDOW: u32 = 66_000;
/// Window scale not offered.
const NO_SCALE: u8 = 0xFF;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Outward,
    /// From the uplink.
    Inward,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not TCP, one direction seen; or TCP before the SYN.
    #[default]
    New,
    /// Not TCP, both directions seen.
    Replied,
    /// The client's SYN went out.
    SynSent,
    /// The answer came.
    SynReceived,
    /// Both sides agreed.
    Established,
    /// One side is done.
    HalfClosed,
    /// Both sides are done.
    Closing,
    /// Reset.
    Reset,
}

/// One side's sequence space.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Side {
    /// After the last byte that it sent.
    end: u32,
    /// After the last byte that the other side lets it send.
    max_end: u32,
    /// Largest window that it ever offered.
    max_window: u32,
}

/// A tracked connection: 28 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Tracker {
    client: Side,
    remote: Side,
    client_scale: u8,
    remote_scale: u8,
    /// Bit 0: the client sent FIN; bit 1: the remote did.
    fins: u8,
    state: State,
}

/// A segment as the tracker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The header.
    pub tcp: &'a Tcp,
    /// Payload bytes; those of all segments in a frame that stands for several.
    pub len: usize,
    /// Window scale option, in a SYN.
    pub scale: Option<u8>,
}

impl Segment<'_> {
    /// Sequence number after the segment.
    fn end(&self) -> u32 {
        let marks = u32::from(self.tcp.flags & SYN != 0) + u32::from(self.tcp.flags & FIN != 0);
        let len = u32::try_from(self.len).unwrap_or(0);
        self.tcp.sequence.wrapping_add(len).wrapping_add(marks)
    }

    const fn has(&self, flag: u8) -> bool {
        self.tcp.flags & flag != 0
    }
}

/// Whether `a` is `b` or later.
#[inline]
const fn not_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

/// The later of two sequence numbers.
#[inline]
const fn later(a: u32, b: u32) -> u32 {
    if not_before(a, b) { a } else { b }
}

impl Tracker {
    /// A connection that begins with this SYN of the client.
    #[must_use]
    pub fn open(syn: &Segment<'_>) -> Self {
        let end = syn.end();
        Self {
            client: Side { end, max_end: end, max_window: u32::from(syn.tcp.window).max(1) },
            client_scale: syn.scale.unwrap_or(NO_SCALE),
            state: State::SynSent,
            ..Self::default()
        }
    }

    /// Where it is.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Notes a packet of a protocol without connections.
    #[inline]
    pub fn note(&mut self, direction: Direction) {
        if direction == Direction::Inward {
            self.state = State::Replied;
        }
    }

    /// Judges a segment and takes it into account.
    ///
    /// # Errors
    /// [`DropReason::TcpState`] and [`DropReason::TcpWindow`]; the connection is then as before.
    #[inline]
    pub fn track(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        if self.state != State::SynSent
            && !segment.has(SYN)
            && !segment.has(RST)
            && self.state != State::Reset
        {
            return self.advance(direction, segment);
        }
        match (self.state, direction) {
            (State::SynSent, Direction::Outward) => self.syn_again(segment),
            (State::SynSent, Direction::Inward) => self.syn_answered(segment),
            _ if segment.has(SYN) => self.stray_syn(direction, segment),
            (State::Reset, _) if !segment.has(RST) => Err(DropReason::TcpState),
            _ => self.reset(direction, segment),
        }
    }

    /// The client before any answer: its SYN again (or another one), or it gives up.
    fn syn_again(&mut self, segment: &Segment<'_>) -> Result<(), DropReason> {
        if segment.has(RST) && segment.tcp.sequence == self.client.end {
            self.state = State::Reset;
            return Ok(());
        }
        if !segment.has(SYN) || segment.has(ACK) {
            return Err(DropReason::TcpState);
        }
        *self = Self::open(segment);
        Ok(())
    }

    /// The first answer to the client's SYN.
    fn syn_answered(&mut self, segment: &Segment<'_>) -> Result<(), DropReason> {
        if !segment.has(ACK) || !(segment.has(SYN) || segment.has(RST)) {
            return Err(DropReason::TcpState);
        }
        if segment.tcp.acknowledgement != self.client.end {
            return Err(DropReason::TcpWindow);
        }
        if segment.has(RST) {
            self.state = State::Reset;
            return Ok(());
        }
        let window = u32::from(segment.tcp.window).max(1);
        let end = segment.end();
        self.remote = Side { end, max_end: end.wrapping_add(self.client.max_window), max_window: window };
        self.client.max_end = self.client.end.wrapping_add(window);
        self.remote_scale = segment.scale.unwrap_or(NO_SCALE);
        if self.client_scale == NO_SCALE || self.remote_scale == NO_SCALE {
            (self.client_scale, self.remote_scale) = (0, 0);
        }
        self.state = State::SynReceived;
        Ok(())
    }

    /// A SYN where none is due. From the client it opens anew what has ended, and is passed on otherwise, so that
    /// the other end can challenge it; a repeated SYN-ACK passes; nothing else does.
    fn stray_syn(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        match (direction, segment.has(ACK)) {
            (Direction::Outward, false) => {
                if matches!(self.state, State::Closing | State::Reset) {
                    *self = Self::open(segment);
                }
                Ok(())
            }
            (Direction::Inward, true) if self.state != State::Reset => {
                self.check(direction, segment).map(drop)
            }
            _ => Err(DropReason::TcpState),
        }
    }

    /// A reset: within the window it passes, with the exact sequence number it ends the connection.
    fn reset(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        self.check(direction, segment)?;
        let sender = if direction == Direction::Outward { &self.client } else { &self.remote };
        if segment.tcp.sequence == sender.end {
            self.state = State::Reset;
        }
        Ok(())
    }

    /// The window checks; gives the window that the segment offers.
    #[inline]
    fn check(&self, direction: Direction, segment: &Segment<'_>) -> Result<u32, DropReason> {
        let (sender, receiver, scale) = match direction {
            Direction::Outward => (&self.client, &self.remote, self.client_scale),
            Direction::Inward => (&self.remote, &self.client, self.remote_scale),
        };
        let window = u32::from(segment.tcp.window) << if segment.has(SYN) { 0 } else { scale & 15 };
        let ack = if segment.has(ACK) { segment.tcp.acknowledgement } else { receiver.end };
        let oldest_ack = receiver.end.wrapping_sub(sender.max_window.max(MIN_ACK_WINDOW));
        let good = not_before(sender.max_end, segment.tcp.sequence)
            & not_before(segment.end(), sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1))
            & not_before(receiver.end, ack)
            & not_before(ack, oldest_ack);
        if good { Ok(window) } else { Err(DropReason::TcpWindow) }
    }

    /// An ordinary segment.
    #[inline]
    fn advance(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        let window = self.check(direction, segment)?;
        let (sender, receiver, fin) = match direction {
            Direction::Outward => (&mut self.client, &mut self.remote, 1),
            Direction::Inward => (&mut self.remote, &mut self.client, 2),
        };
        sender.end = later(sender.end, segment.end());
        sender.max_window = sender.max_window.max(window);
        let allowed = segment.tcp.acknowledgement.wrapping_add(window.max(1));
        receiver.max_end = later(receiver.max_end, allowed);
        if segment.has(FIN) {
            self.fins |= fin;
        }
        self.state = match (self.fins, self.state, direction) {
            (0, State::SynReceived, Direction::Inward) => State::SynReceived,
            (0, ..) => State::Established,
            (3, ..) => State::Closing,
            _ => State::HalfClosed,
        };
        Ok(())
    }

    /// Whether a sequence number quoted in an ICMP error is one that `sender` may have in flight (RFC 5927 §4.1).
    #[must_use]
    pub fn in_flight(&self, sender: Direction, sequence: u32) -> bool {
        let (sender, receiver) = match sender {
            Direction::Outward => (&self.client, &self.remote),
            Direction::Inward => (&self.remote, &self.client),
        };
        let oldest = sender.end.wrapping_sub(receiver.max_window.max(MIN_ACK_WINDOW));
        not_before(sender.end, sequence) && not_before(sequence, oldest)
    }
}
