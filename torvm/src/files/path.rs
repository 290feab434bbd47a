//! From a path to a node.

use super::{Body, Files, NodeId};
use crate::errno::Errno;

/// Longest name of one file.
pub const LONGEST_NAME: usize = 255;

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'p> {
    /// The directory of the last name.
    pub parent: NodeId,
    /// The last name; `None` when it is the root, `.` or `..`.
    pub name: Option<&'p [u8]>,
    /// What is there, if anything.
    pub node: Option<NodeId>,
    /// The path ends in a slash, so that it can only mean a directory.
    pub slash: bool,
}

impl Files {
    /// Follows a path from a directory, up to its last name, which need not exist.
    ///
    /// # Errors
    /// [`Errno::NOENT`], [`Errno::NOTDIR`], [`Errno::NAMETOOLONG`].
    pub fn find<'p>(&self, from: NodeId, path: &'p [u8]) -> Result<Found<'p>, Errno> {
        let mut here = if path.first() == Some(&b'/') { self.root() } else { from };
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        let slash = path.last() == Some(&b'/');
        let mut found = Found { parent: here, name: None, node: Some(here), slash };
        while let Some(name) = names.next() {
            let Body::Directory(entries) = &self.node(here)?.body else { return Err(Errno::NOTDIR) };
            if name.len() > LONGEST_NAME {
                return Err(Errno::NAMETOOLONG);
            }
            let (name, node) = match name {
                b"." => (None, Some(here)),
                b".." => (None, Some(self.node(here)?.parent)),
                name => (Some(name), entries.get(name).copied()),
            };
            found = Found { parent: here, name, node, slash };
            match (names.peek(), node) {
                (Some(_), None) => return Err(Errno::NOENT),
                (_, Some(node)) => here = node,
                (None, None) => {}
            }
        }
        match found.node {
            Some(node) if slash && !self.is_directory(node) => Err(Errno::NOTDIR),
            _ => Ok(found),
        }
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn lookup(&self, from: NodeId, path: &[u8]) -> Result<NodeId, Errno> {
        self.find(from, path)?.node.ok_or(Errno::NOENT)
    }

    /// Whether a node is, or lies below, a directory.
    #[must_use]
    pub fn is_below(&self, node: NodeId, directory: NodeId) -> bool {
        let mut here = node;
        // A chain cannot be longer than there are nodes.
        for _ in 0..=self.count() {
            if here == directory {
                return true;
            }
            match self.node(here) {
                Ok(node) if node.linked && node.parent != here => here = node.parent,
                _ => return false,
            }
        }
        false
    }
}
