//! The first files, and the program's start.

use super::{CONTROL, Layer, Parts};
use crate::bundle::{self, BadBundle, Kind};
use crate::calls::ProgramState;
use crate::descriptors::{Description, Descriptors, Object, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::content::Content;
use crate::files::{Body, Device, Files, NodeId};
use crate::loader::{self, Invocation, LoadFault};
use crate::memory::areas::Areas;
use crate::pair::{Pair, Side};
use crate::processor::Processor;
use crate::sockets::Sockets;
use crate::store::Store;
use crate::time::Now;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The bundle cannot be the first content of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleFault {
    /// It is not an archive.
    Archive,
    /// It holds too much, or something twice.
    Content(Errno),
}

impl core::fmt::Display for BundleFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Archive => f.write_str("the bundle is not a newc archive"),
            Self::Content(errno) => write!(f, "the bundle's files do not fit (error {})", errno.number()),
        }
    }
}

impl From<BadBundle> for BundleFault {
    fn from(_: BadBundle) -> Self {
        Self::Archive
    }
}

impl From<Errno> for BundleFault {
    fn from(errno: Errno) -> Self {
        Self::Content(errno)
    }
}

/// Where the program may write.
const WRITABLE: [&[u8]; 3] = [b"/state", b"/cache", b"/tmp"];
const DEVICES: [(&[u8], Device); 4] = [
    (b"/dev/null", Device::Null),
    (b"/dev/zero", Device::Zero),
    (b"/dev/random", Device::Random),
    (b"/dev/urandom", Device::Urandom),
];

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// A layer without a program, with the bundle's files and what was stored.
    ///
    /// # Errors
    /// [`BundleFault`]. What the disk holds is never an error: without anything sound there the state is empty, and
    /// [`Layer::store_found`](Self::store_found) says so.
    pub fn new(parts: Parts<P, S, D>) -> Result<Self, BundleFault> {
        let mut files = Files::new(parts.limits);
        unpack(&mut files, parts.bundle)?;
        for (path, device) in DEVICES {
            make(&mut files, path, Body::Device(device), 0o666)?;
        }
        let writable = WRITABLE.map(|path| directory(&mut files, path, 0o700));
        files.seal();
        for directory in writable {
            files.unseal(directory?);
        }
        let store = Store::new(parts.disk);
        let mut layer = Self {
            processor: parts.processor,
            sockets: parts.sockets,
            store,
            random: parts.random,
            files,
            descriptors: Descriptors::default(),
            epolls: BTreeMap::new(),
            pairs: BTreeMap::new(),
            next_pair: CONTROL + 1,
            locks: BTreeMap::new(),
            areas: Areas::default(),
            program: ProgramState::default(),
            console: super::Console::default(),
            counters: super::Counters::default(),
            scratch: Vec::new(),
            now: Now::default(),
            saving: super::state::Saving::default(),
            waiting: None,
        };
        layer.restore();
        Ok(layer)
    }

    /// Puts a file where the program only reads: its configuration, from dom0.
    ///
    /// # Errors
    /// [`Errno`]: the path leads nowhere or to a directory, or there is no room.
    pub fn put_file(&mut self, path: &[u8], bytes: &[u8], now: Now) -> Result<(), Errno> {
        let id = match self.files.lookup(self.files.root(), path) {
            Ok(id) => id,
            Err(_) => make(&mut self.files, path, Body::File(Content::default()), 0o644)?,
        };
        self.files.replace(id, bytes, now.wall_ns)
    }

    /// Loads the program and sets it up to begin, with descriptors 0 to 2 for the log and 3 for the owner.
    ///
    /// # Errors
    /// [`LoadFault`]; there is then no program.
    pub fn start_program(&mut self, invocation: &Invocation<'_>) -> Result<(), LoadFault> {
        self.end_program();
        let bytes = self.image(invocation.path)?;
        match loader::load(&mut self.processor, bytes, invocation, self.random) {
            Ok(loaded) => {
                self.program = ProgramState::new(loaded.heap);
                self.areas = loaded.areas;
                self.open_first();
                self.processor.start(loaded.entry, loaded.stack);
                Ok(())
            }
            Err(fault) => {
                self.processor.clear();
                Err(fault)
            }
        }
    }

    /// The program as the bundle has it.
    fn image(&self, path: &[u8]) -> Result<&'static [u8], LoadFault> {
        let id = self.files.lookup(self.files.root(), path).map_err(|_| LoadFault::Missing)?;
        match self.files.node(id).map(|node| &node.body) {
            Ok(Body::File(content)) => content.as_fixed().ok_or(LoadFault::Missing),
            _ => Err(LoadFault::Missing),
        }
    }

    fn open_first(&mut self) {
        self.pairs.insert(CONTROL, Pair::default());
        let consoles = [(); 3].map(|()| Description::new(Object::Console, flags::RDWR));
        let control = Description::new(Object::End(CONTROL, Side::Left), flags::RDWR);
        for description in consoles.into_iter().chain([control]) {
            // Nothing is open: there is room.
            let _ = self.descriptors.add(description, false);
        }
    }
}

fn unpack(files: &mut Files, bundle: &'static [u8]) -> Result<(), BundleFault> {
    for member in bundle::members(bundle) {
        let member = member?;
        match member.kind {
            Kind::Directory => directory(files, member.path, member.mode)?,
            Kind::File => make(files, member.path, Body::File(Content::fixed(member.bytes)), member.mode)?,
            Kind::Other => continue,
        };
    }
    Ok(())
}

fn directory(files: &mut Files, path: &[u8], mode: u32) -> Result<NodeId, Errno> {
    match files.lookup(files.root(), path) {
        Ok(id) if files.is_directory(id) => Ok(id),
        _ => make(files, path, Body::Directory(BTreeMap::new()), mode),
    }
}

/// Makes what a path names, and the directories above it.
fn make(files: &mut Files, path: &[u8], body: Body, mode: u32) -> Result<NodeId, Errno> {
    for (at, _) in path.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'/') {
        directory(files, path.get(..at).unwrap_or_default(), 0o755)?;
    }
    let root = files.root();
    let found = files.find(root, path)?;
    files.make(found, body, mode, 0)
}
