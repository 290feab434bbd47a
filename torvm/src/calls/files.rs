//! Calls on paths: opening, making, removing, renaming.

use super::{Arguments, Done, numbers};
use crate::descriptors::{Description, Object, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::content::Content;
use crate::files::path::Found;
use crate::files::{Body, NodeId};
use crate::layer::Layer;
use crate::memory::read_string;
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Means the current directory, which is the root.
pub(super) const AT_FDCWD: i32 = -100;
/// Longest path with its zero byte.
const LONGEST: usize = 4096;
/// Removes a directory.
const AT_REMOVEDIR: u32 = 0x200;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// The calls on paths.
    pub(super) fn file_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        Some(match number {
            numbers::OPENAT => self.open(a.int(0), a.word(1), a.low(2), a.low(3)),
            numbers::OPEN => self.open(AT_FDCWD, a.word(0), a.low(1), a.low(2)),
            numbers::STAT | numbers::LSTAT => self.stat(a.word(0), a.word(1)),
            numbers::FSTAT => self.fstat(a.int(0), a.word(1)),
            numbers::NEWFSTATAT => self.fstatat(a),
            numbers::STATX => self.statx(a),
            numbers::ACCESS => self.access(AT_FDCWD, a.word(0), a.low(1)),
            numbers::FACCESSAT | numbers::FACCESSAT2 => self.access(a.int(0), a.word(1), a.low(2)),
            numbers::READLINK => self.node_at(AT_FDCWD, a.word(0)).map_err(Into::into).and_then(not_a_link),
            numbers::READLINKAT => self.node_at(a.int(0), a.word(1)).map_err(Into::into).and_then(not_a_link),
            numbers::MKDIR => self.make_directory(AT_FDCWD, a.word(0), a.low(1)),
            numbers::MKDIRAT => self.make_directory(a.int(0), a.word(1), a.low(2)),
            numbers::RMDIR => self.remove(AT_FDCWD, a.word(0), AT_REMOVEDIR),
            numbers::UNLINK => self.remove(AT_FDCWD, a.word(0), 0),
            numbers::UNLINKAT => self.remove(a.int(0), a.word(1), a.low(2)),
            numbers::RENAME => self.rename([AT_FDCWD; 2], [a.word(0), a.word(1)], 0),
            numbers::RENAMEAT => self.rename([a.int(0), a.int(2)], [a.word(1), a.word(3)], 0),
            numbers::RENAMEAT2 => self.rename([a.int(0), a.int(2)], [a.word(1), a.word(3)], a.low(4)),
            numbers::TRUNCATE => self.truncate(a.word(0), a.word(1)),
            numbers::CHMOD => self.chmod(AT_FDCWD, a.word(0), a.low(1)),
            numbers::FCHMODAT => self.chmod(a.int(0), a.word(1), a.low(2)),
            numbers::CHOWN | numbers::LCHOWN => {
                self.node_at(AT_FDCWD, a.word(0)).map(|_| 0).map_err(Into::into)
            }
            numbers::FCHOWNAT => self.node_at(a.int(0), a.word(1)).map(|_| 0).map_err(Into::into),
            numbers::UTIMENSAT => self.set_times(a),
            numbers::GETCWD => self.working_directory(a.word(0), a.word(1)),
            _ => return None,
        })
    }

    /// Reads a path of the program.
    pub(super) fn path(&mut self, at: u64) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; LONGEST];
        let len = read_string(self.memory(), at, &mut buffer)?.ok_or(Errno::NAMETOOLONG)?.len();
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Where a path begins: at the root, or at the directory of a descriptor.
    fn begin(&self, directory: i32, path: &[u8]) -> Result<NodeId, Errno> {
        if directory == AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(self.files.root());
        }
        match &self.descriptors.get(directory)?.object {
            Object::Directory(node, _) => Ok(*node),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// What a path of the program leads to.
    pub(super) fn node_at(&mut self, directory: i32, path: u64) -> Result<NodeId, Errno> {
        let path = self.path(path)?;
        self.files.lookup(self.begin(directory, &path)?, &path)
    }

    fn open(&mut self, directory: i32, path: u64, how: u32, mode: u32) -> Done {
        let path = self.path(path)?;
        if how & flags::TMPFILE != 0 {
            return Err(Errno::OPNOTSUPP.into());
        }
        if how & flags::CREAT != 0 && how & flags::DIRECTORY != 0 {
            return Err(Errno::INVAL.into());
        }
        self.descriptors.room()?;
        let found = self.files.find(self.begin(directory, &path)?, &path)?;
        let (node, made) = match found.node {
            Some(_) if how & flags::CREAT != 0 && how & flags::EXCL != 0 => return Err(Errno::EXIST.into()),
            Some(node) => (node, false),
            None if how & flags::CREAT == 0 => return Err(Errno::NOENT.into()),
            None if found.slash => return Err(Errno::ISDIR.into()),
            None => {
                self.files.may_change(found.parent)?;
                let body = Body::File(Content::default());
                (self.files.make(found, body, mode & !self.program.umask, self.now.wall_ns)?, true)
            }
        };
        let object = self.opened(node, how, made)?;
        let truncated = how & flags::TRUNC != 0 && matches!(self.files.node(node)?.body, Body::File(_));
        if truncated && !made {
            self.files.may_change(node)?;
            self.files.set_len(node, 0, self.now.wall_ns)?;
        }
        self.files.retain(node);
        let kept = how & (flags::ACCMODE | flags::APPEND | flags::NONBLOCK);
        let mut description = Description::new(object, kept);
        description.written = made || truncated;
        let fd = self.descriptors.add(description, how & flags::CLOEXEC != 0)?;
        Ok(u64::from(fd.cast_unsigned()))
    }

    /// What is opened, if it may be opened in this way.
    fn opened(&self, id: NodeId, how: u32, made: bool) -> Result<Object, Errno> {
        let writes = how & flags::ACCMODE != 0;
        match &self.files.node(id)?.body {
            Body::Directory(_) if writes || how & (flags::CREAT | flags::TRUNC) != 0 => Err(Errno::ISDIR),
            Body::Directory(_) => Ok(Object::Directory(id, None)),
            _ if how & flags::DIRECTORY != 0 => Err(Errno::NOTDIR),
            Body::File(_) if writes && !made => self.files.may_change(id).map(|()| Object::File(id)),
            Body::File(_) | Body::Device(_) => Ok(Object::File(id)),
        }
    }

    /// Everybody is user 0: only executing what nobody may execute is refused.
    fn access(&mut self, directory: i32, path: u64, how: u32) -> Done {
        const EXECUTE: u32 = 1;
        const WRITE: u32 = 2;
        let id = self.node_at(directory, path)?;
        let node = self.files.node(id)?;
        if how > 7 {
            return Err(Errno::INVAL.into());
        }
        if how & EXECUTE != 0 && !matches!(node.body, Body::Directory(_)) && node.mode & 0o111 == 0 {
            return Err(Errno::ACCES.into());
        }
        if how & WRITE != 0 && !matches!(node.body, Body::Device(_)) {
            self.files.may_change(id)?;
        }
        Ok(0)
    }

    fn make_directory(&mut self, directory: i32, path: u64, mode: u32) -> Done {
        let path = self.path(path)?;
        let found = self.files.find(self.begin(directory, &path)?, &path)?;
        if found.node.is_some() {
            return Err(Errno::EXIST.into());
        }
        self.files.may_change(found.parent)?;
        let mode = mode & 0o1777 & !self.program.umask;
        self.files.make(found, Body::Directory(BTreeMap::new()), mode, self.now.wall_ns)?;
        Ok(0)
    }

    fn remove(&mut self, directory: i32, path: u64, how: u32) -> Done {
        let path = self.path(path)?;
        let found = self.files.find(self.begin(directory, &path)?, &path)?;
        let is_directory = found.node.is_some_and(|node| self.files.is_directory(node));
        match (found, how) {
            (_, how) if how & !AT_REMOVEDIR != 0 => return Err(Errno::INVAL.into()),
            (Found { node: None, .. }, _) => return Err(Errno::NOENT.into()),
            (_, 0) if is_directory => return Err(Errno::ISDIR.into()),
            (_, AT_REMOVEDIR) if !is_directory => return Err(Errno::NOTDIR.into()),
            (Found { name: None, .. }, _) => return Err(special_name(&path).into()),
            (Found { parent, .. }, _) => self.files.may_change(parent)?,
        }
        self.files.remove(found, self.now.wall_ns)?;
        Ok(0)
    }

    fn rename(&mut self, directories: [i32; 2], paths: [u64; 2], how: u32) -> Done {
        const NOREPLACE: u32 = 1;
        if how & !NOREPLACE != 0 {
            return Err(Errno::INVAL.into());
        }
        let [from_directory, to_directory] = directories;
        let [from, to] = paths;
        let (from, to) = (self.path(from)?, self.path(to)?);
        let from = self.files.find(self.begin(from_directory, &from)?, &from)?;
        let to = self.files.find(self.begin(to_directory, &to)?, &to)?;
        if from.node.is_none() {
            return Err(Errno::NOENT.into());
        }
        if how & NOREPLACE != 0 && to.node.is_some() {
            return Err(Errno::EXIST.into());
        }
        self.files.rename(from, to, self.now.wall_ns)?;
        self.changed_below(from.parent);
        if from.parent != to.parent {
            self.changed_below(to.parent);
        }
        Ok(0)
    }

    fn truncate(&mut self, path: u64, len: u64) -> Done {
        let node = self.node_at(AT_FDCWD, path)?;
        if len > i64::MAX as u64 {
            return Err(Errno::INVAL.into());
        }
        if self.files.is_directory(node) {
            return Err(Errno::ISDIR.into());
        }
        self.files.may_change(node)?;
        self.files.set_len(node, len, self.now.wall_ns)?;
        self.changed_below(node);
        Ok(0)
    }

    fn chmod(&mut self, directory: i32, path: u64, mode: u32) -> Done {
        let node = self.node_at(directory, path)?;
        self.set_mode(node, mode)
    }

    /// Changes the permissions of a node.
    pub(super) fn set_mode(&mut self, node: NodeId, mode: u32) -> Done {
        self.files.may_change(node)?;
        self.files.node_mut(node)?.mode = mode & 0o7777;
        Ok(0)
    }

    fn set_times(&mut self, a: Arguments) -> Done {
        let node = match (a.int(0), a.word(1)) {
            (fd, 0) => self.node_of(fd)?,
            (directory, path) => self.node_at(directory, path)?,
        };
        self.files.may_change(node)?;
        let modified = match a.word(2) {
            0 => Some(self.now.wall_ns),
            times => {
                let at = times.checked_add(16).ok_or(Errno::FAULT)?;
                super::time::stamp(&self.processor, at, self.now)?
            }
        };
        if let Some(modified) = modified {
            self.files.node_mut(node)?.modified_ns = modified;
        }
        Ok(0)
    }

    /// The file or directory that a descriptor means.
    pub(super) fn node_of(&self, fd: i32) -> Result<NodeId, Errno> {
        match &self.descriptors.get(fd)?.object {
            Object::File(node) | Object::Directory(node, _) => Ok(*node),
            _ => Err(Errno::INVAL),
        }
    }

    fn working_directory(&mut self, out: u64, len: u64) -> Done {
        if len < 2 {
            return Err(Errno::RANGE.into());
        }
        self.memory().write(out, b"/\0")?;
        Ok(2)
    }
}

/// There are no links: whatever is there, is none.
fn not_a_link(_: NodeId) -> Done {
    Err(Errno::INVAL.into())
}

/// Why `.`, `..` and the root cannot be removed.
fn special_name(path: &[u8]) -> Errno {
    let last = path.split(|byte| *byte == b'/').rfind(|name| !name.is_empty());
    match last {
        Some(b".") => Errno::INVAL,
        Some(b"..") => Errno::NOTEMPTY,
        _ => Errno::BUSY,
    }
}
