//! Files: a tree in memory, bounded in bytes and in number. Everything belongs to user 0, who may do everything.

pub mod content;
pub mod path;
#[cfg(test)]
mod tests;

use crate::errno::Errno;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use content::{CHUNK, Content};
use path::Found;

/// Names a file, directory or device. Not used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The inode number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Swallows everything.
    Null,
    /// Zeros.
    Zero,
    /// Random bytes; `poll` knows it.
    Random,
    /// Random bytes.
    Urandom,
}

/// What a node is.
#[derive(Debug)]
pub enum Body {
    /// A directory: its entries by name.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A file.
    File(Content),
    /// A device.
    Device(Device),
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub body: Body,
    /// Permissions; nobody is refused for them.
    pub mode: u32,
    /// When it was changed, nanoseconds since the epoch.
    pub modified_ns: u64,
    /// The directory it is in.
    pub parent: NodeId,
    /// Whether a directory has it; if not, it lives until it is closed.
    pub linked: bool,
    /// The program may not change it, nor what is made in it.
    pub sealed: bool,
    opened: u32,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all files, those of the bundle that were never written to aside.
    pub bytes: usize,
    /// Files, directories and devices.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, nodes: 2048 }
    }
}

/// The tree.
#[derive(Debug)]
pub struct Files {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    limits: Limits,
    chunks: usize,
}

const ROOT: NodeId = NodeId(1);

