//! Reading and writing.

use super::arguments::length;
use super::vectors::{Piece, gather, scatter, total};
use super::{Done, Stop};
use crate::descriptors::{Object, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::{Body, Device, NodeId};
use crate::layer::Layer;
use crate::processor::Processor;
use crate::sockets::{SocketKind, Sockets};

/// What a descriptor reads from or writes to.
#[derive(Clone, Copy)]
enum Target {
    Console,
    File(NodeId),
    Device(Device),
    Stream,
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `read`, `pread64` with `at`.
    pub(super) fn read(&mut self, fd: i32, to: u64, len: u64, at: Option<u64>) -> Done {
        self.read_pieces(fd, &[(to, length(len))], at)
    }

    /// `write`, `pwrite64` with `at`.
    pub(super) fn write(&mut self, fd: i32, from: u64, len: u64, at: Option<u64>) -> Done {
        self.write_pieces(fd, &[(from, length(len))], at)
    }

    /// Reads to pieces of memory, of a stream all that there is.
    pub(super) fn read_pieces(&mut self, fd: i32, to: &[Piece], at: Option<u64>) -> Done {
        let (target, start) = self.target(fd, at, flags::WRONLY)?;
        let len = total(to);
        let done = self.with_scratch(|layer, buffer| {
            let mut done = 0;
            while done < len {
                let want = (len - done).min(buffer.len());
                let piece = buffer.get_mut(..want).ok_or(Errno::INVAL)?;
                let from = start.saturating_add(done as u64);
                let got = match layer.read_target(fd, target, from, piece) {
                    Ok(got) => got,
                    Err(stop) if done == 0 => return Err(stop),
                    Err(_) => break,
                };
                let bytes = piece.get(..got).unwrap_or_default();
                if scatter(layer.memory(), to, done, bytes).is_err() {
                    return if done == 0 { Err(Errno::FAULT.into()) } else { Ok(done) };
                }
                done += got;
                if got < want {
                    break;
                }
            }
            Ok(done)
        })?;
        self.advance(fd, target, at.is_none().then_some(start), done)
    }

    /// Writes from pieces of memory, to a stream all that there is room for.
    pub(super) fn write_pieces(&mut self, fd: i32, from: &[Piece], at: Option<u64>) -> Done {
        let (target, start) = self.target(fd, at, 0)?;
        let len = total(from);
        if matches!(target, Target::Device(Device::Null | Device::Zero)) {
            return Ok(len as u64);
        }
        let done = self.with_scratch(|layer, buffer| {
            let mut done = 0;
            while done < len {
                let Ok(here) = gather(layer.memory(), from, done, buffer) else {
                    return if done == 0 { Err(Errno::FAULT.into()) } else { Ok(done) };
                };
                let piece = buffer.get(..here).unwrap_or_default();
                match layer.write_target(fd, target, start.saturating_add(done as u64), piece) {
                    Ok(got) => done += got,
                    Err(stop) if done == 0 => return Err(stop),
                    Err(_) => break,
                }
                if done % buffer.len() != 0 {
                    break;
                }
            }
            Ok(done)
        })?;
        self.advance(fd, target, at.is_none().then_some(start), done)
    }

    /// What a descriptor means and where to begin. `never` is the access mode that forbids it (0: `O_RDONLY`).
    fn target(&self, fd: i32, at: Option<u64>, never: u32) -> Result<(Target, u64), Errno> {
        let description = self.descriptors.get(fd)?;
        if description.flags & flags::ACCMODE == never {
            return Err(Errno::BADF);
        }
        if at.is_some_and(|at| at > i64::MAX as u64) {
            return Err(Errno::INVAL);
        }
        let target = match description.object {
            Object::Console => Target::Console,
            Object::Directory(..) => return Err(Errno::ISDIR),
            Object::Epoll => return Err(Errno::INVAL),
            Object::EventFd(_) | Object::Socket(..) | Object::End(..) => Target::Stream,
            Object::File(node) => match self.files.node(node)?.body {
                Body::Device(device) => Target::Device(device),
                _ => Target::File(node),
            },
        };
        if at.is_some() && matches!(target, Target::Stream | Target::Console) {
            return Err(Errno::SPIPE);
        }
        let append = never == 0 && description.flags & flags::APPEND != 0;
        let start = match target {
            Target::File(node) if append => self.files.len(node),
            _ => at.unwrap_or(description.position),
        };
        Ok((target, start))
    }

    /// Moves the position of a file behind what was done from `moves` on; `None`: the call named its own.
    fn advance(&mut self, fd: i32, target: Target, moves: Option<u64>, done: usize) -> Done {
        if let (Target::File(_), Some(start), 1..) = (target, moves, done) {
            self.descriptors.get_mut(fd)?.position = start.saturating_add(done as u64);
        }
        Ok(done as u64)
    }

    fn read_target(&mut self, fd: i32, target: Target, at: u64, out: &mut [u8]) -> Result<usize, Stop> {
        match target {
            Target::Console | Target::Device(Device::Null) => Ok(0),
            Target::File(node) => Ok(self.files.read(node, at, out)?),
            Target::Device(Device::Zero) => {
                out.fill(0);
                Ok(out.len())
            }
            Target::Device(Device::Random | Device::Urandom) => {
                (self.random)(out);
                Ok(out.len())
            }
            Target::Stream => {
                let result = self.read_stream(fd, out);
                self.or_wait(fd, 0, result)
            }
        }
    }

    fn write_target(&mut self, fd: i32, target: Target, at: u64, bytes: &[u8]) -> Result<usize, Stop> {
        match target {
            Target::Console => {
                self.console.write(bytes, self.now);
                Ok(bytes.len())
            }
            Target::Device(_) => Ok(bytes.len()),
            Target::File(node) => {
                let done = self.files.write(node, at, bytes, self.now.wall_ns)?;
                self.descriptors.get_mut(fd)?.written = true;
                Ok(done)
            }
            Target::Stream => {
                let result = self.write_stream(fd, bytes);
                self.or_wait(fd, 0, result)
            }
        }
    }

    /// Reads from what has no positions.
    pub(super) fn read_stream(&mut self, fd: i32, out: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.descriptors.get_mut(fd)?.object {
            Object::EventFd(counter) => {
                let place = out.get_mut(..8).ok_or(Errno::INVAL)?;
                place.copy_from_slice(&counter.read()?.to_le_bytes());
                Ok(8)
            }
            Object::Socket(id, SocketKind::Stream) => self.sockets.receive(*id, out),
            Object::Socket(id, SocketKind::Datagram) => {
                self.sockets.receive_from(*id, out).map(|(len, _)| len)
            }
            Object::End(pair, side) => self.pairs.get_mut(pair).ok_or(Errno::BADF)?.receive(*side, out),
            _ => Err(Errno::INVAL),
        }
    }

    /// Writes to what has no positions.
    pub(super) fn write_stream(&mut self, fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
        match &mut self.descriptors.get_mut(fd)?.object {
            Object::EventFd(counter) => {
                let value = bytes.first_chunk().ok_or(Errno::INVAL)?;
                counter.write(u64::from_le_bytes(*value)).map(|()| 8)
            }
            Object::Socket(id, SocketKind::Stream) => self.sockets.send(*id, bytes),
            Object::Socket(_, SocketKind::Datagram) => Err(Errno::DESTADDRREQ),
            Object::End(pair, side) => self.pairs.get_mut(pair).ok_or(Errno::BADF)?.send(*side, bytes),
            _ => Err(Errno::INVAL),
        }
    }

    /// Lets a call wait that could do nothing now, unless it must not.
    pub(super) fn or_wait<T>(
        &self,
        fd: i32,
        message_flags: u32,
        result: Result<T, Errno>,
    ) -> Result<T, Stop> {
        const DONTWAIT: u32 = 0x40;
        match result {
            Err(Errno::AGAIN)
                if message_flags & DONTWAIT == 0 && !self.descriptors.get(fd)?.is_nonblocking() =>
            {
                Err(Stop::Wait(None))
            }
            other => other.map_err(Stop::Errno),
        }
    }
}
