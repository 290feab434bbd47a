//! Questions to name servers: whatever a client asks at port 53 of any address, for the program to answer.
//!
//! The program sees the client's IPv4 address only. Which address asked which, and so has to be answered by it, is
//! remembered by client, port and the question's identifier.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::net::{IpAddr, SocketAddrV4};

/// Longest question: what fits into a link's smallest packet.
pub(super) const QUESTION_MAX: usize = 1232;
/// Shortest: the header of a message (RFC 1035 §4.1.1).
pub(super) const QUESTION_MIN: usize = 12;
/// Questions that wait for the program at most, those aside to which a client has a right.
const WAITING: usize = 128;
/// Of them, of one client.
const WAITING_OF_CLIENT: usize = 32;
/// Of one client, however many of others wait.
const RIGHT: usize = 4;
/// Questions of a client that may be unanswered.
const ASKED: usize = 256;
/// Microseconds after which no answer is expected any more.
const ASKED_US: u64 = 60_000_000;

/// One that waits.
struct Waiting {
    port: u8,
    from: SocketAddrV4,
    bytes: Vec<u8>,
}

/// A datagram socket.
pub(super) struct Datagrams {
    /// The port it is bound to, or 0.
    pub(super) port: u16,
    /// Counts what came.
    pub(super) edges: u32,
    waiting: VecDeque<Waiting>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl Datagrams {
    pub(super) fn new() -> Self {
        Self { port: 0, edges: 0, waiting: VecDeque::new(), spare: Vec::new() }
    }

    /// Whether something waits.
    pub(super) fn has_some(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes in a question; `false`: too many wait.
    pub(super) fn put(&mut self, port: u8, from: SocketAddrV4, bytes: &[u8]) -> bool {
        let of_client = self.waiting.iter().filter(|waiting| waiting.port == port).count();
        if of_client >= WAITING_OF_CLIENT || self.waiting.len() >= WAITING && of_client >= RIGHT {
            return false;
        }
        let mut buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(QUESTION_MAX));
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.waiting.push_back(Waiting { port, from, bytes: buffer });
        self.edges = self.edges.wrapping_add(1);
        true
    }

    /// Takes the next question out; gives how much of it fitted, and who asked.
    pub(super) fn take(&mut self, out: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        let Waiting { from, bytes, .. } = self.waiting.pop_front()?;
        let len = bytes.len().min(out.len());
        for (to, from) in out.iter_mut().zip(&bytes) {
            *to = *from;
        }
        self.spare.push(bytes);
        Some((len, from))
    }

    /// Forgets the questions of a client.
    pub(super) fn forget(&mut self, port: u8) {
        self.waiting.retain(|waiting| waiting.port != port);
    }
}

/// Who was asked, and who asked: addresses of one family.
pub(super) type Ends = (IpAddr, IpAddr);

/// A question that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    port: u16,
    id: [u8; 2],
    ends: Ends,
    at_us: u64,
}

/// A client's unanswered questions, the oldest first.
#[derive(Debug)]
pub(super) struct Questions(Box<heapless::Deque<Asked, ASKED>>);

impl Questions {
    pub(super) fn new() -> Self {
        Self(Box::new(heapless::Deque::new()))
    }

    /// Remembers who was asked, from `port`. The oldest question makes room.
    pub(super) fn add(&mut self, port: u16, ends: Ends, message: &[u8], now_us: u64) {
        let Some(id) = message.first_chunk::<2>().copied() else { return };
        let again = self.0.iter_mut().find(|asked| (asked.port, asked.id, asked.ends) == (port, id, ends));
        if let Some(again) = again {
            again.at_us = now_us;
            return;
        }
        if self.0.is_full() {
            self.0.pop_front();
        }
        // There is room now.
        let _ = self.0.push_back(Asked { port, id, ends, at_us: now_us });
    }

    /// Who was asked what `message` answers, and who asked, from `port`. It is asked no more.
    pub(super) fn answer(&mut self, port: u16, message: &[u8], now_us: u64) -> Option<Ends> {
        let id = message.first_chunk::<2>().copied()?;
        let mut found = None;
        // Turns the queue once and leaves out what was found or is too old.
        for _ in 0..self.0.len() {
            let asked = self.0.pop_front()?;
            let fresh = now_us.saturating_sub(asked.at_us) < ASKED_US;
            if fresh && found.is_none() && (asked.port, asked.id) == (port, id) {
                found = Some(asked.ends);
            } else if fresh {
                let _ = self.0.push_back(asked);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn no_clients_take_the_place_of_anothers_questions() {
        let mut datagrams = Datagrams::new();
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let got =
            [2, 3, 4, 5, 6, 7].map(|port| (0..100).filter(|_| datagrams.put(port, from, &[0; 12])).count());
        assert_eq!(got, [32, 32, 32, 32, RIGHT, RIGHT]);
        datagrams.forget(2);
        assert_eq!((0..100).filter(|_| datagrams.put(6, from, &[0; 12])).count(), 24, "what is left");
    }
}
