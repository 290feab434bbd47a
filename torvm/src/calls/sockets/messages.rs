//! Data with and without addresses.

use super::addresses;
use crate::calls::arguments::length;
use crate::calls::vectors::{Piece, gather, parts, pieces, scatter, total};
use crate::calls::{Arguments, Done, Stop};
use crate::descriptors::Object;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::{Layer, SCRATCH};
use crate::memory::{read_u32, read_u64};
use crate::processor::Processor;
use crate::sockets::{SocketKind, Sockets};
use alloc::vec::Vec;
use core::net::SocketAddrV4;

const MSG_OOB: u32 = 1;
const MSG_PEEK: u32 = 2;
/// Longest datagram.
const LONGEST: usize = 65_507;
/// Places in `struct msghdr`.
const NAME_LEN: u64 = 8;
const PIECES: u64 = 16;
const COUNT: u64 = 24;
const CONTROL_LEN: u64 = 40;
const FLAGS: u64 = 48;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `sendto`.
    pub(in crate::calls) fn sendto(&mut self, a: Arguments) -> Done {
        let fd = a.int(0);
        let peer = self.destination(fd, a.word(4), a.low(5))?;
        self.send_pieces(fd, &[(a.word(1), length(a.word(2)))], peer, a.low(3))
    }

    /// `recvfrom`.
    pub(in crate::calls) fn recvfrom(&mut self, a: Arguments) -> Done {
        let name = Some(a.word(4)).filter(|at| *at != 0).map(|at| (at, a.word(5)));
        self.receive_pieces(a.int(0), &[(a.word(1), length(a.word(2)))], name, a.low(3))
    }

    /// `sendmsg`: what is in its control part is not looked at.
    pub(in crate::calls) fn sendmsg(&mut self, fd: i32, header: u64, flags: u32) -> Done {
        let name = read_u64(self.memory(), header)?;
        let name_len = read_u32(self.memory(), place(header, NAME_LEN)?)?;
        let peer = self.destination(fd, name, name_len)?;
        let from = self.list(header)?;
        self.send_pieces(fd, &from, peer, flags)
    }

    /// `recvmsg`: there is never anything for the control part.
    pub(in crate::calls) fn recvmsg(&mut self, fd: i32, header: u64, flags: u32) -> Done {
        let name = read_u64(self.memory(), header)?;
        let to = self.list(header)?;
        let len_at = place(header, NAME_LEN)?;
        let named = (name != 0).then_some((name, len_at));
        let got = self.receive_pieces(fd, &to, named, flags)?;
        if named.is_none() {
            self.memory().write(len_at, &[0; 4])?;
        }
        self.memory().write(place(header, CONTROL_LEN)?, &[0; 8])?;
        self.memory().write(place(header, FLAGS)?, &[0; 4])?;
        Ok(got)
    }

    /// Sends what is in pieces of memory. As of [`Self::receive_pieces`], a short result means that there is no more room.
    fn send_pieces(&mut self, fd: i32, from: &[Piece], peer: Option<SocketAddrV4>, flags: u32) -> Done {
        if peer.is_some() && total(from) > LONGEST {
            return Err(Errno::MSGSIZE.into());
        }
        let sent = self.with_scratch(|layer, buffer| {
            let len = gather(layer.memory(), from, 0, buffer)?;
            layer.send_message(fd, buffer.get(..len).unwrap_or_default(), peer, flags)
        })?;
        let more = rest(sent, from).map(|rest| self.write_pieces(fd, &rest, None));
        Ok(sent.saturating_add(more.map_or(0, |more| more.unwrap_or(0))))
    }

    /// Receives to pieces of memory; `name` is where the sender's address and its length go. Who waits for edges takes a
    /// short result for the last of a stream that there is now, so that one that our buffer would cut goes on.
    fn receive_pieces(&mut self, fd: i32, to: &[Piece], name: Option<(u64, u64)>, flags: u32) -> Done {
        let got = self.with_scratch(|layer, buffer| {
            let most = total(to).min(buffer.len());
            let room = buffer.get_mut(..most).ok_or(Errno::INVAL)?;
            let (got, peer) = layer.receive_message(fd, room, flags)?;
            scatter(layer.memory(), to, 0, room.get(..got).unwrap_or_default())?;
            match (name, peer) {
                (Some((at, len_at)), Some(peer)) => addresses::write(layer.memory(), at, len_at, peer)?,
                (Some((_, len_at)), None) => layer.memory().write(len_at, &[0; 4])?,
                (None, _) => {}
            }
            Ok::<_, Stop>(got as u64)
        })?;
        let more = rest(got, to).map(|rest| self.read_pieces(fd, &rest, None));
        Ok(got.saturating_add(more.map_or(0, |more| more.unwrap_or(0))))
    }

    fn list(&mut self, header: u64) -> Result<Vec<Piece>, Errno> {
        let list = read_u64(self.memory(), place(header, PIECES)?)?;
        let count = read_u64(self.memory(), place(header, COUNT)?)?;
        pieces(self.memory(), list, count)
    }

    /// Where a message goes: a stream has its one peer, a datagram wants one.
    fn destination(&mut self, fd: i32, address: u64, len: u32) -> Result<Option<SocketAddrV4>, Errno> {
        match self.descriptors.get(fd)?.object {
            Object::Socket(_, SocketKind::Stream) | Object::End(..) => Ok(None),
            Object::Socket(_, SocketKind::Datagram) if address == 0 => Err(Errno::DESTADDRREQ),
            Object::Socket(_, SocketKind::Datagram) => addresses::read(self.memory(), address, len).map(Some),
            _ => Err(Errno::NOTSOCK),
        }
    }

    fn send_message(&mut self, fd: i32, bytes: &[u8], peer: Option<SocketAddrV4>, flags: u32) -> Done {
        if flags & MSG_OOB != 0 {
            return Err(Errno::OPNOTSUPP.into());
        }
        let result = match (peer, &self.descriptors.get(fd)?.object) {
            (Some(peer), Object::Socket(id, _)) => self.sockets.send_to(*id, bytes, peer),
            _ => self.write_stream(fd, bytes),
        };
        self.or_wait(fd, flags, result).map(|len| len as u64)
    }

    fn receive_message(
        &mut self,
        fd: i32,
        out: &mut [u8],
        flags: u32,
    ) -> Result<(usize, Option<SocketAddrV4>), Stop> {
        let object = &self.descriptors.get(fd)?.object;
        if flags & (MSG_OOB | MSG_PEEK) != 0 {
            return Err(Errno::OPNOTSUPP.into());
        }
        let result = match object {
            Object::Socket(id, SocketKind::Datagram) => {
                self.sockets.receive_from(*id, out).map(|(len, peer)| (len, Some(peer)))
            }
            Object::Socket(..) | Object::End(..) => self.read_stream(fd, out).map(|len| (len, None)),
            _ => Err(Errno::NOTSOCK),
        };
        self.or_wait(fd, flags, result)
    }
}

/// What is left of the pieces when all that our buffer takes is `done`, which no datagram is.
fn rest(done: u64, pieces: &[Piece]) -> Option<Vec<Piece>> {
    let rest = || parts(pieces, SCRATCH, usize::MAX).collect();
    (done == SCRATCH as u64 && total(pieces) > SCRATCH).then(rest)
}

/// A place in the program's `struct msghdr`.
fn place(header: u64, offset: u64) -> Result<u64, Errno> {
    header.checked_add(offset).ok_or(Errno::FAULT)
}
