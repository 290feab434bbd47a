//! A function without hardware that writes down what is asked of it.

use super::*;
use std::sync::{Arc, Mutex};

/// What was asked, in order.
pub(in crate::vfio) type Log = Arc<Mutex<Vec<String>>>;

pub(in crate::vfio) struct Fake {
    config: Mutex<Vec<u8>>,
    pub(in crate::vfio) sizes: [u64; 6],
    /// INTx, MSI, MSI-X.
    pub(in crate::vfio) counts: [u16; 3],
    pub(in crate::vfio) log: Log,
}

impl Default for Fake {
    fn default() -> Self {
        Self { config: Mutex::new(vec![0; 256]), sizes: [0; 6], counts: [0; 3], log: Log::default() }
    }
}

impl Fake {
    pub(in crate::vfio) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.config.get_mut().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn say(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

impl Hardware for Fake {
    fn read(&self, region: Region, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        let offset = usize::try_from(offset).unwrap();
        match region {
            Region::Config => {
                let config = self.config.lock().unwrap();
                if let Some(bytes) = config.get(offset..offset + data.len()) {
                    data.copy_from_slice(bytes);
                }
            }
            Region::Bar(bar) => data.fill(bar),
        }
    }

    fn write(&self, region: Region, offset: u64, data: &[u8]) {
        self.say(format!("write {region:?} {offset:#x} {data:02x?}"));
        if region == Region::Config {
            let offset = usize::try_from(offset).unwrap();
            self.config.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        }
    }

    fn size(&self, region: Region) -> u64 {
        match region {
            Region::Bar(bar) => self.sizes[usize::from(bar)],
            Region::Config => 256,
        }
    }

    fn areas(&self, _bar: u8) -> Vec<Area> {
        Vec::new()
    }

    fn map(&self, _bar: u8, (_, len): Area) -> Result<MmapRegion, vm_memory::mmap::MmapRegionError> {
        MmapRegion::new(usize::try_from(len).unwrap())
    }

    fn interrupts(&self, kind: IrqKind) -> u16 {
        match kind {
            IrqKind::IntX => self.counts[0],
            IrqKind::Msi => self.counts[1],
            IrqKind::MsiX => self.counts[2],
        }
    }

    fn enable(&self, kind: IrqKind, events: &[&EventFd]) -> Result<(), VfioError> {
        self.say(format!("enable {kind:?} {}", events.len()));
        Ok(())
    }

    fn unmask_by(&self, _event: &EventFd) -> Result<(), VfioError> {
        self.say("unmask by resample".into());
        Ok(())
    }

    fn disable(&self, kind: IrqKind) -> Result<(), VfioError> {
        self.say(format!("disable {kind:?}"));
        Ok(())
    }

    fn reset(&self) {
        self.say("reset".into());
    }
}
