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
/// Window scale not offered; one that is offered is at most 14.
const NO_SCALE: u8 = 15;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Outward,
    /// From the uplink, or from the other client.
    Inward,
}

impl Direction {
    /// The other one.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Outward => Self::Inward,
            Self::Inward => Self::Outward,
        }
    }
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
    /// The opener's SYN went out.
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

impl State {
    /// Seconds after which a connection in this state that is not UDP is forgotten.
    #[inline]
    pub(super) const fn timeout(self) -> u16 {
        match self {
            // RFC 5508 REQ-2.
            Self::New | Self::Replied => 60,
            Self::SynSent => 120,
            // RFC 5382 REQ-5.
            Self::Established => 7440,
            Self::SynReceived | Self::HalfClosed | Self::Closing => 240,
            Self::Reset => 10,
        }
    }

    /// The state with this number.
    #[inline]
    const fn of(number: u8) -> Self {
        match number & 7 {
            0 => Self::New,
            1 => Self::Replied,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::Established,
            5 => Self::HalfClosed,
            6 => Self::Closing,
            _ => Self::Reset,
        }
    }
}

/// One side's sequence space. Two-byte alignment leaves no gap in a flow's entry.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(2))]
struct Side {
    /// After the last byte that it sent.
    end: u32,
    /// After the last byte that the other side lets it send.
    max_end: u32,
    /// Largest window that it ever offered.
    max_window: u32,
}

/// In [`Tracker::life`]: the state's bits.
const STATE: u8 = 7;
/// In [`Tracker::life`]: the near side sent FIN.
const FIN_NEAR: u8 = 1 << 3;
/// In [`Tracker::life`]: the far side sent FIN.
const FIN_FAR: u8 = 1 << 4;
/// In [`Tracker::life`]: the far side opened it.
const FROM_FAR: u8 = 1 << 5;
/// In [`Tracker::life`]: the entry is in use.
const ALIVE: u8 = 1 << 6;

/// A tracked connection: 26 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Tracker {
    near: Side,
    far: Side,
    /// Window scales: the near side's in the low half.
    scales: u8,
    /// State, who sent FIN, who opened it, whether the entry is in use.
    life: u8,
}

