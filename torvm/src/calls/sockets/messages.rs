//! Data with and without addresses.

use super::addresses;
use crate::calls::arguments::length;
use crate::calls::vectors::{gather, pieces, scatter, total};
use crate::calls::{Arguments, Done, Stop};
use crate::descriptors::Object;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::{Layer, SCRATCH};
use crate::memory::{read_u32, read_u64};
use crate::processor::Processor;
use crate::sockets::{SocketKind, Sockets};
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
    /// `sendto`. As of [`Self::recvfrom`], a short result means that there is no more room.
    pub(in crate::calls) fn sendto(&mut self, a: Arguments) -> Done {
        let (fd, from, flags) = (a.int(0), a.word(1), a.low(3));
        let peer = self.destination(fd, a.word(4), a.low(5))?;
        let len = length(a.word(2));
        if peer.is_some() && len > LONGEST {
            return Err(Errno::MSGSIZE.into());
        }
        let sent = self.with_scratch(|layer, buffer| {
            let most = len.min(buffer.len());
            let bytes = buffer.get_mut(..most).ok_or(Errno::INVAL)?;
            layer.memory().read(from, bytes)?;
            layer.send_message(fd, bytes, peer, flags)
        })?;
        let more = rest(sent, len).map(|rest| self.write(fd, from.saturating_add(sent), rest, None));
        Ok(sent.saturating_add(more.map_or(0, |more| more.unwrap_or(0))))
    }

    /// `recvfrom`. Who waits for edges takes a short result for the last of a stream that there is now, so that one that
    /// our buffer would cut goes on.
    pub(in crate::calls) fn recvfrom(&mut self, a: Arguments) -> Done {
        let (fd, to, flags, address, address_len) = (a.int(0), a.word(1), a.low(3), a.word(4), a.word(5));
        let len = length(a.word(2));
        let got = self.with_scratch(|layer, buffer| {
            let most = len.min(buffer.len());
            let room = buffer.get_mut(..most).ok_or(Errno::INVAL)?;
            let (got, peer) = layer.receive_message(fd, room, flags)?;
            layer.memory().write(to, room.get(..got).unwrap_or_default())?;
            if address != 0 {
                match peer {
                    Some(peer) => addresses::write(layer.memory(), address, address_len, peer)?,
                    None => layer.memory().write(address_len, &[0; 4])?,
                }
            }
            Ok::<_, Stop>(got as u64)
        })?;
        let more = rest(got, len).map(|rest| self.read(fd, to.saturating_add(got), rest, None));
        Ok(got.saturating_add(more.map_or(0, |more| more.unwrap_or(0))))
    }

    /// `sendmsg`: what is in its control part is not looked at.
    pub(in crate::calls) fn sendmsg(&mut self, fd: i32, header: u64, flags: u32) -> Done {
        let name = read_u64(self.memory(), header)?;
        let name_len = read_u32(self.memory(), place(header, NAME_LEN)?)?;
        let peer = self.destination(fd, name, name_len)?;
        let (list, count) = self.list(header)?;
        self.with_scratch(|layer, buffer| {
            let pieces = pieces(layer.memory(), list, count, buffer.len())?;
            let len = gather(layer.memory(), &pieces, buffer)?;
            layer.send_message(fd, buffer.get(..len).unwrap_or_default(), peer, flags)
        })
    }

    /// `recvmsg`: there is never anything for the control part.
    pub(in crate::calls) fn recvmsg(&mut self, fd: i32, header: u64, flags: u32) -> Done {
        let name = read_u64(self.memory(), header)?;
        let (list, count) = self.list(header)?;
        self.with_scratch(|layer, buffer| {
            let pieces = pieces(layer.memory(), list, count, buffer.len())?;
            let room = buffer.get_mut(..total(&pieces)).ok_or(Errno::INVAL)?;
            let (got, peer) = layer.receive_message(fd, room, flags)?;
            scatter(layer.memory(), &pieces, room.get(..got).unwrap_or_default())?;
            let len_at = place(header, NAME_LEN)?;
            match peer {
                Some(peer) if name != 0 => addresses::write(layer.memory(), name, len_at, peer)?,
                _ => layer.memory().write(len_at, &[0; 4])?,
            }
            layer.memory().write(place(header, CONTROL_LEN)?, &[0; 8])?;
            layer.memory().write(place(header, FLAGS)?, &[0; 4])?;
            Ok(got as u64)
        })
    }

    fn list(&mut self, header: u64) -> Result<(u64, u64), Errno> {
        let list = read_u64(self.memory(), place(header, PIECES)?)?;
        Ok((list, read_u64(self.memory(), place(header, COUNT)?)?))
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

/// How much is left of `len` bytes when all that our buffer takes is `done`, which no datagram is.
fn rest(done: u64, len: usize) -> Option<u64> {
    const FULL: u64 = SCRATCH as u64;
    (done == FULL).then(|| (len as u64).saturating_sub(FULL)).filter(|rest| *rest > 0)
}

/// A place in the program's `struct msghdr`.
fn place(header: u64, offset: u64) -> Result<u64, Errno> {
    header.checked_add(offset).ok_or(Errno::FAULT)
}
