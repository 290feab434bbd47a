//! Descriptors: numbers of the program for open descriptions, several of which may mean the same one.

use crate::errno::Errno;
use crate::eventfd::EventFd;
use crate::files::NodeId;
use crate::pair::Side;
use crate::sockets::{SocketId, SocketKind};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Most descriptors (`RLIMIT_NOFILE`).
pub const MOST: usize = 4096;

/// Names an open description; never used again for another one.
pub type Serial = u64;

/// What a description is of.
#[derive(Debug)]
pub enum Object {
    /// Standard input, output and error: input is empty, output goes to the log.
    Console,
    /// A file or a device.
    File(NodeId),
    /// A directory, and the last name that was listed.
    Directory(NodeId, Option<Vec<u8>>),
    /// A counter that can be waited for.
    EventFd(EventFd),
    /// A set of descriptions to wait for; kept by its serial in [`crate::epoll`].
    Epoll,
    /// A socket of the network.
    Socket(SocketId, SocketKind),
    /// One end of a stream that stays in the machine.
    End(u32, Side),
}

/// An open description.
#[derive(Debug)]
pub struct Description {
    /// What it is of.
    pub object: Object,
    /// `O_ACCMODE`, `O_APPEND`, `O_NONBLOCK`.
    pub flags: u32,
    /// Where reading and writing goes on.
    pub position: u64,
    /// Something was written through it.
    pub written: bool,
    users: u32,
}

impl Description {
    /// A new description.
    #[must_use]
    pub fn new(object: Object, flags: u32) -> Self {
        Self { object, flags, position: 0, written: false, users: 0 }
    }

    /// Whether its calls do not wait.
    #[must_use]
    pub fn is_nonblocking(&self) -> bool {
        self.flags & flags::NONBLOCK != 0
    }
}

/// Flags of `open` and of descriptions (x86-64 `fcntl.h`).
pub mod flags {
    #![expect(missing_docs, reason = "the names are Linux's")]
    pub const WRONLY: u32 = 0o1;
    pub const RDWR: u32 = 0o2;
    pub const ACCMODE: u32 = 0o3;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const NONBLOCK: u32 = 0o4000;
    pub const DIRECTORY: u32 = 0o200_000;
    pub const CLOEXEC: u32 = 0o2_000_000;
    pub const TMPFILE: u32 = 0o20_000_000;
}

/// One descriptor.
#[derive(Clone, Copy, Debug)]
struct Entry {
    serial: Serial,
    close_on_exec: bool,
}

/// The descriptors of the program.
#[derive(Debug, Default)]
pub struct Descriptors {
    table: Vec<Option<Entry>>,
    open: BTreeMap<Serial, Description>,
    next: Serial,
}

impl Descriptors {
    /// Gives a new description the lowest free number.
    ///
    /// # Errors
    /// [`Errno::MFILE`].
    pub fn add(&mut self, description: Description, close_on_exec: bool) -> Result<i32, Errno> {
        let serial = self.next;
        let fd = self.take_number(0, Entry { serial, close_on_exec })?;
        self.next += 1;
        self.open.insert(serial, Description { users: 1, ..description });
        Ok(fd)
    }

    /// Whether another descriptor can be had.
    ///
    /// # Errors
    /// [`Errno::MFILE`].
    pub fn room(&self) -> Result<(), Errno> {
        let full = self.table.len() >= MOST && self.table.iter().all(Option::is_some);
        if full { Err(Errno::MFILE) } else { Ok(()) }
    }

    /// Gives the description of `fd` one more number, the lowest free one from `from` on.
    ///
    /// # Errors
    /// [`Errno::BADF`], [`Errno::MFILE`], [`Errno::INVAL`] when `from` is too high.
    pub fn duplicate(&mut self, fd: i32, from: i32, close_on_exec: bool) -> Result<i32, Errno> {
        let serial = self.serial(fd)?;
        let from = usize::try_from(from).ok().filter(|from| *from < MOST).ok_or(Errno::INVAL)?;
        let new = self.take_number(from, Entry { serial, close_on_exec })?;
        self.use_once_more(serial);
        Ok(new)
    }

    /// Makes `to`, which must not be open, mean what `fd` means.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn duplicate_to(&mut self, fd: i32, to: i32, close_on_exec: bool) -> Result<(), Errno> {
        let serial = self.serial(fd)?;
        let index = usize::try_from(to).ok().filter(|to| *to < MOST).ok_or(Errno::BADF)?;
        if self.table.len() <= index {
            self.table.resize(index + 1, None);
        }
        *self.table.get_mut(index).ok_or(Errno::BADF)? = Some(Entry { serial, close_on_exec });
        self.use_once_more(serial);
        Ok(())
    }

    /// Frees a number; returns the description when that was its last one.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn close(&mut self, fd: i32) -> Result<Option<(Serial, Description)>, Errno> {
        let serial = self.serial(fd)?;
        if let Some(entry) = usize::try_from(fd).ok().and_then(|index| self.table.get_mut(index)) {
            *entry = None;
        }
        let description = self.open.get_mut(&serial).ok_or(Errno::BADF)?;
        description.users = description.users.saturating_sub(1);
        if description.users > 0 {
            return Ok(None);
        }
        Ok(self.open.remove(&serial).map(|description| (serial, description)))
    }

    /// Which description a number means.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn serial(&self, fd: i32) -> Result<Serial, Errno> {
        self.entry(fd).map(|entry| entry.serial)
    }

    /// The description that a number means.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn get(&self, fd: i32) -> Result<&Description, Errno> {
        self.open.get(&self.serial(fd)?).ok_or(Errno::BADF)
    }

    /// The description that a number means.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Description, Errno> {
        let serial = self.serial(fd)?;
        self.open.get_mut(&serial).ok_or(Errno::BADF)
    }

    /// A description by its serial.
    #[must_use]
    pub fn by_serial(&self, serial: Serial) -> Option<&Description> {
        self.open.get(&serial)
    }

    /// Whether `exec` would close it.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn closes_on_exec(&self, fd: i32) -> Result<bool, Errno> {
        self.entry(fd).map(|entry| entry.close_on_exec)
    }

    /// Chooses whether `exec` would close it; there is no `exec`.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    pub fn set_close_on_exec(&mut self, fd: i32, close: bool) -> Result<(), Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        let entry = self.table.get_mut(index).and_then(Option::as_mut).ok_or(Errno::BADF)?;
        entry.close_on_exec = close;
        Ok(())
    }

    /// Every number in use.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        (0_i32..).zip(&self.table).filter_map(|(fd, entry)| entry.map(|_| fd)).collect()
    }

    fn entry(&self, fd: i32) -> Result<Entry, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        self.table.get(index).copied().flatten().ok_or(Errno::BADF)
    }

    fn use_once_more(&mut self, serial: Serial) {
        if let Some(description) = self.open.get_mut(&serial) {
            description.users += 1;
        }
    }

    fn take_number(&mut self, from: usize, entry: Entry) -> Result<i32, Errno> {
        let free = self.table.iter().skip(from).position(Option::is_none).map(|at| from + at);
        let index = free.unwrap_or_else(|| self.table.len().max(from));
        if index >= MOST {
            return Err(Errno::MFILE);
        }
        if self.table.len() <= index {
            self.table.resize(index + 1, None);
        }
        if let Some(slot) = self.table.get_mut(index) {
            *slot = Some(entry);
        }
        i32::try_from(index).map_err(|_| Errno::MFILE)
    }
}
