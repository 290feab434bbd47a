//! The PCI transport (virtio 1.2, section 4.1): one function per device, modern only.
//!
//! | BAR | content                                                                                        |
//! |-----|------------------------------------------------------------------------------------------------|
//! | 0   | a page each: common configuration, ISR, device configuration, notifications                    |
//! | 1   | MSI-X table and pending bits                                                                   |
//!
//! A notification is an ioeventfd, an interrupt an irqfd: neither exits to this process. `common` is the
//! state machine, `lines` the way back to the driver.

pub mod common;
pub mod lines;

use super::device::{Device, Kind};
use super::queue::GuestRam;
use crate::ioevents::{Doorbells, IoEventBackend};
use crate::irq::{IrqError, IrqRouter, MsixVectors};
use crate::pci::config::{BarKind, Identity, PciConfig};
use crate::pci::device::PciDevice;
use crate::pci::msix::Place;
use common::Common;
use lines::Lines;
use std::sync::Arc;

/// Vendor of every virtio device.
const VENDOR: u16 = 0x1AF4;
/// Device numbers start here; the type is added.
const MODERN: u16 = 0x1040;
/// Capability ID: vendor specific.
const VENDOR_CAPABILITY: u8 = 0x09;

const BAR: u8 = 0;
const BAR_LEN: u64 = 0x4000;
const MSIX_BAR: u8 = 1;
const MSIX_PLACE: Place =
    Place { table_bar: MSIX_BAR, table_offset: 0, pba_bar: MSIX_BAR, pba_offset: 0x800 };
const PAGE: u32 = 0x1000;
const ISR: u32 = PAGE;
const DEVICE: u32 = 2 * PAGE;
const NOTIFY: u32 = 3 * PAGE;
/// Distance of two queues' notification registers.
const NOTIFY_STRIDE: u32 = 4;

/// Capability types (section 4.1.4).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Structure {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
}

/// A virtio device as a PCI function.
pub struct VirtioPci {
    config: PciConfig,
    msix: MsixVectors,
    doorbells: Doorbells,
    common: Common,
    lines: Arc<Lines>,
}

impl VirtioPci {
    /// Puts a device behind the transport.
    ///
    /// # Errors
    /// Interrupts, descriptors or room in the configuration space are lacking.
    pub fn new(
        device: Device,
        memory: Arc<GuestRam>,
        irq: &Arc<IrqRouter>,
        notify: Arc<dyn IoEventBackend>,
    ) -> Result<Self, IrqError> {
        let mut config = describe(device.kind)?;
        let queues = device.queue_sizes.len();
        let vectors = u16::try_from(queues + 1).unwrap_or(u16::MAX);
        let msix = MsixVectors::new(irq, vectors, MSIX_PLACE, &mut config)?;
        let events =
            (0..vectors).filter_map(|vector| msix.signaller(vector).transpose()).collect::<Result<_, _>>()?;
        let lines = Arc::new(Lines::new(events, queues));
        let mut doorbells = Doorbells::new(notify, BarKind::Memory32);
        for (offset, event) in (u64::from(NOTIFY)..).step_by(NOTIFY_STRIDE as usize).zip(&device.notify) {
            // Without the doorbell a notification still arrives, by an exit.
            if let Err(error) = doorbells.set(offset, event.try_clone()?) {
                tracing::warn!(%error, "notifications fall back to exits");
            }
        }
        let common = Common::new(device, memory, lines.clone());
        Ok(Self { config, msix, doorbells, common, lines })
    }

    fn notify(&self, offset: u64) {
        let queue = usize::try_from((offset - u64::from(NOTIFY)) / u64::from(NOTIFY_STRIDE)).ok();
        if let Some(event) = queue.and_then(|queue| self.common.device().notify.get(queue)) {
            // Full means that the worker is being woken anyway.
            let _ = event.write(1);
        }
    }
}

/// Identity, BARs and the capabilities that say what lies where.
fn describe(kind: Kind) -> Result<PciConfig, IrqError> {
    let device = MODERN + kind.id();
    let class = match kind {
        Kind::Net => 0x02_00_00,
        Kind::Block => 0x01_00_00,
        Kind::Entropy => 0xFF_00_00,
        Kind::Vsock => 0x02_80_00,
    };
    let mut config = PciConfig::new(&Identity {
        vendor: VENDOR,
        device,
        class,
        revision: 1,
        subsystem_vendor: VENDOR,
        subsystem: device,
    });
    config.add_bar(BAR, BarKind::Memory32, BAR_LEN)?;
    config.add_bar(MSIX_BAR, BarKind::Memory32, u64::from(PAGE))?;
    add(&mut config, Structure::Common, 0, &[])?;
    add(&mut config, Structure::Isr, ISR, &[])?;
    add(&mut config, Structure::Device, DEVICE, &[])?;
    add(&mut config, Structure::Notify, NOTIFY, &NOTIFY_STRIDE.to_le_bytes())?;
    Ok(config)
}

/// Adds `struct virtio_pci_cap`; each structure has a page.
fn add(config: &mut PciConfig, what: Structure, offset: u32, extra: &[u8]) -> Result<(), IrqError> {
    let len = u8::try_from(16 + extra.len()).unwrap_or(u8::MAX);
    let mut body = vec![len, what as u8, BAR, 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(PAGE.to_le_bytes());
    body.extend(extra);
    config.add_capability(VENDOR_CAPABILITY, &body, &[])?;
    Ok(())
}

impl PciDevice for VirtioPci {
    fn config(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.msix.config_written(&self.config);
        self.lines.set_msix(self.msix.enabled());
    }

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        if bar != BAR {
            self.msix.bar_read(bar, offset, data);
            return;
        }
        let within = offset % u64::from(PAGE);
        match u32::try_from(offset - within) {
            Ok(0) => self.common.read(within, data),
            Ok(ISR) => {
                data.fill(0);
                if let ([first, ..], 0) = (data, within) {
                    *first = self.lines.take_isr();
                }
            }
            Ok(DEVICE) => {
                self.common.device().config.read(usize::try_from(within).unwrap_or(usize::MAX), data);
            }
            _ => data.fill(0),
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if bar != BAR {
            self.msix.bar_write(bar, offset, data);
            return;
        }
        // ISR and device configuration are read-only.
        match offset / u64::from(PAGE) {
            0 => self.common.write(offset, data),
            3 => self.notify(offset),
            _ => {}
        }
    }

    fn bar_moved(&mut self, bar: u8, base: Option<u64>) {
        if bar == BAR {
            self.doorbells.follow(base);
        }
    }

    fn shut_down(&mut self) {
        self.doorbells.follow(None);
        self.common.reset();
    }
}

#[cfg(test)]
mod tests;
