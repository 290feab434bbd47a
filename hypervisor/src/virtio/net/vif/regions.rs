//! From the mapped regions of a link to this machine's end of it. The only `unsafe` of the network device
//! besides the tap's requests to the kernel.

use crate::link_end::AttachedLink;
use link::shared::{ReadOnly, Writable};
use link::{BadGeometry, Doorbell, Geometry, Link};
use std::ptr::NonNull;
use vm_memory::MmapRegion;
use vmm_sys_util::eventfd::EventFd;

/// Wakes the peer by its eventfd.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Doorbell for Bell {
    fn ring(&self) {
        // Full means that the peer is being woken anyway.
        let _ = self.0.write(1);
    }
}

/// A link together with the mappings that it lives in.
#[derive(Debug)]
pub(super) struct Live {
    /// Dropped first: it points into the regions.
    pub(super) link: Link<Bell>,
    /// Written by the peer to wake this end. Never read: whoever else holds it could read it first and leave
    /// this thread waiting. The poller reports every write once instead.
    pub(super) bell: EventFd,
    _regions: [std::sync::Arc<MmapRegion>; 2],
}

impl Live {
    /// Takes an attached link into use.
    ///
    /// # Errors
    /// [`BadGeometry`] when a region is shorter than announced or no ring fits.
    pub(super) fn new(attached: AttachedLink) -> Result<Self, BadGeometry> {
        let geometry = Geometry::of_region(usize::try_from(attached.region_len).map_err(|_| BadGeometry)?)?;
        let ours = attached.ours.mapping().clone();
        let theirs = attached.theirs.mapping().clone();
        let start = |region: &MmapRegion| NonNull::new(region.as_ptr()).ok_or(BadGeometry);
        // SAFETY: the mapping is readable and writable, page-aligned, of this length, never referred to by a
        // Rust reference, and sealed against shrinking; it is kept alive beside the link. `WritableRegion` is
        // made once per memfd, so no other `Writable` overlaps.
        let tx = unsafe { Writable::new(start(&ours)?, ours.size()) };
        // SAFETY: the mapping is readable, page-aligned and of this length; its seals were checked, so it
        // cannot shrink; it is kept alive beside the link.
        let rx = unsafe { ReadOnly::new(start(&theirs)?, theirs.size()) };
        // Whoever else holds the eventfd can fill it; that must not stop this thread.
        rustix::io::ioctl_fionbio(crate::fd::borrow(&attached.ring), true).map_err(|_| BadGeometry)?;
        let link = Link::new(geometry, tx, rx, attached.epoch, Bell(attached.ring))?;
        Ok(Self { link, bell: attached.bell, _regions: [ours, theirs] })
    }
}
