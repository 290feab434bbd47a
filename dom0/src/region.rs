//! Memory of links: memfds, their seals, and the daemon's own mappings of control links.
//!
//! A region is written by one party through the one mapping that existed before it was sealed; after that
//! nobody can map it writable, write to it, shrink it or grow it. `unsafe` is allowed in this file alone.
#![expect(unsafe_code, reason = "maps the memory of control links")]

use link::Geometry;
use link::host::EventBell;
use link::shared::{ReadOnly, Writable};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::ptr::NonNull;

/// Size of every region.
pub const GEOMETRY: Geometry = Geometry::DEFAULT;

/// What must be sealed before the other side sees a region.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Creates the memory that one party will write.
///
/// # Errors
/// What the kernel says.
pub fn create() -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("bulkhead-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memfd, GEOMETRY.region_len() as u64)?;
    Ok(memfd)
}

/// Checks that a region is sealed and as long as it was made.
///
/// # Errors
/// Says what is missing; the region must not be handed to the reader then.
pub fn verify_sealed(memfd: BorrowedFd<'_>) -> Result<(), String> {
    let seals = rustix::fs::fcntl_get_seals(memfd).map_err(|e| format!("seals cannot be read: {e}"))?;
    if !seals.contains(SEALS) {
        return Err(format!("its writer left the region unsealed (seals {:#x})", seals.bits()));
    }
    let length = rustix::fs::fstat(memfd).map_err(|e| format!("size cannot be read: {e}"))?.st_size;
    if usize::try_from(length) != Ok(GEOMETRY.region_len()) {
        return Err(format!("the region is {length} bytes long instead of {}", GEOMETRY.region_len()));
    }
    Ok(())
}

/// The daemon's end of a control link, mapped.
#[derive(Debug)]
pub struct ControlEnd {
    /// The link; dropped before its memory.
    pub link: link::Link<EventBell>,
    _tx: Mapping,
    _rx: Mapping,
}

/// A region that the daemon writes: mapped once, then sealed.
#[derive(Debug)]
pub struct OwnRegion(Mapping);

impl OwnRegion {
    /// Maps a fresh region writable and seals it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn map_and_seal(memfd: BorrowedFd<'_>) -> io::Result<Self> {
        let mapping = Mapping::new(memfd, ProtFlags::READ | ProtFlags::WRITE)?;
        rustix::fs::fcntl_add_seals(memfd, SEALS)?;
        Ok(Self(mapping))
    }
}

impl ControlEnd {
    /// Joins the daemon's own region and the domain's sealed one to a link end that rings `peer_bell`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(own: OwnRegion, peer: BorrowedFd<'_>, epoch: u64, peer_bell: OwnedFd) -> io::Result<Self> {
        let rx = Mapping::new(peer, ProtFlags::READ)?;
        let len = GEOMETRY.region_len();
        // SAFETY: the mapping is writable, page-aligned, `len` bytes long, sealed against shrinking, reached
        // through this value alone, and lives as long as the link (field order of `ControlEnd`).
        let write = unsafe { Writable::new(own.0.start, len) };
        // SAFETY: the mapping is readable, page-aligned, `len` bytes long, sealed against shrinking (checked by
        // `verify_sealed` before this call), and lives as long as the link.
        let read = unsafe { ReadOnly::new(rx.start, len) };
        let link = link::Link::new(GEOMETRY, write, read, epoch, EventBell::new(peer_bell))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { link, _tx: own.0, _rx: rx })
    }
}

/// A mapping of one region; unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
}

// SAFETY: a mapping belongs to the whole process; only its owner unmaps it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(memfd: impl AsFd, protection: ProtFlags) -> io::Result<Self> {
        let len = GEOMETRY.region_len();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, memfd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value made the mapping and nothing refers to it any more (see `ControlEnd`).
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), GEOMETRY.region_len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::Meta;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn sealed_region_cannot_be_mapped_writable_again() {
        let memfd = create().unwrap();
        assert!(verify_sealed(memfd.as_fd()).unwrap_err().contains("unsealed"));
        let _own = OwnRegion::map_and_seal(memfd.as_fd()).unwrap();
        verify_sealed(memfd.as_fd()).unwrap();
        assert!(Mapping::new(&memfd, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert!(rustix::io::write(&memfd, b"x").is_err());
        assert!(rustix::fs::ftruncate(&memfd, 0).is_err());
    }

    #[test]
    fn other_memory_is_refused() {
        let memfd = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&memfd, 4096).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, SEALS).unwrap();
        assert!(verify_sealed(memfd.as_fd()).unwrap_err().contains("4096 bytes"));
        assert!(verify_sealed(tempfile::tempfile().unwrap().as_fd()).is_err());
    }

    #[test]
    fn two_ends_talk() {
        let (a, b) = (create().unwrap(), create().unwrap());
        let (own_a, own_b) =
            (OwnRegion::map_and_seal(a.as_fd()).unwrap(), OwnRegion::map_and_seal(b.as_fd()).unwrap());
        let bell = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let mut end_a = ControlEnd::new(own_a, b.as_fd(), 3, bell()).unwrap();
        let mut end_b = ControlEnd::new(own_b, a.as_fd(), 3, bell()).unwrap();
        end_a.link.send(&Meta::MESSAGE, &[b"hello"]).unwrap();
        end_a.link.publish();
        let mut buffer = [0; 64];
        let (meta, len) = end_b.link.recv(&mut buffer).unwrap().unwrap();
        assert_eq!((meta.kind, &buffer[..len]), (link::Kind::Message, &b"hello"[..]));
    }
}
