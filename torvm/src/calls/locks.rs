//! Locks of files (flock(2)): one per description. Nobody can be waited for, for there is one thread; what is taken is
//! refused.

use super::Done;
use crate::descriptors::{Object, Serial};
use crate::errno::Errno;
use crate::files::NodeId;
use crate::layer::Layer;
use alloc::collections::BTreeMap;

/// Who holds a lock, and whether alone.
pub(crate) type Locks = BTreeMap<NodeId, BTreeMap<Serial, Exclusive>>;

/// Whether a lock is held alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exclusive(bool);

const SHARED: u32 = 1;
const EXCLUSIVE: u32 = 2;
const NONBLOCKING: u32 = 4;
const UNLOCK: u32 = 8;

impl<P, S, D> Layer<P, S, D> {
    /// `flock`.
    pub(super) fn flock(&mut self, fd: i32, operation: u32) -> Done {
        let serial = self.descriptors.serial(fd)?;
        let (Object::File(node) | Object::Directory(node, _)) = &self.descriptors.get(fd)?.object else {
            return Err(Errno::INVAL.into());
        };
        let node = *node;
        let wanted = match operation & !NONBLOCKING {
            SHARED => Exclusive(false),
            EXCLUSIVE => Exclusive(true),
            UNLOCK => {
                self.unlock(node, serial);
                return Ok(0);
            }
            _ => return Err(Errno::INVAL.into()),
        };
        let holders = self.locks.entry(node).or_default();
        if holders.iter().any(|(holder, held)| *holder != serial && (held.0 || wanted.0)) {
            return Err(Errno::AGAIN.into());
        }
        holders.insert(serial, wanted);
        Ok(0)
    }

    /// Forgets the lock that a description holds.
    pub(crate) fn unlock(&mut self, node: NodeId, serial: Serial) {
        if let Some(holders) = self.locks.get_mut(&node) {
            holders.remove(&serial);
            if holders.is_empty() {
                self.locks.remove(&node);
            }
        }
    }
}