impl Files {
    /// A tree with nothing but its root.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let root = Node {
            body: Body::Directory(BTreeMap::new()),
            mode: 0o755,
            modified_ns: 0,
            parent: ROOT,
            linked: true,
            sealed: false,
            opened: 0,
        };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: 2, limits, chunks: 0 }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> NodeId {
        ROOT
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of memory that are taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks * CHUNK
    }

    /// How much there may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A node.
    ///
    /// # Errors
    /// [`Errno::NOENT`].
    pub fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::NOENT)
    }

    /// A node, to change its mode or time.
    ///
    /// # Errors
    /// [`Errno::NOENT`].
    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&id).ok_or(Errno::NOENT)
    }

    /// Whether the program may change it, and what is made in it.
    ///
    /// # Errors
    /// [`Errno::ROFS`], [`Errno::NOENT`].
    pub fn may_change(&self, id: NodeId) -> Result<(), Errno> {
        if self.node(id)?.sealed { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// Seals everything that is there.
    pub fn seal(&mut self) {
        self.nodes.values_mut().for_each(|node| node.sealed = true);
    }

    /// Opens a directory, and everything below it, to the program.
    pub fn unseal(&mut self, directory: NodeId) {
        let below: Vec<_> = self.nodes.keys().copied().filter(|id| self.is_below(*id, directory)).collect();
        for id in below {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.sealed = false;
            }
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.node(id), Ok(Node { body: Body::Directory(_), .. }))
    }

    /// Length of a file; 0 for anything else.
    #[must_use]
    pub fn len(&self, id: NodeId) -> u64 {
        match self.node(id) {
            Ok(Node { body: Body::File(content), .. }) => content.len(),
            _ => 0,
        }
    }

    /// Makes what a path leads to, where nothing is yet.
    ///
    /// # Errors
    /// [`Errno::EXIST`], [`Errno::NOENT`] in a directory that is gone, [`Errno::NOSPC`].
    pub fn make(&mut self, at: Found<'_>, body: Body, mode: u32, now_ns: u64) -> Result<NodeId, Errno> {
        let name = match at {
            Found { name: Some(name), node: None, .. } => name,
            _ => return Err(Errno::EXIST),
        };
        if !self.node(at.parent)?.linked {
            return Err(Errno::NOENT);
        }
        if self.nodes.len() >= self.limits.nodes {
            return Err(Errno::NOSPC);
        }
        let id = NodeId(self.next);
        let parent = self.node_mut(at.parent)?;
        let Body::Directory(entries) = &mut parent.body else { return Err(Errno::NOTDIR) };
        entries.insert(name.to_vec(), id);
        parent.modified_ns = now_ns;
        let sealed = parent.sealed;
        self.next += 1;
        let mode = mode & 0o7777;
        let node =
            Node { body, mode, modified_ns: now_ns, parent: at.parent, linked: true, sealed, opened: 0 };
        self.nodes.insert(id, node);
        Ok(id)
    }

    /// Takes a file or an empty directory out of its directory.
    ///
    /// # Errors
    /// [`Errno::NOENT`], [`Errno::NOTEMPTY`], [`Errno::BUSY`] for the root.
    pub fn remove(&mut self, at: Found<'_>, now_ns: u64) -> Result<(), Errno> {
        let (name, id) = match at {
            Found { name: Some(name), node: Some(id), .. } => (name, id),
            Found { node: None, .. } => return Err(Errno::NOENT),
            Found { name: None, .. } => return Err(Errno::BUSY),
        };
        if let Body::Directory(entries) = &self.node(id)?.body
            && !entries.is_empty()
        {
            return Err(Errno::NOTEMPTY);
        }
        let parent = self.node_mut(at.parent)?;
        parent.modified_ns = now_ns;
        if let Body::Directory(entries) = &mut parent.body {
            entries.remove(name);
        }
        self.node_mut(id)?.linked = false;
        self.forget_unused(id);
        Ok(())
    }

    /// Gives what `from` found the name of `to`; what was there is replaced in the same moment.
    ///
    /// # Errors
    /// As rename(2).
    pub fn rename(&mut self, from: Found<'_>, to: Found<'_>, now_ns: u64) -> Result<(), Errno> {
        let (Some(old_name), Some(new_name)) = (from.name, to.name) else { return Err(Errno::BUSY) };
        let id = from.node.ok_or(Errno::NOENT)?;
        if to.node == Some(id) {
            return Ok(());
        }
        let directory = self.is_directory(id);
        if to.slash && !directory {
            return Err(Errno::NOTDIR);
        }
        if directory && self.is_below(to.parent, id) {
            return Err(Errno::INVAL);
        }
        if !self.node(to.parent)?.linked {
            return Err(Errno::NOENT);
        }
        match to.node.map(|replaced| (directory, self.is_directory(replaced))) {
            Some((true, false)) => return Err(Errno::NOTDIR),
            Some((false, true)) => return Err(Errno::ISDIR),
            _ => {}
        }
        self.may_change(from.parent)?;
        self.may_change(to.parent)?;
        if to.node.is_some() {
            self.remove(to, now_ns)?;
        }
        for (directory, name, insert) in [(from.parent, old_name, None), (to.parent, new_name, Some(id))] {
            let node = self.node_mut(directory)?;
            node.modified_ns = now_ns;
            if let Body::Directory(entries) = &mut node.body {
                match insert {
                    Some(id) => entries.insert(name.to_vec(), id),
                    None => entries.remove(name),
                };
            }
        }
        self.node_mut(id)?.parent = to.parent;
        Ok(())
    }

    /// The entry behind `after` in a directory, by name.
    ///
    /// # Errors
    /// [`Errno::NOTDIR`].
    pub fn entry_after(&self, id: NodeId, after: Option<&[u8]>) -> Result<Option<(&[u8], NodeId)>, Errno> {
        use core::ops::Bound::{Excluded, Unbounded};
        let Body::Directory(entries) = &self.node(id)?.body else { return Err(Errno::NOTDIR) };
        let from = after.map_or(Unbounded, Excluded);
        Ok(entries.range::<[u8], _>((from, Unbounded)).next().map(|(name, id)| (name.as_slice(), *id)))
    }

    /// Copies from a file; returns how much, 0 at its end.
    ///
    /// # Errors
    /// [`Errno::ISDIR`], [`Errno::INVAL`].
    pub fn read(&self, id: NodeId, at: u64, out: &mut [u8]) -> Result<usize, Errno> {
        match &self.node(id)?.body {
            Body::File(content) => Ok(content.read(at, out)),
            Body::Directory(_) => Err(Errno::ISDIR),
            Body::Device(_) => Err(Errno::INVAL),
        }
    }

    /// Writes to a file as much as there is room for; returns how much.
    ///
    /// # Errors
    /// [`Errno::FBIG`], [`Errno::NOSPC`] when nothing could be written.
    pub fn write(&mut self, id: NodeId, at: u64, bytes: &[u8], now_ns: u64) -> Result<usize, Errno> {
        let most = self.limits.bytes / CHUNK;
        let node = self.nodes.get_mut(&id).ok_or(Errno::NOENT)?;
        let Body::File(content) = &mut node.body else { return Err(Errno::INVAL) };
        let mut done = 0;
        while done < bytes.len() {
            let held = content.held();
            let budget = most.saturating_sub(self.chunks);
            match content.write(at.saturating_add(done as u64), bytes.get(done..).unwrap_or_default(), budget)
            {
                Ok(len) => done += len,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            self.chunks += content.held() - held;
        }
        node.modified_ns = now_ns;
        Ok(done)
    }

    /// Cuts a file off or makes it longer, by zeros.
    ///
    /// # Errors
    /// [`Errno::FBIG`], [`Errno::ISDIR`], [`Errno::INVAL`].
    pub fn set_len(&mut self, id: NodeId, len: u64, now_ns: u64) -> Result<(), Errno> {
        let node = self.nodes.get_mut(&id).ok_or(Errno::NOENT)?;
        let content = match &mut node.body {
            Body::File(content) => content,
            Body::Directory(_) => return Err(Errno::ISDIR),
            Body::Device(_) => return Err(Errno::INVAL),
        };
        let held = content.held();
        let result = content.set_len(len);
        self.chunks = (self.chunks + content.held()).saturating_sub(held);
        node.modified_ns = now_ns;
        result
    }

    /// Replaces what is in a file.
    ///
    /// # Errors
    /// [`Errno::NOSPC`], [`Errno::FBIG`], [`Errno::ISDIR`], [`Errno::INVAL`].
    pub fn replace(&mut self, id: NodeId, bytes: &[u8], now_ns: u64) -> Result<(), Errno> {
        self.set_len(id, 0, now_ns)?;
        if self.write(id, 0, bytes, now_ns)? == bytes.len() { Ok(()) } else { Err(Errno::NOSPC) }
    }

    /// Notes that somebody has it open.
    pub fn retain(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opened = node.opened.saturating_add(1);
        }
    }

    /// Notes that somebody has it open no more.
    pub fn release(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opened = node.opened.saturating_sub(1);
        }
        self.forget_unused(id);
    }

    fn forget_unused(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_some_and(|node| !node.linked && node.opened == 0)
            && let Some(Node { body: Body::File(content), .. }) = self.nodes.remove(&id)
        {
            self.chunks = self.chunks.saturating_sub(content.held());
        }
    }
}
