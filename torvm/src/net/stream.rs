//! One connection, as the program sees it and as it lives on when the program has closed it.

use super::{
    congestion::Congestion,
    links::UPLINK,
    state::RELAY_BUFFERS,
    table::{Key, Slot},
    tcp::{State, Tcp},
};
use crate::{errno::Errno, sockets::Readiness};
use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Microseconds in a second.
const SECOND_US: u64 = 1_000_000;
/// How long a client may take over its handshake.
const HANDSHAKE_US: u64 = 20 * SECOND_US;
/// How long a peer may take over ours.
const CONNECT_US: u64 = 60 * SECOND_US;
/// How long a peer may leave unanswered what it was sent.
const SILENCE_US: u64 = 300 * SECOND_US;
/// How long a reset may wait for room.
const RESET_US: u64 = 5 * SECOND_US;
/// How long a connection lives after the program has closed it.
const ORPHAN_US: u64 = 60 * SECOND_US;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This listener's; the handshake goes on.
    Opening(Slot),
    /// This listener's; the program has not taken it yet.
    Waiting(Slot),
    /// The program's.
    Program,
    /// Nobody's any more.
    Nobody,
}

/// What the program was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    state: State,
    received: usize,
    writable: bool,
}

/// What happened to a connection that somebody else has to act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing of that kind.
    Nothing,
    /// The handshake is complete.
    Established,
    /// It is over; nothing more leaves.
    Gone,
}

/// A connection.
pub(super) struct Stream {
    /// Port of the link device.
    pub(super) port: u8,
    /// Our end; where a client wanted to go.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// What the program takes for the ends, ours first.
    pub(super) names: (SocketAddrV4, SocketAddrV4),
    /// How long its segments are when somebody else cuts them.
    pub(super) cut: Option<u16>,
    /// How much may be on its way, on the uplink.
    pub(super) congestion: Option<Congestion>,
    /// Whose it is.
    pub(super) owner: Owner,
    /// The connection itself, while it lives or has something to read.
    pub(super) tcp: Option<Box<Tcp>>,
    /// What went wrong and was not fetched yet.
    pub(super) error: Option<Errno>,
    /// Counts what would wake who waits.
    pub(super) edges: u32,
    /// Whether closing resets.
    pub(super) reset_on_close: bool,
    /// Whether it is in the list of those that may have something to send.
    pub(super) listed: bool,
    read_shut: bool,
    write_shut: bool,
    /// Whether its end was noticed.
    over: bool,
    seen: Seen,
    /// When the peer last said something, or was last given reason to.
    heard_us: u64,
    closed_us: Option<u64>,
    aborted_us: Option<u64>,
    /// Whether its buffers are counted, and whether they are a relay's large ones.
    counted: Option<bool>,
}

/// Whether there is as much room as Linux waits for before it says so.
fn is_writable(tcp: &Tcp, window: usize) -> bool {
    let socket = tcp.socket();
    let (capacity, used) = (socket.send_capacity().min(window), socket.send_queue());
    capacity.saturating_sub(used).saturating_mul(3) >= capacity
}

fn look(tcp: &Tcp, window: usize) -> Seen {
    Seen { state: tcp.state(), received: tcp.socket().recv_queue(), writable: is_writable(tcp, window) }
}

/// How the program knows an end: none that it is not told of otherwise is an IPv6 one.
const fn known(end: SocketAddr) -> SocketAddrV4 {
    match end {
        SocketAddr::V4(end) => end,
        SocketAddr::V6(end) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, end.port()),
    }
}

/// Whether the peer has said that it sends no more.
const fn has_peer_closed(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}

impl Stream {
    /// A connection at its beginning.
    pub(super) fn new(port: u8, ends: (SocketAddr, SocketAddr), owner: Owner, tcp: Tcp, now_us: u64) -> Self {
        Self {
            port,
            local: ends.0,
            peer: ends.1,
            names: (known(ends.0), known(ends.1)),
            cut: None,
            congestion: (port == UPLINK).then(Congestion::new),
            owner,
            seen: look(&tcp, usize::MAX),
            tcp: Some(Box::new(tcp)),
            error: None,
            edges: 0,
            reset_on_close: false,
            listed: false,
            read_shut: false,
            write_shut: false,
            over: false,
            heard_us: now_us,
            closed_us: None,
            aborted_us: None,
            counted: None,
        }
    }

    /// How much may be unacknowledged, the buffer aside.
    fn window(&self) -> usize {
        self.congestion.as_ref().map_or(usize::MAX, Congestion::window)
    }

