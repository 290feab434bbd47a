//! Listing a directory.

use super::Done;
use super::arguments::length;
use crate::descriptors::Object;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::{Body, NodeId};
use crate::layer::Layer;
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::vec::Vec;

const DT_CHR: u8 = 2;
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;

/// Where a listing is: `.` and `..` come first, then the names in order.
struct Entry {
    node: NodeId,
    name: Vec<u8>,
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `getdents64`.
    pub(super) fn getdents64(&mut self, fd: i32, out: u64, len: u64) -> Done {
        let (mut done, len) = (0, length(len));
        // A directory has no more entries than there are nodes.
        for _ in 0..self.files.count() + 2 {
            let description = self.descriptors.get(fd)?;
            let Object::Directory(id, after) = &description.object else { return Err(Errno::NOTDIR.into()) };
            let position = description.position;
            let Some(entry) = self.entry(*id, position, after.as_deref())? else { break };
            let record = self.record(&entry, position + 1);
            if done + record.len() > len {
                if done == 0 {
                    return Err(Errno::INVAL.into());
                }
                break;
            }
            let at = out.checked_add(done as u64).ok_or(Errno::FAULT)?;
            self.memory().write(at, &record)?;
            done += record.len();
            let description = self.descriptors.get_mut(fd)?;
            description.position += 1;
            if let Object::Directory(_, after) = &mut description.object
                && position >= 2
            {
                *after = Some(entry.name);
            }
        }
        Ok(done as u64)
    }

    fn entry(&self, id: NodeId, position: u64, after: Option<&[u8]>) -> Result<Option<Entry>, Errno> {
        let node = self.files.node(id)?;
        Ok(match position {
            0 => Some(Entry { node: id, name: b".".to_vec() }),
            1 => Some(Entry { node: node.parent, name: b"..".to_vec() }),
            _ => {
                let next = self.files.entry_after(id, after)?;
                next.map(|(name, node)| Entry { node, name: name.to_vec() })
            }
        })
    }

    /// `struct linux_dirent64`: inode, where the next one is, length, type, name.
    fn record(&self, entry: &Entry, next: u64) -> Vec<u8> {
        let kind = match self.files.node(entry.node).map(|node| &node.body) {
            Ok(Body::Directory(_)) | Err(_) => DT_DIR,
            Ok(Body::File(_)) => DT_REG,
            Ok(Body::Device(_)) => DT_CHR,
        };
        let len = (19 + entry.name.len() + 1).next_multiple_of(8);
        let mut out = Vec::with_capacity(len);
        out.extend(entry.node.number().to_le_bytes());
        out.extend(next.to_le_bytes());
        out.extend(u16::try_from(len).unwrap_or(0).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(&entry.name);
        out.resize(len, 0);
        out
    }
}
