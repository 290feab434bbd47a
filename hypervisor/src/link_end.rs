//! One end of a link in this process: checked, mapped regions and the two eventfds.
//!
//! The region that this machine writes is mapped writable once and then sealed, so that nobody else can ever
//! map it writable; the peer's region is mapped read-only after its seals were checked. A seal against
//! shrinking is also what keeps the peer from killing this process with SIGBUS.

use abi::link_device::Role;
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vm_memory::{FileOffset, MmapRegion};
use vmm_sys_util::eventfd::EventFd;

/// Largest region accepted, header page included.
pub const MAX_REGION: u32 = 64 << 20;

/// Seals that a region must carry before its reader maps it.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Why an end was not attached.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No such port or interface.
    #[error("this machine has no such link end")]
    NoSuchEnd,
    /// `AttachLink` without `PrepareLink`.
    #[error("the end was not prepared: send PrepareLink with this machine's region first")]
    NotPrepared,
    /// Not an [`abi::link_device::Role`].
    #[error("{0} is not a role")]
    BadRole(u32),
    /// The epoch does not grow.
    #[error("epoch {new} is not larger than {old}")]
    OldEpoch {
        /// Offered epoch.
        new: u64,
        /// Last epoch of this end.
        old: u64,
    },
    /// A region has an impossible length.
    #[error("a region of {0} bytes: must be a header page and a power of two, at most {MAX_REGION} bytes")]
    BadLength(u64),
    /// A region is not as long as was said.
    #[error("the region has {real} bytes where {said} were announced")]
    LengthMismatch {
        /// Length of the memfd.
        real: u64,
        /// Length in the request.
        said: u64,
    },
    /// The peer could still change the memfd under us.
    #[error("the peer's region is not sealed (has {0:?}): its writer must seal it first")]
    NotSealed(SealFlags),
    /// A descriptor is missing or superfluous.
    #[error("the request needs {needed} descriptors, {got} came")]
    Descriptors {
        /// How many it takes.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// The descriptor is not what it should be.
    #[error("cannot use the region's descriptor: {0}")]
    Descriptor(#[from] rustix::io::Errno),
    /// The region cannot be mapped.
    #[error("cannot map the region: {0}")]
    Map(#[from] vm_memory::mmap::MmapRegionError),
    /// An eventfd could not be wired.
    #[error(transparent)]
    Irq(#[from] crate::irq::IrqError),
    /// A memory slot could not be had.
    #[error(transparent)]
    Slot(#[from] crate::memslots::SlotError),
    /// A doorbell could not be registered.
    #[error("KVM refused the doorbell: {0}")]
    Doorbell(kvm_ioctls::Error),
    /// Something else that the end's owner says.
    #[error("{0}")]
    Other(String),
}

/// The region that this machine writes: mapped read-write, sealed.
#[derive(Debug)]
pub struct WritableRegion {
    mapping: Arc<MmapRegion>,
}

impl WritableRegion {
    /// Maps a fresh memfd writable and seals it.
    ///
    /// # Errors
    /// [`LinkError`] when its length is impossible or it cannot be mapped or sealed.
    pub fn prepare(memfd: OwnedFd) -> Result<Self, LinkError> {
        let len = file_len(&memfd)?;
        check_len(len)?;
        let file = File::from(memfd);
        let duplicate = file.try_clone().map_err(|e| LinkError::Other(e.to_string()))?;
        // Growing and shrinking end before the mapping, so that its length stays true.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        let mapping = map(file, len, rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE)?;
        fcntl_add_seals(&duplicate, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        Ok(Self { mapping })
    }

    /// The mapping; never to be turned into a Rust reference.
    #[must_use]
    pub fn mapping(&self) -> &Arc<MmapRegion> {
        &self.mapping
    }
}

/// The region that the peer writes: mapped read-only, its seals checked.
#[derive(Debug)]
pub struct ReadableRegion {
    mapping: Arc<MmapRegion>,
}

impl ReadableRegion {
    /// Maps the peer's memfd of `len` bytes.
    ///
    /// # Errors
    /// [`LinkError`] when it lacks a seal, has another length or cannot be mapped.
    pub fn open(memfd: OwnedFd, len: u32) -> Result<Self, LinkError> {
        let seals = fcntl_get_seals(&memfd)?;
        if !seals.contains(SEALS) {
            return Err(LinkError::NotSealed(seals));
        }
        let (real, said) = (file_len(&memfd)?, u64::from(len));
        check_len(said)?;
        if real != said {
            return Err(LinkError::LengthMismatch { real, said });
        }
        let mapping = map(File::from(memfd), said, rustix::mm::ProtFlags::READ)?;
        Ok(Self { mapping })
    }

    /// The mapping; never to be turned into a Rust reference.
    #[must_use]
    pub fn mapping(&self) -> &Arc<MmapRegion> {
        &self.mapping
    }
}

fn file_len(fd: &OwnedFd) -> Result<u64, LinkError> {
    let size = fstat(fd)?.st_size;
    u64::try_from(size).map_err(|_| LinkError::BadLength(0))
}

fn check_len(len: u64) -> Result<(), LinkError> {
    let data = len.checked_sub(abi::link_device::HEADER_LEN.into());
    let fits = data.is_some_and(|d| d.is_power_of_two() && d >= 4096) && len <= MAX_REGION.into();
    if fits { Ok(()) } else { Err(LinkError::BadLength(len)) }
}

fn map(file: File, len: u64, prot: rustix::mm::ProtFlags) -> Result<Arc<MmapRegion>, LinkError> {
    let len = usize::try_from(len).map_err(|_| LinkError::BadLength(len))?;
    let prot = i32::try_from(prot.bits()).unwrap_or_default();
    let shared = i32::try_from(rustix::mm::MapFlags::SHARED.bits()).unwrap_or_default();
    Ok(Arc::new(MmapRegion::build(Some(FileOffset::new(file, 0)), len, prot, shared)?))
}

/// Everything that `AttachLink` brings, checked.
#[derive(Debug)]
pub struct AttachedLink {
    /// Number of this incarnation, larger than any before at this end.
    pub epoch: u64,
    /// What the peer is to this machine.
    pub role: Role,
    /// Length of either region in bytes, header page included.
    pub region_len: u32,
    /// The region that this machine writes.
    pub ours: WritableRegion,
    /// The region that the peer writes.
    pub theirs: ReadableRegion,
    /// Written to wake the peer.
    pub ring: EventFd,
    /// Written by the peer to wake this end.
    pub bell: EventFd,
}

/// Who holds a link's end in this machine: a port of the link device, or a vif.
pub trait LinkEnd: Send {
    /// Takes the link into use in place of the one before, if any.
    ///
    /// # Errors
    /// [`LinkError`]; the end is then detached.
    fn attach(&mut self, link: AttachedLink) -> Result<(), LinkError>;

    /// Takes the link out of use; the guest sees it down. Harmless when there is none.
    fn detach(&mut self);
}

/// The host's side of the vsock device.
pub trait VsockConnector: Send {
    /// Connects `stream` to `port` of the guest.
    ///
    /// # Errors
    /// A message for dom0 when the guest's device is not ready or refuses.
    fn connect(&mut self, port: u32, stream: OwnedFd) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;

    const LEN: u32 = 4096 + 65536;

    fn memfd(len: u64) -> OwnedFd {
        let fd = memfd_create("region", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, len).unwrap();
        fd
    }

    #[test]
    fn a_prepared_region_can_be_read_by_the_peer_and_written_by_nobody_else() {
        let fd = memfd(LEN.into());
        let ours = WritableRegion::prepare(fd.try_clone().unwrap()).unwrap();
        let theirs = ReadableRegion::open(fd.try_clone().unwrap(), LEN).unwrap();
        use vm_memory::{Bytes, VolatileMemory};
        let written = ours.mapping().get_slice(0, 8).unwrap();
        written.write_slice(b"bulkhead", 0).unwrap();
        let mut seen = [0; 8];
        theirs.mapping().get_slice(0, 8).unwrap().read_slice(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"bulkhead");
        assert!(rustix::io::write(fd.as_fd(), b"x").is_err());
        assert!(ftruncate(&fd, 0).is_err());
        let shared = i32::try_from(rustix::mm::MapFlags::SHARED.bits()).unwrap();
        let again = MmapRegion::<()>::build(Some(FileOffset::new(File::from(fd), 0)), 4096, 3, shared);
        assert!(again.is_err(), "a second writable mapping");
    }

    #[test]
    fn an_unsealed_region_is_refused() {
        assert!(matches!(ReadableRegion::open(memfd(LEN.into()), LEN), Err(LinkError::NotSealed(_))));
        let partly = memfd(LEN.into());
        fcntl_add_seals(&partly, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
        assert!(matches!(ReadableRegion::open(partly, LEN), Err(LinkError::NotSealed(_))));
    }

    #[test]
    fn lengths_are_checked() {
        for len in [0, 4096, 4096 + 3000, 4096 + 65537, u64::from(MAX_REGION) + 4096] {
            assert!(matches!(WritableRegion::prepare(memfd(len)), Err(LinkError::BadLength(_))), "{len}");
        }
        let fd = memfd(LEN.into());
        let _ours = WritableRegion::prepare(fd.try_clone().unwrap()).unwrap();
        let open = ReadableRegion::open(fd, 4096 + 131_072);
        assert!(matches!(open, Err(LinkError::LengthMismatch { .. })));
    }

    #[test]
    fn a_pipe_is_not_a_region() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert!(ReadableRegion::open(read, LEN).is_err());
    }
}
