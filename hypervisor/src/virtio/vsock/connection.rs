//! One stream between the host and a port of the guest.
//!
//! Here: its state, its credit in both directions and its bounded buffer. Not here: queues, or who may
//! connect. Flow control is virtio 1.2, section 5.10.6.3.

use super::packet::{HOST, Header, NO_RECEIVE, NO_SEND, Op, TYPE_STREAM};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use vmm_sys_util::epoll::EventSet;

/// Bytes from the guest that wait for the host at most.
pub const BUFFER: u32 = 256 * 1024;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The guest has not answered the request.
    Asked,
    /// Data may flow.
    Open,
    /// The guest is done; what it sent is still being handed over.
    Draining,
    /// Nothing is left to do.
    Over,
}

/// What the guest did wrong on this connection; it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation;

/// Answers that are due to the guest besides data.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    request: bool,
    reset: bool,
    credit: bool,
    /// Shutdown flags to send.
    shutdown: u32,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: OwnedFd,
    cid: u64,
    guest_port: u32,
    host_port: u32,
    phase: Phase,
    due: Due,
    /// Bytes from the guest that the host has not taken.
    waiting: VecDeque<u8>,
    /// Bytes that the host has taken, in all; and as the guest knows it.
    forwarded: u32,
    told: u32,
    /// The guest's receive buffer: its size, what it has taken, and what was sent.
    guest_buffer: u32,
    guest_forwarded: u32,
    sent: u32,
    /// The stream may have data (or its end) for the guest.
    readable: bool,
    /// The host's end has closed altogether.
    hung_up: bool,
    host_ended: bool,
    /// Directions that the guest closed, as shutdown flags.
    guest_ended: u32,
    /// What the poller waits for; `None` when it does not know the stream.
    pub(super) polled: Option<EventSet>,
}

impl Connection {
    /// Begins a connection to a port of the guest.
    #[must_use]
    pub fn ask(stream: OwnedFd, cid: u64, guest_port: u32, host_port: u32) -> Self {
        Self {
            stream,
            cid,
            guest_port,
            host_port,
            phase: Phase::Asked,
            due: Due { request: true, ..Due::default() },
            waiting: VecDeque::new(),
            forwarded: 0,
            told: 0,
            guest_buffer: 0,
            guest_forwarded: 0,
            sent: 0,
            readable: false,
            hung_up: false,
            host_ended: false,
            guest_ended: 0,
            polled: None,
        }
    }

    /// The host's end of the stream.
    #[must_use]
    pub fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    /// Port of the guest.
    #[must_use]
    pub fn guest_port(&self) -> u32 {
        self.guest_port
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && !self.due.reset
    }

    /// What to wait for on the stream; `None` for nothing at all.
    #[must_use]
    pub fn interest(&self) -> Option<EventSet> {
        if self.hung_up || self.phase == Phase::Over {
            return None;
        }
        // Without a bit set the kernel still reports a closed peer.
        let mut events = EventSet::empty();
        events.set(EventSet::IN, self.may_send() && !self.readable);
        events.set(EventSet::OUT, !self.waiting.is_empty());
        Some(events)
    }

    /// The stream woke the thread.
    pub fn ready(&mut self, events: EventSet) {
        self.readable |= events.contains(EventSet::IN);
        if events.intersects(EventSet::HANG_UP | EventSet::ERROR) {
            self.hung_up = true;
            self.readable = true;
            if self.phase == Phase::Asked || self.host_ended {
                self.abort();
            }
        }
        self.hand_over();
    }

    /// Takes a packet of the guest for this connection; `data` has the length that the header says.
    ///
    /// # Errors
    /// [`Violation`] for what does not fit the state or exceeds the room: the caller resets the connection.
    pub fn take(&mut self, header: &Header, data: &[u8]) -> Result<(), Violation> {
        self.guest_buffer = header.buffer;
        self.guest_forwarded = header.forwarded;
        match (header.op, self.phase) {
            (Op::Response, Phase::Asked) if !self.due.request => self.phase = Phase::Open,
            (Op::Reset, _) => self.guest_left(),
            (Op::Data, Phase::Open) => self.keep(data)?,
            (Op::Shutdown, Phase::Open) => self.guest_ends(header.flags),
            (Op::CreditRequest, Phase::Open) => self.due.credit = true,
            (Op::CreditUpdate, Phase::Open) => {}
            _ => return Err(Violation),
        }
        Ok(())
    }

