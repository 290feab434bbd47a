//! Doorbells: eventfds that KVM signals at a guest's write to a BAR, without an exit to user space.
//!
//! A device declares them by BAR and offset; they follow the BAR when the guest moves it.

use crate::pci::config::BarKind;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// What KVM is asked; a fake stands in for it in tests.
pub trait IoEventBackend: Send + Sync {
    /// Signals `event` at every write to `address`, of any width and value.
    ///
    /// # Errors
    /// What KVM says.
    fn register(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error>;
    /// Undoes it.
    ///
    /// # Errors
    /// What KVM says.
    fn unregister(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error>;
}

impl IoEventBackend for VmFd {
    fn register(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
        self.register_ioevent(event, address, NoDatamatch)
    }
    fn unregister(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
        self.unregister_ioevent(event, address, NoDatamatch)
    }
}

/// The doorbells of one BAR.
pub struct Doorbells {
    backend: Arc<dyn IoEventBackend>,
    kind: BarKind,
    base: Option<u64>,
    bells: Vec<Bell>,
}

struct Bell {
    offset: u64,
    event: EventFd,
    registered: Option<u64>,
}

impl Doorbells {
    /// Describes a BAR of this kind without doorbells yet.
    #[must_use]
    pub fn new(backend: Arc<dyn IoEventBackend>, kind: BarKind) -> Self {
        Self { backend, kind, base: None, bells: Vec::new() }
    }

    /// Adds a doorbell at `offset` of the BAR, or replaces the one that is there.
    ///
    /// # Errors
    /// What KVM says; the offset then has no doorbell, and writes to it reach the device.
    pub fn set(&mut self, offset: u64, event: EventFd) -> Result<(), kvm_ioctls::Error> {
        self.remove(offset);
        let mut bell = Bell { offset, event, registered: None };
        self.register(&mut bell)?;
        self.bells.push(bell);
        Ok(())
    }

    /// Removes the doorbell at `offset`, if there is one.
    pub fn remove(&mut self, offset: u64) {
        if let Some(at) = self.bells.iter().position(|b| b.offset == offset) {
            let mut bell = self.bells.swap_remove(at);
            self.unregister(&mut bell);
        }
    }

    /// Follows the BAR to its new base; call from `PciDevice::bar_moved`.
    pub fn follow(&mut self, base: Option<u64>) {
        self.base = base;
        let mut bells = std::mem::take(&mut self.bells);
        for bell in &mut bells {
            self.unregister(bell);
            if let Err(error) = self.register(bell) {
                tracing::warn!(offset = bell.offset, %error, "doorbell falls back to exits");
            }
        }
        self.bells = bells;
    }

    fn address(&self, at: u64) -> IoEventAddress {
        if self.kind.is_io() { IoEventAddress::Pio(at) } else { IoEventAddress::Mmio(at) }
    }

    fn register(&self, bell: &mut Bell) -> Result<(), kvm_ioctls::Error> {
        let Some(base) = self.base else { return Ok(()) };
        let at = base + bell.offset;
        self.backend.register(&bell.event, &self.address(at))?;
        bell.registered = Some(at);
        Ok(())
    }

    fn unregister(&self, bell: &mut Bell) {
        if let Some(at) = bell.registered.take() {
            let _ = self.backend.unregister(&bell.event, &self.address(at));
        }
    }
}

impl Drop for Doorbells {
    fn drop(&mut self) {
        self.follow(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::bus::lock;
    use std::collections::BTreeMap;
    use std::os::fd::AsRawFd;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Fake(Mutex<BTreeMap<u64, i32>>);

    impl IoEventBackend for Fake {
        fn register(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
            let IoEventAddress::Pio(at) = *address else { panic!("a port was declared") };
            match lock(&self.0).insert(at, event.as_raw_fd()) {
                None => Ok(()),
                Some(_) => Err(kvm_ioctls::Error::new(17)),
            }
        }
        fn unregister(&self, event: &EventFd, address: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
            let IoEventAddress::Pio(at) = *address else { panic!("a port was declared") };
            assert_eq!(lock(&self.0).remove(&at), Some(event.as_raw_fd()));
            Ok(())
        }
    }

    fn places(fake: &Fake) -> Vec<u64> {
        lock(&fake.0).keys().copied().collect()
    }

    #[test]
    fn doorbells_follow_their_bar() {
        let fake = Arc::new(Fake::default());
        let mut bells = Doorbells::new(fake.clone(), BarKind::Io);
        bells.set(4, EventFd::new(0).unwrap()).unwrap();
        assert!(places(&fake).is_empty(), "the BAR is not decoded");
        bells.follow(Some(0xC000));
        bells.set(8, EventFd::new(0).unwrap()).unwrap();
        assert_eq!(places(&fake), [0xC004, 0xC008]);
        bells.set(8, EventFd::new(0).unwrap()).unwrap();
        bells.follow(Some(0xC100));
        assert_eq!(places(&fake), [0xC104, 0xC108]);
        bells.remove(4);
        assert_eq!(places(&fake), [0xC108]);
        drop(bells);
        assert!(places(&fake).is_empty());
    }
}
