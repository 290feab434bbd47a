//! Assigned PCI devices: a real function of the host on the guest's bus.
//!
//! The guest sees a configuration space of ours ([`config`], pure) and the function's real registers. VFIO
//! files are opened before the process is confined ([`open`], [`sysfs`]). The function reaches the DMA arena
//! and nothing else ([`dma`]); its interrupts go from the host kernel straight into the guest
//! ([`interrupts`]). It is reset before and after.

pub mod bars;
pub mod config;
pub mod dma;
pub mod hardware;
pub mod interrupts;
pub mod open;
pub mod sysfs;

use crate::devices::DeviceContext;
use crate::exits::Exits;
use crate::irq::{IrqRouter, intx_line};
use crate::pci::bus::lock;
use crate::pci::config::{COMMAND, COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY, PciConfig};
use crate::pci::device::PciDevice;
use anyhow::{Context, Result};
use bars::BarWindows;
use config::Shown;
use hardware::{Area, Hardware, IrqKind, Region};
use interrupts::Interrupts;
use open::Container;
use std::sync::{Arc, Mutex};
use sysfs::Sysfs;
use vmm_api::config::Config;

/// One assigned function.
pub struct Assigned<H> {
    hardware: H,
    config: PciConfig,
    interrupts: Interrupts,
    windows: Vec<BarWindows>,
    mastering: bool,
}

/// Opens, resets and attaches every device that the description assigns.
///
/// # Errors
/// Which device cannot be had, why, and what to do about it.
pub fn attach(config: &Config, context: &DeviceContext, exits: &Exits) -> Result<()> {
    if config.devices.is_empty() {
        return Ok(());
    }
    let sysfs = Sysfs::default();
    config.devices.iter().try_for_each(|device| sysfs.check(&device.bdf))?;
    let container = Container::new(&context.vm, sysfs)?;
    let mut opened = Vec::new();
    for device in &config.devices {
        opened.push((&device.bdf, container.open(&device.bdf)?));
    }
    // The IOMMU exists since the first device was opened; no function is a bus master yet.
    for range in dma::ranges(&context.memory, u64::from(config.dma_arena_mib) << 20) {
        dma::map(&container, &context.memory, range)?;
    }
    for (bdf, hardware) in opened {
        let mut bus = lock(&exits.pci);
        let slot = u32::try_from(bus.devices().len()).unwrap_or(0);
        let device = Assigned::new(hardware, context, intx_line(slot)).with_context(|| bdf.clone())?;
        bus.add(Arc::new(Mutex::new(device))).with_context(|| bdf.clone())?;
    }
    Ok(())
}

impl<H: Hardware> Assigned<H> {
    /// Resets the function and describes it to the guest.
    ///
    /// # Errors
    /// What about the function cannot be shown to a guest.
    pub fn new(hardware: H, context: &DeviceContext, line: u32) -> Result<Self> {
        let (mut device, holes) = Self::describe(hardware, &context.irq, line)?;
        for bar in (0..6).filter(|bar| device.config.bar(*bar).is_some_and(|bar| !bar.kind.is_io())) {
            device.windows.push(BarWindows::new(&device.hardware, &context.slots, bar, &holes)?);
        }
        Ok(device)
    }

    /// All but the mapped registers; and the parts of BARs that must not be mapped.
    fn describe(hardware: H, irq: &Arc<IrqRouter>, line: u32) -> Result<(Self, Vec<(u8, Area)>)> {
        hardware.reset();
        let Shown { mut config, msix, msi } = config::show(&hardware)?;
        let interrupts = Interrupts::new(irq, line, (msix, msi), &mut config)?;
        let mut device = Self { hardware, config, interrupts, windows: Vec::new(), mastering: false };
        device.set_command(device.mastering);
        device.follow_interrupts();
        Ok((device, msix.map_or_else(Vec::new, |msix| msix.holes())))
    }

    /// The function always decodes its registers (only the guest's view of them comes and goes), and is a
    /// bus master while the guest wants it to be.
    fn set_command(&mut self, master: bool) {
        let mut bytes = [0; 2];
        self.hardware.read(Region::Config, COMMAND.into(), &mut bytes);
        let old = u16::from_le_bytes(bytes) & !COMMAND_MASTER;
        let wanted = old | COMMAND_IO | COMMAND_MEMORY | if master { COMMAND_MASTER } else { 0 };
        self.hardware.write(Region::Config, COMMAND.into(), &wanted.to_le_bytes());
        self.mastering = master;
    }

    fn follow_interrupts(&mut self) {
        self.interrupts.config_written(&self.config, &self.hardware);
    }
}

impl<H: Hardware> PciDevice for Assigned<H> {
    fn config(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        if !self.interrupts.bar_read(bar, offset, data) {
            self.hardware.read(Region::Bar(bar), offset, data);
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if !self.interrupts.bar_write(bar, offset, data) {
            self.hardware.write(Region::Bar(bar), offset, data);
        }
    }

    /// Interrupts are wired before bus mastering starts and unwired after it ends.
    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        let master = self.config.u16_at(COMMAND) & COMMAND_MASTER != 0;
        if self.mastering && !master {
            self.set_command(false);
        }
        self.follow_interrupts();
        if master && !self.mastering {
            self.set_command(true);
        }
    }

    fn bar_moved(&mut self, bar: u8, base: Option<u64>) {
        for windows in self.windows.iter_mut().filter(|windows| windows.bar() == bar) {
            windows.follow(base);
        }
    }

    /// Leaves a function that neither reaches memory nor interrupts, and remembers nothing of this guest.
    fn shut_down(&mut self) {
        self.set_command(false);
        for kind in [IrqKind::MsiX, IrqKind::Msi, IrqKind::IntX] {
            self.interrupts.leave(kind, &self.hardware);
        }
        self.windows.iter_mut().for_each(|windows| windows.follow(None));
        self.hardware.reset();
    }
}

#[cfg(test)]
mod tests;