    fn keep(&mut self, data: &[u8]) -> Result<(), Violation> {
        let room = (BUFFER as usize).checked_sub(self.waiting.len()).ok_or(Violation)?;
        if data.len() > room || self.guest_ended & NO_SEND != 0 {
            return Err(Violation);
        }
        self.waiting.extend(data);
        self.hand_over();
        Ok(())
    }

    fn guest_ends(&mut self, flags: u32) {
        self.guest_ended |= flags & (NO_RECEIVE | NO_SEND);
        self.hand_over();
    }

    fn guest_left(&mut self) {
        self.due = Due::default();
        self.phase = Phase::Draining;
        self.hand_over();
    }

    /// Ends the connection from our side: the guest gets a reset.
    pub fn abort(&mut self) {
        // Neither a request that was never sent nor a guest that left needs a reset.
        let alive = !self.due.request && matches!(self.phase, Phase::Asked | Phase::Open);
        self.due = Due { reset: self.due.reset || alive, ..Due::default() };
        self.waiting.clear();
        self.phase = Phase::Over;
    }

    /// Writes what waits to the stream, and closes what is due after it.
    fn hand_over(&mut self) {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match send(&self.stream, front, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.forwarded = self.forwarded.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(_) if self.phase == Phase::Draining => self.waiting.clear(),
                Err(_) => return self.abort(),
            }
        }
        self.due.credit |= self.phase == Phase::Open && self.forwarded.wrapping_sub(self.told) >= BUFFER / 2;
        if self.waiting.is_empty() {
            self.close_after_data();
        }
    }

    fn close_after_data(&mut self) {
        if self.phase == Phase::Draining {
            self.phase = Phase::Over;
        } else if self.guest_ended == NO_RECEIVE | NO_SEND {
            self.abort();
        } else if self.guest_ended == NO_SEND {
            // Failing means that the host's end is gone, which the next read tells too.
            let _ = shutdown(&self.stream, Shutdown::Write);
        }
    }

    fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_buffer.saturating_sub(in_flight)
    }

    fn may_send(&self) -> bool {
        let closed = self.host_ended || self.guest_ended & NO_RECEIVE != 0;
        self.phase == Phase::Open && !closed && self.credit() > 0
    }

    /// Whether [`Connection::next`] may have a packet.
    #[must_use]
    pub fn wants_to_speak(&self) -> bool {
        let due = &self.due;
        due.request || due.reset || due.credit || due.shutdown != 0 || (self.readable && self.may_send())
    }

    /// The next packet for the guest, with at most `buffer.len()` bytes of data; `None` when there is none.
    pub fn next(&mut self, buffer: &mut [u8]) -> Option<(Header, usize)> {
        if self.due.reset || self.due.request {
            let op = if self.due.reset { Op::Reset } else { Op::Request };
            self.due.reset = false;
            self.due.request = false;
            return Some((self.header(op, 0, 0), 0));
        }
        if let Some(len) = self.read(buffer) {
            return Some((self.header(Op::Data, 0, len), len as usize));
        }
        let flags = std::mem::take(&mut self.due.shutdown);
        if flags != 0 {
            return Some((self.header(Op::Shutdown, flags, 0), 0));
        }
        self.due.credit.then(|| (self.header(Op::CreditUpdate, 0, 0), 0))
    }

    /// Reads from the stream what the guest has room for; `None` when that is nothing.
    fn read(&mut self, buffer: &mut [u8]) -> Option<u32> {
        if !self.readable || !self.may_send() {
            return None;
        }
        let most = buffer.len().min(self.credit() as usize);
        match rustix::io::read(&self.stream, &mut buffer[..most]) {
            Ok(0) => self.host_ends(),
            Ok(len) => {
                let len = u32::try_from(len).ok()?;
                self.sent = self.sent.wrapping_add(len);
                return Some(len);
            }
            Err(Errno::AGAIN) => self.readable = false,
            Err(Errno::INTR) => {}
            Err(_) => self.host_ends(),
        }
        None
    }

    fn host_ends(&mut self) {
        self.host_ended = true;
        self.readable = false;
        self.due.shutdown = if self.hung_up { NO_RECEIVE | NO_SEND } else { NO_SEND };
    }

    fn header(&mut self, op: Op, flags: u32, len: u32) -> Header {
        self.told = self.forwarded;
        self.due.credit = false;
        Header {
            from_cid: HOST,
            to_cid: self.cid,
            from_port: self.host_port,
            to_port: self.guest_port,
            len,
            kind: TYPE_STREAM,
            op,
            flags,
            buffer: BUFFER,
            forwarded: self.forwarded,
        }
    }
}