const _: () = assert!(size_of::<Tracker>() == 26);

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
    /// A connection that begins with this SYN.
    #[must_use]
    pub fn open(opener: Direction, syn: &Segment<'_>) -> Self {
        let end = syn.end();
        let mut tracker = Self::packets(opener);
        *tracker.sides(opener).0 = Side { end, max_end: end, max_window: u32::from(syn.tcp.window).max(1) };
        tracker.set_scale(opener, syn.scale.unwrap_or(NO_SCALE));
        tracker.set_state(State::SynSent);
        tracker
    }

    /// Packets of a protocol without connections, of which the first goes this way.
    #[must_use]
    pub const fn packets(opener: Direction) -> Self {
        let side = Side { end: 0, max_end: 0, max_window: 0 };
        let life = match opener {
            Direction::Outward => 0,
            Direction::Inward => FROM_FAR,
        };
        Self { near: side, far: side, scales: 0, life }
    }

    /// Where it is.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> State {
        State::of(self.life)
    }

    /// Whether both sides are done, or one was reset: its opener may begin another connection.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state(), State::Closing | State::Reset)
    }

    #[inline]
    const fn set_state(&mut self, state: State) {
        self.life = self.life & !STATE | state as u8;
    }

    /// Which way its first packet went.
    #[inline]
    #[must_use]
    pub const fn opener(&self) -> Direction {
        if self.life & FROM_FAR == 0 { Direction::Outward } else { Direction::Inward }
    }

    /// Whether its entry is in use.
    #[inline]
    pub(super) const fn is_alive(&self) -> bool {
        self.life & ALIVE != 0
    }

    /// The same, its entry in use.
    pub(super) const fn alive(self) -> Self {
        Self { life: self.life | ALIVE, ..self }
    }

    /// Its entry is not in use any more.
    pub(super) const fn end(&mut self) {
        self.life &= !ALIVE;
    }

    /// Who sends what goes this way, and who receives it.
    #[inline]
    const fn sides(&mut self, direction: Direction) -> (&mut Side, &mut Side) {
        match direction {
            Direction::Outward => (&mut self.near, &mut self.far),
            Direction::Inward => (&mut self.far, &mut self.near),
        }
    }

    /// The window scale of who sends what goes this way.
    #[inline]
    const fn scale(&self, direction: Direction) -> u8 {
        match direction {
            Direction::Outward => self.scales & 15,
            Direction::Inward => self.scales >> 4,
        }
    }

    const fn set_scale(&mut self, direction: Direction, scale: u8) {
        self.scales = match direction {
            Direction::Outward => self.scales & 0xF0 | scale & 15,
            Direction::Inward => self.scales & 15 | scale << 4,
        };
    }

    /// Notes a packet of a protocol without connections.
    #[inline]
    pub fn note(&mut self, direction: Direction) {
        if direction != self.opener() {
            self.set_state(State::Replied);
        }
    }

    /// Judges a segment and takes it into account.
    ///
    /// # Errors
    /// [`DropReason::TcpState`] and [`DropReason::TcpWindow`]; the connection is then as before.
    #[inline]
    pub fn track(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        let state = self.state();
        if state != State::SynSent && !segment.has(SYN) && !segment.has(RST) && state != State::Reset {
            return self.advance(direction, segment);
        }
        match state {
            State::SynSent if direction == self.opener() => self.syn_again(segment),
            State::SynSent => self.syn_answered(segment),
            _ if segment.has(SYN) => self.stray_syn(direction, segment),
            State::Reset if !segment.has(RST) => Err(DropReason::TcpState),
            _ => self.reset(direction, segment),
        }
    }

    /// Does what [`Self::track`] does with a segment that is neither SYN nor RST.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn follow(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        match self.state() {
            State::SynSent | State::Reset => Err(DropReason::TcpState),
            _ => self.advance(direction, segment),
        }
    }

    /// The opener before any answer: its SYN again (or another one), or it gives up.
    fn syn_again(&mut self, segment: &Segment<'_>) -> Result<(), DropReason> {
        let end = self.sides(self.opener()).0.end;
        if segment.has(RST) && segment.tcp.sequence == end {
            self.set_state(State::Reset);
            return Ok(());
        }
        if !segment.has(SYN) || segment.has(ACK) {
            return Err(DropReason::TcpState);
        }
        *self = Self::open(self.opener(), segment).alive();
        Ok(())
    }

    /// The first answer to the opener's SYN.
    fn syn_answered(&mut self, segment: &Segment<'_>) -> Result<(), DropReason> {
        let opener = self.opener();
        let (asked, answered) = self.sides(opener);
        if !segment.has(ACK) || !(segment.has(SYN) || segment.has(RST)) {
            return Err(DropReason::TcpState);
        }
        if segment.tcp.acknowledgement != asked.end {
            return Err(DropReason::TcpWindow);
        }
        if segment.has(RST) {
            self.set_state(State::Reset);
            return Ok(());
        }
        let window = u32::from(segment.tcp.window).max(1);
        let end = segment.end();
        *answered = Side { end, max_end: end.wrapping_add(asked.max_window), max_window: window };
        asked.max_end = asked.end.wrapping_add(window);
        self.set_scale(opener.reversed(), segment.scale.unwrap_or(NO_SCALE));
        if self.scale(Direction::Outward) == NO_SCALE || self.scale(Direction::Inward) == NO_SCALE {
            self.scales = 0;
        }
        self.set_state(State::SynReceived);
        Ok(())
    }

    /// A SYN where none is due. From the opener it is passed on, so that the other end can challenge it; a repeated
    /// SYN-ACK passes; nothing else does. One that begins a new connection does not come here.
    fn stray_syn(&self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        let opening = direction == self.opener();
        match (opening, segment.has(ACK)) {
            (true, false) => Ok(()),
            (false, true) if self.state() != State::Reset => self.check(direction, segment).map(drop),
            _ => Err(DropReason::TcpState),
        }
    }

    /// A reset within the window passes. From the network it ends the connection only with the exact sequence number.
    /// From the client, whose link proves who it is, it ends it in any case: the number that the other end takes as
    /// exact is the one that it acknowledged last, which may lie before a gap.
    fn reset(&mut self, direction: Direction, segment: &Segment<'_>) -> Result<(), DropReason> {
        self.check(direction, segment)?;
        if direction == Direction::Outward || segment.tcp.sequence == self.sides(direction).0.end {
            self.set_state(State::Reset);
        }
        Ok(())
    }

    /// The window checks; gives the window that the segment offers.
    #[inline]
    fn check(&self, direction: Direction, segment: &Segment<'_>) -> Result<u32, DropReason> {
        let (sender, receiver) = match direction {
            Direction::Outward => (self.near, self.far),
            Direction::Inward => (self.far, self.near),
        };
        let shift = if segment.has(SYN) { 0 } else { self.scale(direction) };
        let window = u32::from(segment.tcp.window) << shift;
        let ack = if segment.has(ACK) { segment.tcp.acknowledgement } else { receiver.end };
        let oldest_ack = receiver.end.wrapping_sub({ sender.max_window }.max(MIN_ACK_WINDOW));
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
        let fin = match direction {
            Direction::Outward => FIN_NEAR,
            Direction::Inward => FIN_FAR,
        };
        let (sender, receiver) = self.sides(direction);
        sender.end = later(sender.end, segment.end());
        sender.max_window = { sender.max_window }.max(window);
        let allowed = segment.tcp.acknowledgement.wrapping_add(window.max(1));
        receiver.max_end = later(receiver.max_end, allowed);
        if segment.has(FIN) {
            self.life |= fin;
        }
        let answer = direction != self.opener();
        let state = match (self.life & (FIN_NEAR | FIN_FAR), self.state()) {
            (0, State::SynReceived) if answer => State::SynReceived,
            (0, _) => State::Established,
            (fins, _) if fins == FIN_NEAR | FIN_FAR => State::Closing,
            _ => State::HalfClosed,
        };
        self.set_state(state);
        Ok(())
    }

    /// The sequence number after the last byte that was sent this way.
    #[must_use]
    pub const fn sent_to(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Outward => self.near.end,
            Direction::Inward => self.far.end,
        }
    }

    /// Whether a sequence number quoted in an ICMP error is one that `sender` may have in flight (RFC 5927 §4.1).
    #[must_use]
    pub fn in_flight(&self, sender: Direction, sequence: u32) -> bool {
        let (sender, receiver) = match sender {
            Direction::Outward => (self.near, self.far),
            Direction::Inward => (self.far, self.near),
        };
        let oldest = sender.end.wrapping_sub({ receiver.max_window }.max(MIN_ACK_WINDOW));
        not_before(sender.end, sequence) && not_before(sequence, oldest)
    }
}
