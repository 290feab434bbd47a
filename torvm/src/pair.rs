//! Streams that stay in the machine: both ends of a `socketpair`, or the program's descriptor 3 and the layer's owner.

use crate::errno::Errno;
use crate::ready::Ready;
use crate::sockets::{Half, Readiness};
use alloc::collections::VecDeque;

/// Bytes that wait in each direction at most.
pub const CAPACITY: usize = 64 * 1024;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one.
    Left,
    /// The other.
    Right,
}

#[derive(Debug, Default)]
struct End {
    inbox: VecDeque<u8>,
    closed: bool,
    /// Sends no more.
    silent: bool,
    /// Receives no more.
    deaf: bool,
    incoming: u32,
    outgoing: u32,
}

/// A stream with two ends.
#[derive(Debug, Default)]
pub struct Pair {
    left: End,
    right: End,
}

impl Pair {
    fn ends(&mut self, side: Side) -> (&mut End, &mut End) {
        match side {
            Side::Left => (&mut self.left, &mut self.right),
            Side::Right => (&mut self.right, &mut self.left),
        }
    }

    /// Sends as much as there is room for.
    ///
    /// # Errors
    /// [`Errno::PIPE`], [`Errno::AGAIN`].
    pub fn send(&mut self, side: Side, bytes: &[u8]) -> Result<usize, Errno> {
        let (own, peer) = self.ends(side);
        if own.silent || peer.closed || peer.deaf {
            return Err(Errno::PIPE);
        }
        let len = bytes.len().min(CAPACITY.saturating_sub(peer.inbox.len()));
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        if peer.inbox.try_reserve(len).is_err() {
            return Err(Errno::NOBUFS);
        }
        peer.inbox.extend(bytes.get(..len).unwrap_or_default());
        peer.incoming = peer.incoming.wrapping_add(1);
        Ok(len)
    }

    /// Receives; 0 when the peer sends no more.
    ///
    /// # Errors
    /// [`Errno::AGAIN`].
    pub fn receive(&mut self, side: Side, out: &mut [u8]) -> Result<usize, Errno> {
        let (own, peer) = self.ends(side);
        let len = out.len().min(own.inbox.len());
        if len == 0 {
            let over = own.deaf || peer.closed || peer.silent || out.is_empty();
            return if over { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let mut rest = out;
        for part in <[&[u8]; 2]>::from(own.inbox.as_slices()) {
            let (here, behind) = rest.split_at_mut(part.len().min(rest.len()));
            here.copy_from_slice(part.get(..here.len()).unwrap_or_default());
            rest = behind;
        }
        own.inbox.drain(..len);
        peer.outgoing = peer.outgoing.wrapping_add(1);
        Ok(len)
    }

    /// Bytes that can be sent now.
    #[must_use]
    pub fn room(&self, side: Side) -> usize {
        let peer = match side {
            Side::Left => &self.right,
            Side::Right => &self.left,
        };
        CAPACITY.saturating_sub(peer.inbox.len())
    }

    /// Ends one direction or both.
    pub fn shut_down(&mut self, side: Side, half: Half) {
        let (own, _) = self.ends(side);
        own.silent |= half != Half::Read;
        own.deaf |= half != Half::Write;
        self.wake_both();
    }

    /// Gives up an end; `true` when both are given up.
    pub fn close(&mut self, side: Side) -> bool {
        self.ends(side).0.closed = true;
        self.wake_both();
        self.left.closed && self.right.closed
    }

    /// What an end is ready for.
    #[must_use]
    pub fn ready(&self, side: Side) -> Ready {
        let (own, peer) = match side {
            Side::Left => (&self.left, &self.right),
            Side::Right => (&self.right, &self.left),
        };
        let mut bits = 0;
        let no_more = own.deaf || peer.closed || peer.silent;
        if no_more {
            bits |= Readiness::IN | Readiness::RDHUP;
        }
        if !own.inbox.is_empty() {
            bits |= Readiness::IN;
        }
        if peer.closed || no_more && (own.silent || peer.deaf) {
            bits |= Readiness::HUP;
        }
        if peer.inbox.len() < CAPACITY {
            bits |= Readiness::OUT;
        }
        Ready { bits, incoming: own.incoming, outgoing: own.outgoing }
    }

    fn wake_both(&mut self) {
        for end in [&mut self.left, &mut self.right] {
            end.incoming = end.incoming.wrapping_add(1);
            end.outgoing = end.outgoing.wrapping_add(1);
        }
    }
}