    /// What it is found by.
    pub(super) fn key(&self) -> Key {
        Key::new(self.port, self.local, self.peer)
    }

    /// Where the connection is in its life.
    pub(super) fn state(&self) -> State {
        self.tcp.as_ref().map_or(State::Closed, |tcp| tcp.state())
    }

    /// Whether the handshake is yet to be completed.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state(), State::SynSent | State::SynReceived) && !self.over
    }

    /// Whether the connection has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Its buffers are counted from now on; whether they are large.
    pub(super) fn count(&mut self) -> bool {
        let large =
            self.tcp.as_ref().is_some_and(|tcp| tcp.socket().recv_capacity() >= RELAY_BUFFERS.receive);
        self.counted = Some(large);
        large
    }

    /// Gives, once, whether they were large, when they are there no more.
    pub(super) fn uncount(&mut self) -> Option<bool> {
        if self.tcp.is_some() { None } else { self.counted.take() }
    }

    /// Something of the peer arrived.
    pub(super) fn hear(&mut self, now_us: u64) {
        self.heard_us = now_us;
    }

    /// What the program may do with it.
    pub(super) fn readiness(&self) -> Readiness {
        let mut bits = if self.error.is_some() { Readiness::ERR } else { 0 };
        match &self.tcp {
            Some(tcp) if !self.over => {
                let state = tcp.state();
                if !matches!(state, State::SynSent | State::SynReceived | State::Listen) {
                    bits |= self.living_bits(tcp, has_peer_closed(state));
                }
            }
            _ => bits |= Readiness::IN | Readiness::OUT | Readiness::RDHUP | Readiness::HUP,
        }
        Readiness { bits, edges: self.edges }
    }

    fn living_bits(&self, tcp: &Tcp, peer_closed: bool) -> u32 {
        let at_end = peer_closed || self.read_shut;
        let mut bits = 0;
        if at_end {
            bits |= Readiness::IN | Readiness::RDHUP;
        }
        if tcp.socket().can_recv() {
            bits |= Readiness::IN;
        }
        if self.write_shut {
            bits |= Readiness::OUT;
            if at_end {
                bits |= Readiness::HUP;
            }
        } else if is_writable(tcp, self.window()) {
            bits |= Readiness::OUT;
        }
        bits
    }

    /// Sends.
    pub(super) fn send(&mut self, bytes: &[u8], now_us: u64) -> Result<usize, Errno> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.over || self.write_shut {
            return Err(Errno::PIPE);
        }
        let (connecting, window) = (self.is_connecting(), self.window());
        let tcp = self.tcp.as_mut().ok_or(Errno::PIPE)?;
        if connecting {
            return Err(Errno::AGAIN);
        }
        if tcp.socket().send_queue() == 0 {
            self.heard_us = now_us;
        }
        let room = window.saturating_sub(tcp.socket().send_queue()).min(bytes.len());
        let sent =
            tcp.socket_mut().send_slice(bytes.get(..room).unwrap_or(bytes)).map_err(|_| Errno::PIPE)?;
        self.seen.writable = is_writable(tcp, window);
        if sent == 0 && !bytes.is_empty() { Err(Errno::AGAIN) } else { Ok(sent) }
    }

    /// Receives.
    pub(super) fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        if let Some(tcp) = self.tcp.as_mut().filter(|tcp| tcp.socket().can_recv()) {
            let received = tcp.socket_mut().recv_slice(out).unwrap_or(0);
            self.seen.received = tcp.socket().recv_queue();
            return Ok(received);
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let at_end = self.over || self.read_shut || has_peer_closed(self.state());
        if at_end { Ok(0) } else { Err(Errno::AGAIN) }
    }

    /// Ends receiving: what comes nevertheless can still be read, as on Linux.
    pub(super) fn shut_read(&mut self) {
        self.read_shut = true;
        self.edges = self.edges.wrapping_add(1);
    }

    /// Ends sending, after what was sent.
    pub(super) fn shut_write(&mut self, now_us: u64) {
        if !self.write_shut {
            self.write_shut = true;
            self.heard_us = now_us;
            self.edges = self.edges.wrapping_add(1);
            if let Some(tcp) = self.tcp.as_mut() {
                tcp.socket_mut().close();
            }
        }
    }

    /// The program wants no more of it.
    pub(super) fn orphan(&mut self, now_us: u64) {
        let unread = self.tcp.as_ref().is_some_and(|tcp| tcp.socket().can_recv());
        let abrupt = self.reset_on_close || unread || self.is_connecting();
        self.owner = Owner::Nobody;
        self.closed_us = Some(now_us);
        self.heard_us = now_us;
        if abrupt {
            self.abort(now_us);
        } else {
            self.shut_write(now_us);
        }
    }

    /// Ends it at once; the peer is told by a reset, but not one that has not answered yet.
    pub(super) fn abort(&mut self, now_us: u64) {
        if self.state() == State::SynSent {
            self.tcp = None;
        } else if let Some(tcp) = self.tcp.as_mut().filter(|tcp| !tcp.is_gone()) {
            if tcp.state() != State::Closed {
                self.aborted_us = Some(now_us);
            }
            tcp.socket_mut().abort();
        }
    }

    /// Ends it, and tells the program why; the peer is not told.
    pub(super) fn fail(&mut self, error: Errno) {
        self.tcp = None;
        if !self.over {
            self.over = true;
            self.error = Some(error);
            self.edges = self.edges.wrapping_add(1);
        }
    }

    /// When to look at it although nothing happens.
    pub(super) fn deadline(&self) -> Option<u64> {
        let tcp = self.tcp.as_ref()?;
        if let Some(aborted_us) = self.aborted_us {
            return Some(aborted_us.saturating_add(RESET_US));
        }
        let owed = match tcp.state() {
            State::SynReceived | State::Listen => Some(HANDSHAKE_US),
            State::SynSent => Some(CONNECT_US),
            State::FinWait1 | State::Closing | State::LastAck => Some(SILENCE_US),
            State::Closed | State::TimeWait => None,
            _ => (tcp.socket().send_queue() > 0).then_some(SILENCE_US),
        };
        let owed = owed.map(|us| self.heard_us.saturating_add(us));
        let orphan = self.closed_us.map(|us| us.saturating_add(ORPHAN_US));
        [owed, orphan].into_iter().flatten().min()
    }

    /// Gives it up if its deadline has come; whether its peer was too late.
    pub(super) fn expire(&mut self, now_us: u64) -> bool {
        if self.deadline().is_none_or(|at| now_us < at) {
            return false;
        }
        match self.state() {
            // Who never answered is not told either.
            State::SynSent | State::SynReceived | State::Listen => self.tcp = None,
            // The reset found no room in all that time.
            State::Closed => {
                self.tcp = None;
                return false;
            }
            _ => self.abort(now_us),
        }
        self.error = Some(Errno::TIMEDOUT);
        true
    }

    /// Notices what a segment, or the time, has changed. `reset`: the segment was a reset.
    pub(super) fn notice(&mut self, reset: bool, now_us: u64) -> Event {
        let before = self.seen;
        let Some(tcp) = self.tcp.as_ref() else { return self.end(before.state, reset) };
        let now = look(tcp, self.window());
        self.seen = now;
        let arrived = now.received > before.received;
        let room = now.writable && !before.writable;
        if arrived || room || now.state != before.state {
            self.edges = self.edges.wrapping_add(1);
        }
        if self.owner == Owner::Nobody && now.received > 0 {
            // Linux: nobody will read it, and the peer had better know.
            self.abort(now_us);
        }
        match self.state() {
            State::Closed => self.end(before.state, reset),
            // A reset puts an accepting socket back to listening.
            State::Listen if before.state != State::Listen => {
                self.tcp = None;
                Event::Gone
            }
            state => {
                let was_opening = matches!(self.owner, Owner::Opening(_));
                let open = !matches!(state, State::SynReceived | State::Listen | State::SynSent);
                if was_opening && open { Event::Established } else { Event::Nothing }
            }
        }
    }

    /// Lets go of a connection that only waits for old segments, of which there are none here: what is due is said.
    pub(super) fn retire(&mut self) -> Event {
        if self.owner == Owner::Nobody && self.state() == State::TimeWait {
            self.tcp = None;
            return Event::Gone;
        }
        Event::Nothing
    }

    /// The connection is closed: says why, lets go of what is not needed.
    fn end(&mut self, before: State, reset: bool) -> Event {
        if !self.over {
            self.over = true;
            self.edges = self.edges.wrapping_add(1);
            if reset && self.error.is_none() {
                self.error = Some(match before {
                    State::SynSent => Errno::CONNREFUSED,
                    State::CloseWait => Errno::PIPE,
                    _ => Errno::CONNRESET,
                });
            }
        }
        let gone = self.tcp.as_ref().is_none_or(|tcp| tcp.is_gone());
        let unread =
            self.owner != Owner::Nobody && self.tcp.as_ref().is_some_and(|tcp| tcp.socket().can_recv());
        if gone && !unread {
            self.tcp = None;
        }
        if gone { Event::Gone } else { Event::Nothing }
    }
}
