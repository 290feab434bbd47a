//! What a description is ready for.

use super::Layer;
use crate::descriptors::{Description, Descriptors, Object, Serial};
use crate::epoll::Epoll;
use crate::epoll::Interest;
use crate::errno::Errno;
use crate::files::{Body, Device, Files, Node, NodeId};
use crate::pair::Pair;
use crate::ready::Ready;
use crate::sockets::{Readiness, Sockets};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What readiness is made from: everything of the layer but its sets.
struct Sources<'a, S> {
    descriptors: &'a Descriptors,
    sockets: &'a S,
    pairs: &'a BTreeMap<u32, Pair>,
    files: &'a Files,
}

impl<S: Sockets> Sources<'_, S> {
    fn of(&self, serial: Serial) -> Ready {
        self.descriptors.by_serial(serial).map_or(Ready::default(), |d| self.ready(d))
    }

    fn ready(&self, description: &Description) -> Ready {
        match &description.object {
            Object::Console | Object::Directory(..) => Ready::always(Readiness::IN | Readiness::OUT),
            Object::File(node) if is_random(self.files, *node) => Ready::always(Readiness::IN),
            Object::File(_) => Ready::always(Readiness::IN | Readiness::OUT),
            Object::EventFd(counter) => counter.ready(),
            Object::Socket(id, _) => self.sockets.readiness(*id).into(),
            Object::End(pair, side) => {
                self.pairs.get(pair).map_or(Ready::default(), |pair| pair.ready(*side))
            }
            Object::Epoll => Ready::default(),
        }
    }
}

fn is_random(files: &Files, node: NodeId) -> bool {
    matches!(files.node(node), Ok(Node { body: Body::Device(Device::Random), .. }))
}

impl<P, S: Sockets, D> Layer<P, S, D> {
    fn sources(&self) -> Sources<'_, S> {
        Sources {
            descriptors: &self.descriptors,
            sockets: &self.sockets,
            pairs: &self.pairs,
            files: &self.files,
        }
    }

    /// What a descriptor is ready for.
    pub(crate) fn ready(&self, fd: i32) -> Result<Ready, Errno> {
        let serial = self.descriptors.serial(fd)?;
        let sources = self.sources();
        match self.epolls.get(&serial) {
            Some(set) if set.is_ready(|serial| sources.of(serial)) => Ok(Ready::always(Readiness::IN)),
            _ => Ok(sources.of(serial)),
        }
    }

    /// What a set reports now, at most `most` of it.
    pub(crate) fn report(&mut self, set: Serial, most: usize) -> Result<Vec<Interest>, Errno> {
        let sources = Sources {
            descriptors: &self.descriptors,
            sockets: &self.sockets,
            pairs: &self.pairs,
            files: &self.files,
        };
        let set: &mut Epoll = self.epolls.get_mut(&set).ok_or(Errno::INVAL)?;
        Ok(set.report(most, |serial| sources.of(serial)))
    }

    /// Whether a set can wait for what a descriptor means: not for files, and not for sets.
    pub(crate) fn can_be_waited_for(&self, fd: i32) -> Result<(), Errno> {
        match &self.descriptors.get(fd)?.object {
            Object::EventFd(_) | Object::Socket(..) | Object::End(..) => Ok(()),
            Object::File(node) if is_random(&self.files, *node) => Ok(()),
            Object::Epoll => Err(Errno::INVAL),
            Object::Console | Object::File(_) | Object::Directory(..) => Err(Errno::PERM),
        }
    }
}
