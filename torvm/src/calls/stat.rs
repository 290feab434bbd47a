//! What is told about a file.

use super::{Arguments, Done};
use crate::descriptors::Object;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::content::CHUNK;
use crate::files::{Body, NodeId};
use crate::layer::Layer;
use crate::processor::Processor;
use crate::sockets::Sockets;

const S_IFIFO_LIKE: u32 = 0;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;
/// The path may be empty, and then means the descriptor.
const AT_EMPTY_PATH: u32 = 0x1000;
const NS: u64 = 1_000_000_000;

/// What is told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    inode: u64,
    mode: u32,
    links: u32,
    device: u64,
    size: u64,
    blocks: u64,
    modified_ns: u64,
}

impl Told {
    /// `struct stat` (x86-64 `stat.h`).
    fn stat(self) -> [u8; 144] {
        let mut out = [0; 144];
        let seconds = self.modified_ns / NS;
        let rest = self.modified_ns % NS;
        let words = [
            (0, 1),
            (8, self.inode),
            (16, u64::from(self.links)),
            (24, u64::from(self.mode)),
            (40, self.device),
            (48, self.size),
            (56, CHUNK as u64),
            (64, self.blocks),
        ];
        let times = [(72, seconds), (80, rest), (88, seconds), (96, rest), (104, seconds), (112, rest)];
        words.into_iter().chain(times).for_each(|(at, value)| put(&mut out, at, &value.to_le_bytes()));
        out
    }

    /// `struct statx` (`linux/stat.h`).
    fn statx(self) -> [u8; 256] {
        /// STATX_BASIC_STATS.
        const BASIC: u32 = 0x7FF;
        let mut out = [0; 256];
        let mode = self.mode.to_le_bytes();
        put(&mut out, 0, &BASIC.to_le_bytes());
        put(&mut out, 4, &u32::try_from(CHUNK).unwrap_or(0).to_le_bytes());
        put(&mut out, 16, &self.links.to_le_bytes());
        put(&mut out, 28, mode.get(..2).unwrap_or_default());
        put(&mut out, 32, &self.inode.to_le_bytes());
        put(&mut out, 40, &self.size.to_le_bytes());
        put(&mut out, 48, &self.blocks.to_le_bytes());
        for at in [64, 96, 112] {
            put(&mut out, at, &(self.modified_ns / NS).to_le_bytes());
            put(&mut out, at + 8, &(self.modified_ns % NS).to_le_bytes());
        }
        let major = u32::try_from(self.device >> 8).unwrap_or(0);
        put(&mut out, 128, &major.to_le_bytes());
        put(&mut out, 132, &u32::try_from(self.device & 0xFF).unwrap_or(0).to_le_bytes());
        put(&mut out, 140, &1_u32.to_le_bytes());
        out
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `stat`, `lstat`: there are no links.
    pub(super) fn stat(&mut self, path: u64, out: u64) -> Done {
        let node = self.node_at(super::files::AT_FDCWD, path)?;
        let told = self.told(node)?;
        self.memory().write(out, &told.stat())?;
        Ok(0)
    }

    /// `fstat`.
    pub(super) fn fstat(&mut self, fd: i32, out: u64) -> Done {
        let told = self.told_of(fd)?;
        self.memory().write(out, &told.stat())?;
        Ok(0)
    }

    /// `newfstatat`.
    pub(super) fn fstatat(&mut self, a: Arguments) -> Done {
        let told = self.told_at(a.int(0), a.word(1), a.low(3))?;
        self.memory().write(a.word(2), &told.stat())?;
        Ok(0)
    }

    /// `statx`.
    pub(super) fn statx(&mut self, a: Arguments) -> Done {
        let told = self.told_at(a.int(0), a.word(1), a.low(2))?;
        self.memory().write(a.word(4), &told.statx())?;
        Ok(0)
    }

    fn told_at(&mut self, directory: i32, path: u64, flags: u32) -> Result<Told, Errno> {
        if flags & AT_EMPTY_PATH != 0 && (path == 0 || self.path(path)?.is_empty()) {
            return match directory {
                super::files::AT_FDCWD => self.told(self.files.root()),
                fd => self.told_of(fd),
            };
        }
        let node = self.node_at(directory, path)?;
        self.told(node)
    }

    fn told_of(&self, fd: i32) -> Result<Told, Errno> {
        let other = |mode| Told { inode: 1, mode, links: 1, ..Told::default() };
        match &self.descriptors.get(fd)?.object {
            Object::File(node) | Object::Directory(node, _) => self.told(*node),
            Object::Console => Ok(other(S_IFCHR | 0o600)),
            Object::Socket(..) | Object::End(..) => Ok(other(S_IFSOCK | 0o777)),
            Object::EventFd(_) | Object::Epoll => Ok(other(S_IFIFO_LIKE | 0o600)),
        }
    }

    fn told(&self, id: NodeId) -> Result<Told, Errno> {
        let node = self.files.node(id)?;
        let links = u32::from(node.linked);
        let told = Told { inode: id.number(), links, modified_ns: node.modified_ns, ..Told::default() };
        Ok(match &node.body {
            Body::Directory(_) => {
                Told { mode: S_IFDIR | node.mode, links: 2 * links, size: CHUNK as u64, ..told }
            }
            Body::File(content) => {
                let blocks = content.held() * (CHUNK / 512);
                Told { mode: S_IFREG | node.mode, size: content.len(), blocks: blocks as u64, ..told }
            }
            // Major 1 is memory devices; the minor does not matter to anybody.
            Body::Device(_) => Told { mode: S_IFCHR | node.mode, device: 0x103, ..told },
        })
    }
}
