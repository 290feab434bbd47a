//! Calls on sockets. There are none but IPv4's: whatever else is asked for, there is no such family. A client's connection
//! over IPv6 is one of them, too, under the client's IPv4 address; only where it wanted to go is told as it is.

mod addresses;
mod messages;
mod options;

use super::descriptors::number_of;
use super::{Arguments, Done, Stop, numbers};
use crate::descriptors::{Description, Object, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::{Layer, MOST_PAIRS};
use crate::pair::{Pair, Side};
use crate::processor::Processor;
use crate::sockets::{Half, Readiness, SocketId, SocketKind, Sockets};
use alloc::vec::Vec;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_TYPE: u32 = 0xF;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// The calls on sockets, those that move data aside.
    pub(super) fn socket_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        let fd = a.int(0);
        Some(match number {
            numbers::SOCKET => self.socket(a.low(0), a.low(1), a.low(2)),
            numbers::SOCKETPAIR => self.socketpair(a.low(0), a.low(1), a.word(3)),
            numbers::BIND => self.bind(fd, a.word(1), a.low(2)),
            numbers::LISTEN => self.listen(fd, a.int(1)),
            numbers::ACCEPT => self.accept(fd, a.word(1), a.word(2), 0),
            numbers::ACCEPT4 => self.accept(fd, a.word(1), a.word(2), a.low(3)),
            numbers::CONNECT => self.connect(fd, a.word(1), a.low(2)),
            numbers::SHUTDOWN => self.shutdown(fd, a.low(1)),
            numbers::GETSOCKNAME => self.own_name(fd, a.word(1), a.word(2)),
            numbers::GETPEERNAME => self.peer_name(fd, a.word(1), a.word(2)),
            numbers::SETSOCKOPT => self.set_option(a),
            numbers::GETSOCKOPT => self.option(a),
            _ => return None,
        })
    }

    /// The socket that a descriptor means.
    fn socket_of(&self, fd: i32) -> Result<(SocketId, SocketKind), Errno> {
        match self.descriptors.get(fd)?.object {
            Object::Socket(id, kind) => Ok((id, kind)),
            _ => Err(Errno::NOTSOCK),
        }
    }

    fn socket(&mut self, family: u32, how: u32, protocol: u32) -> Done {
        if how & !(SOCK_TYPE | flags::NONBLOCK | flags::CLOEXEC) != 0 {
            return Err(Errno::INVAL.into());
        }
        if family != AF_INET {
            return Err(Errno::AFNOSUPPORT.into());
        }
        let kind = match (how & SOCK_TYPE, protocol) {
            (SOCK_STREAM, 0 | IPPROTO_TCP) => SocketKind::Stream,
            (SOCK_DGRAM, 0 | IPPROTO_UDP) => SocketKind::Datagram,
            _ => return Err(Errno::PROTONOSUPPORT.into()),
        };
        self.descriptors.room()?;
        let id = self.sockets.open(kind)?;
        self.add_socket(id, kind, how)
    }

    fn add_socket(&mut self, id: SocketId, kind: SocketKind, how: u32) -> Done {
        let description = Description::new(Object::Socket(id, kind), flags::RDWR | how & flags::NONBLOCK);
        Ok(number_of(self.descriptors.add(description, how & flags::CLOEXEC != 0)?))
    }

    fn socketpair(&mut self, family: u32, how: u32, out: u64) -> Done {
        if family != AF_UNIX {
            return Err(if family == AF_INET { Errno::OPNOTSUPP } else { Errno::AFNOSUPPORT }.into());
        }
        if how & SOCK_TYPE != SOCK_STREAM {
            return Err(Errno::PROTONOSUPPORT.into());
        }
        if self.pairs.len() >= MOST_PAIRS {
            return Err(Errno::NFILE.into());
        }
        let id = self.next_pair;
        self.next_pair = id.checked_add(1).ok_or(Errno::NFILE)?;
        self.pairs.insert(id, Pair::default());
        let mut made = Vec::new();
        for side in [Side::Left, Side::Right] {
            let description = Description::new(Object::End(id, side), flags::RDWR | how & flags::NONBLOCK);
            match self.descriptors.add(description, how & flags::CLOEXEC != 0) {
                Ok(fd) => made.push(fd),
                Err(errno) => return self.take_back(id, &made, errno),
            }
        }
        let bytes: Vec<u8> = made.iter().flat_map(|fd| fd.to_le_bytes()).collect();
        match self.memory().write(out, &bytes) {
            Ok(()) => Ok(0),
            Err(_) => self.take_back(id, &made, Errno::FAULT),
        }
    }

    /// Undoes half a pair.
    fn take_back(&mut self, id: u32, made: &[i32], errno: Errno) -> Done {
        made.iter().for_each(|fd| self.release(*fd));
        self.pairs.remove(&id);
        Err(errno.into())
    }

    fn bind(&mut self, fd: i32, address: u64, len: u32) -> Done {
        let (id, _) = self.socket_of(fd)?;
        let local = addresses::read(self.memory(), address, len)?;
        self.sockets.bind(id, local)?;
        Ok(0)
    }

    fn listen(&mut self, fd: i32, backlog: i32) -> Done {
        let (id, kind) = self.socket_of(fd)?;
        if kind == SocketKind::Datagram {
            return Err(Errno::OPNOTSUPP.into());
        }
        self.sockets.listen(id, u32::try_from(backlog).unwrap_or(0))?;
        Ok(0)
    }

    fn accept(&mut self, fd: i32, address: u64, len: u64, how: u32) -> Done {
        if how & !(flags::NONBLOCK | flags::CLOEXEC) != 0 {
            return Err(Errno::INVAL.into());
        }
        let (id, kind) = self.socket_of(fd)?;
        if kind == SocketKind::Datagram {
            return Err(Errno::OPNOTSUPP.into());
        }
        self.descriptors.room()?;
        let accepted = self.sockets.accept(id);
        let (connection, peer) = self.or_wait(fd, 0, accepted)?;
        let new = self.add_socket(connection, SocketKind::Stream, how)?;
        if address != 0
            && let Err(errno) = addresses::write(self.memory(), address, len, peer)
        {
            self.release(Arguments([new; 6]).int(0));
            return Err(errno.into());
        }
        Ok(new)
    }

    fn connect(&mut self, fd: i32, address: u64, len: u32) -> Done {
        let (id, kind) = self.socket_of(fd)?;
        let peer = addresses::read(self.memory(), address, len)?;
        if kind == SocketKind::Datagram {
            return Err(Errno::OPNOTSUPP.into());
        }
        let asked_again = self.waiting.is_some();
        if asked_again
            && self.sockets.readiness(id).bits & (Readiness::OUT | Readiness::ERR | Readiness::HUP) != 0
        {
            return self.sockets.take_error(id).map_or(Ok(0), |errno| Err(errno.into()));
        }
        let nonblocking = self.descriptors.get(fd)?.is_nonblocking();
        match self.sockets.connect(id, peer) {
            Err(Errno::INPROGRESS | Errno::ALREADY) if !nonblocking => Err(Stop::Wait(None)),
            result => result.map(|()| 0).map_err(Into::into),
        }
    }

    fn shutdown(&mut self, fd: i32, how: u32) -> Done {
        let half = match how {
            0 => Ok(Half::Read),
            1 => Ok(Half::Write),
            2 => Ok(Half::Both),
            _ => Err(Errno::INVAL),
        };
        match self.descriptors.get(fd)?.object {
            Object::Socket(id, _) => self.sockets.shutdown(id, half?)?,
            Object::End(pair, side) => {
                self.pairs.get_mut(&pair).ok_or(Errno::BADF)?.shut_down(side, half?);
            }
            _ => return Err(Errno::NOTSOCK.into()),
        }
        Ok(0)
    }

    fn own_name(&mut self, fd: i32, address: u64, len: u64) -> Done {
        if matches!(self.descriptors.get(fd)?.object, Object::End(..)) {
            return Ok(addresses::write_unnamed(self.memory(), address, len).map(|()| 0)?);
        }
        let local = self.sockets.local(self.socket_of(fd)?.0)?;
        addresses::write(self.memory(), address, len, local)?;
        Ok(0)
    }

    fn peer_name(&mut self, fd: i32, address: u64, len: u64) -> Done {
        if matches!(self.descriptors.get(fd)?.object, Object::End(..)) {
            return Ok(addresses::write_unnamed(self.memory(), address, len).map(|()| 0)?);
        }
        let peer = self.sockets.peer(self.socket_of(fd)?.0)?;
        addresses::write(self.memory(), address, len, peer)?;
        Ok(0)
    }
}
