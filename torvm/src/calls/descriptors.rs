//! Calls on descriptors, whatever they mean: closing, duplicating, flags, positions.

use super::{Arguments, Done, Stop, numbers};
use crate::descriptors::{Description, Object, Serial, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::{Body, NodeId};
use crate::layer::Layer;
use crate::memory::read_u32;
use crate::processor::Processor;
use crate::sockets::Sockets;

const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
const F_SETFL: u32 = 4;
const F_GETLK: u32 = 5;
const F_SETLK: u32 = 6;
const F_SETLKW: u32 = 7;
const F_DUPFD_CLOEXEC: u32 = 1030;
const FD_CLOEXEC: u32 = 1;
/// `F_UNLCK`, as the type in `struct flock`.
const UNLOCKED: [u8; 2] = [2, 0];

const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIONBIO: u32 = 0x5421;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// The calls on descriptors.
    pub(super) fn descriptor_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        let fd = a.int(0);
        Some(match number {
            numbers::CLOSE => self.close(fd),
            numbers::DUP => self.descriptors.duplicate(fd, 0, false).map(number_of).map_err(Into::into),
            numbers::DUP2 if a.int(0) == a.int(1) => {
                self.descriptors.serial(fd).map(|_| number_of(fd)).map_err(Into::into)
            }
            numbers::DUP2 => self.duplicate_to(fd, a.int(1), 0),
            numbers::DUP3 => self.duplicate_to(fd, a.int(1), a.low(2)),
            numbers::FCNTL => self.fcntl(fd, a.low(1), a.word(2)),
            numbers::IOCTL => self.ioctl(fd, a.low(1), a.word(2)),
            numbers::LSEEK => self.seek(fd, a.word(1).cast_signed(), a.low(2)),
            numbers::FTRUNCATE => self.truncate_open(fd, a.word(1)),
            numbers::FSYNC | numbers::FDATASYNC => self.sync(fd),
            numbers::FALLOCATE => Err(Errno::OPNOTSUPP.into()),
            numbers::FADVISE64 => self.descriptors.serial(fd).map(|_| 0).map_err(Into::into),
            numbers::FLOCK => self.flock(fd, a.low(1)),
            numbers::FCHMOD => {
                self.node_of(fd).map_err(Into::into).and_then(|node| self.set_mode(node, a.low(1)))
            }
            numbers::FCHOWN => self.descriptors.serial(fd).map(|_| 0).map_err(Into::into),
            numbers::GETDENTS64 => self.getdents64(fd, a.word(1), a.word(2)),
            numbers::EVENTFD2 => self.eventfd(a.low(0), a.low(1)),
            numbers::EVENTFD => self.eventfd(a.low(0), 0),
            numbers::EPOLL_CREATE if a.int(0) <= 0 => Err(Errno::INVAL.into()),
            numbers::EPOLL_CREATE => self.epoll_create(0),
            numbers::EPOLL_CREATE1 => self.epoll_create(a.low(0)),
            numbers::EPOLL_CTL => self.epoll_ctl(a),
            _ => return None,
        })
    }

    fn close(&mut self, fd: i32) -> Done {
        let Some((serial, description)) = self.descriptors.close(fd)? else { return Ok(0) };
        let written = match description.object {
            Object::File(node) if description.written => Some(node),
            _ => None,
        };
        if let Some(node) = written {
            self.changed_below(node);
        }
        self.give_up(serial, &description);
        Ok(0)
    }

    /// Frees a number without storing anything: the program has ended, perhaps in the middle of a file.
    pub(crate) fn release(&mut self, fd: i32) {
        if let Ok(Some((serial, description))) = self.descriptors.close(fd) {
            self.give_up(serial, &description);
        }
    }

    /// Gives up what a description was of.
    fn give_up(&mut self, serial: Serial, description: &Description) {
        self.epolls.values_mut().for_each(|set| set.forget(serial));
        match &description.object {
            Object::File(node) | Object::Directory(node, _) => {
                self.unlock(*node, serial);
                self.files.release(*node);
            }
            Object::Epoll => drop(self.epolls.remove(&serial)),
            Object::Socket(id, _) => self.sockets.close(*id),
            Object::End(id, side) => {
                if self.pairs.get_mut(id).is_some_and(|pair| pair.close(*side)) {
                    self.pairs.remove(id);
                }
            }
            Object::Console | Object::EventFd(_) => {}
        }
    }

    fn duplicate_to(&mut self, fd: i32, to: i32, how: u32) -> Done {
        self.descriptors.serial(fd)?;
        if fd == to || how & !flags::CLOEXEC != 0 {
            return Err(Errno::INVAL.into());
        }
        if self.descriptors.serial(to).is_ok() {
            self.close(to)?;
        }
        self.descriptors.duplicate_to(fd, to, how & flags::CLOEXEC != 0)?;
        Ok(number_of(to))
    }

    fn fcntl(&mut self, fd: i32, command: u32, argument: u64) -> Done {
        let low = Arguments([argument; 6]).low(0);
        let description = self.descriptors.get_mut(fd)?;
        match command {
            F_DUPFD | F_DUPFD_CLOEXEC => {
                let close = command == F_DUPFD_CLOEXEC;
                Ok(number_of(self.descriptors.duplicate(fd, low.cast_signed(), close)?))
            }
            F_GETFD => Ok(u64::from(self.descriptors.closes_on_exec(fd)?)),
            F_SETFD => {
                self.descriptors.set_close_on_exec(fd, low & FD_CLOEXEC != 0)?;
                Ok(0)
            }
            F_GETFL => Ok(u64::from(description.flags)),
            F_SETFL => {
                const CHANGEABLE: u32 = flags::APPEND | flags::NONBLOCK;
                description.flags = description.flags & !CHANGEABLE | low & CHANGEABLE;
                Ok(0)
            }
            // Locks of this kind are between processes, and there is one.
            F_GETLK => {
                self.memory().write(argument, &UNLOCKED)?;
                Ok(0)
            }
            F_SETLK | F_SETLKW => {
                crate::memory::read_array::<32>(self.memory(), argument)?;
                Ok(0)
            }
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn ioctl(&mut self, fd: i32, request: u32, argument: u64) -> Done {
        self.descriptors.serial(fd)?;
        match request {
            FIOCLEX | FIONCLEX => self.descriptors.set_close_on_exec(fd, request == FIOCLEX)?,
            FIONBIO => {
                let on = read_u32(self.memory(), argument)? != 0;
                let description = self.descriptors.get_mut(fd)?;
                let others = description.flags & !flags::NONBLOCK;
                description.flags = if on { others | flags::NONBLOCK } else { others };
            }
            _ => return Err(Errno::NOTTY.into()),
        }
        Ok(0)
    }

    fn seek(&mut self, fd: i32, offset: i64, whence: u32) -> Done {
        let description = self.descriptors.get(fd)?;
        let len = match &description.object {
            Object::File(node) => match &self.files.node(*node)?.body {
                Body::File(content) => content.len(),
                _ => return Ok(0),
            },
            Object::Directory(..) => 0,
            _ => return Err(Errno::SPIPE.into()),
        };
        let base = match whence {
            0 => 0,
            1 => description.position,
            2 => len,
            _ => return Err(Errno::INVAL.into()),
        };
        let to = base.checked_add_signed(offset).filter(|to| *to <= i64::MAX as u64).ok_or(Errno::INVAL)?;
        let description = self.descriptors.get_mut(fd)?;
        if let Object::Directory(_, after) = &mut description.object {
            // A listing begins anew or stays where it is.
            match to {
                0 => *after = None,
                to if to == description.position => {}
                _ => return Err(Errno::INVAL.into()),
            }
        }
        description.position = to;
        Ok(to)
    }

    fn truncate_open(&mut self, fd: i32, len: u64) -> Done {
        let node = self.writable_file(fd)?;
        if len > i64::MAX as u64 {
            return Err(Errno::INVAL.into());
        }
        self.files.set_len(node, len, self.now.wall_ns)?;
        self.descriptors.get_mut(fd)?.written = true;
        Ok(0)
    }

    fn writable_file(&self, fd: i32) -> Result<NodeId, Errno> {
        let description = self.descriptors.get(fd)?;
        match description.object {
            Object::File(node) if description.flags & flags::ACCMODE != 0 => Ok(node),
            _ => Err(Errno::INVAL),
        }
    }

    /// What is written in full lasts now, below the directory of which that is promised.
    fn sync(&mut self, fd: i32) -> Done {
        let description = self.descriptors.get_mut(fd)?;
        match description.object {
            Object::File(node) if core::mem::take(&mut description.written) => self.changed_below(node),
            Object::File(_) | Object::Directory(..) => {}
            _ => return Err(Stop::Errno(Errno::INVAL)),
        }
        Ok(0)
    }
}

/// A descriptor as the result of a call.
pub(super) fn number_of(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}
