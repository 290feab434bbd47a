//! The link device: one PCI function with a port per link (`abi::link_device`).
//!
//! Regions appear in the guest as memory slots inside a BAR, doorbells are ioeventfds wired to the peer's
//! eventfd, and the peer's doorbell is an irqfd: once a port is up, no packet reaches this process.

use crate::devices::DeviceContext;
use crate::ioevents::Doorbells;
use crate::irq::{IrqError, MsixVectors};
use crate::link_end::{AttachedLink, LinkEnd, LinkError};
use crate::memslots::{Access, GuestWindow, MemorySlots};
use crate::pci::bus::lock;
use crate::pci::config::{BadLayout, BarKind, Identity, PciConfig};
use crate::pci::device::PciDevice;
use crate::pci::msix::Place;
use abi::link_device as regs;
use std::sync::{Arc, Mutex};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Room for one region in the windows BAR; also the largest region of a port.
pub const STRIDE: u32 = 2 << 20;
/// Bytes of the register BAR and of the MSI-X BAR.
const PAGE: u64 = 4096;

/// Why there is no link device.
#[derive(Debug, thiserror::Error)]
pub enum NoLinkDevice {
    /// Too many ports or none.
    #[error("a link device has 1 to {max} ports, not {0}", max = regs::MAX_PORTS)]
    Ports(u8),
    /// The BARs cannot be described.
    #[error(transparent)]
    Layout(#[from] BadLayout),
    /// Interrupts cannot be had.
    #[error(transparent)]
    Irq(#[from] IrqError),
}

/// A port that is up.
struct Up {
    epoch: u64,
    role: u32,
    region_len: u32,
    ours: GuestWindow,
    theirs: GuestWindow,
}

/// The device.
pub struct LinkDevice {
    config: PciConfig,
    msix: MsixVectors,
    doorbells: Doorbells,
    slots: Arc<MemorySlots>,
    windows: Option<u64>,
    ports: Vec<Option<Up>>,
    changed: u32,
}

impl LinkDevice {
    /// Builds the device with every port down.
    ///
    /// # Errors
    /// [`NoLinkDevice`].
    pub fn new(context: &DeviceContext, ports: u8) -> Result<Self, NoLinkDevice> {
        if ports == 0 || usize::from(ports) > regs::MAX_PORTS {
            return Err(NoLinkDevice::Ports(ports));
        }
        let identity = Identity {
            vendor: regs::VENDOR,
            device: regs::DEVICE,
            class: regs::CLASS,
            subsystem_vendor: regs::VENDOR,
            subsystem: regs::DEVICE,
            ..Identity::default()
        };
        let mut config = PciConfig::new(&identity);
        let windows = u64::from(STRIDE) * 2 * u64::from(ports).next_power_of_two();
        config.add_bar(regs::BAR_REGS, BarKind::Memory32, PAGE)?;
        config.add_bar(regs::BAR_MSIX, BarKind::Memory32, PAGE)?;
        config.add_bar(regs::BAR_WINDOWS, BarKind::Memory32Prefetch, windows)?;
        config.add_bar(regs::BAR_DOORBELLS, BarKind::Io, (4 * u64::from(ports)).next_power_of_two())?;
        let place = Place {
            table_bar: regs::BAR_MSIX,
            table_offset: 0,
            pba_bar: regs::BAR_MSIX,
            pba_offset: regs::PBA_OFFSET,
        };
        let msix = MsixVectors::new(&context.irq, 1 + u16::from(ports), place, &mut config)?;
        Ok(Self {
            config,
            msix,
            doorbells: Doorbells::new(context.doorbells(), BarKind::Io),
            slots: Arc::clone(&context.slots),
            windows: None,
            ports: (0..ports).map(|_| None).collect(),
            changed: 0,
        })
    }

    fn bring_up(&mut self, port: u8, link: AttachedLink) -> Result<(), LinkError> {
        if link.region_len > STRIDE {
            return Err(LinkError::BadLength(link.region_len.into()));
        }
        self.take_down(port)?;
        let ours = GuestWindow::new(&self.slots, Arc::clone(link.ours.mapping()), Access::ReadWrite)?;
        let theirs = GuestWindow::new(&self.slots, Arc::clone(link.theirs.mapping()), Access::ReadOnly)?;
        let mut up =
            Up { epoch: link.epoch, role: link.role as u32, region_len: link.region_len, ours, theirs };
        place(&mut up, self.windows, port)?;
        self.bell(port)?.rebind(link.bell)?;
        self.doorbells.set(4 * u64::from(port), link.ring).map_err(LinkError::Doorbell)?;
        *self.port(port)? = Some(up);
        self.report(port);
        Ok(())
    }

    /// Removes regions and doorbells of a port. The old peer's eventfd is let go: it cannot ring any more.
    fn take_down(&mut self, port: u8) -> Result<(), LinkError> {
        self.doorbells.remove(4 * u64::from(port));
        let silent = EventFd::new(EFD_NONBLOCK).map_err(|e| LinkError::Other(e.to_string()))?;
        self.bell(port)?.rebind(silent)?;
        if self.port(port)?.take().is_some() {
            self.report(port);
        }
        Ok(())
    }

    fn port(&mut self, port: u8) -> Result<&mut Option<Up>, LinkError> {
        self.ports.get_mut(usize::from(port)).ok_or(LinkError::NoSuchEnd)
    }

    fn bell(&mut self, port: u8) -> Result<&mut crate::irq::MsiVector, LinkError> {
        self.msix.vector_mut(1 + u16::from(port)).ok_or(LinkError::NoSuchEnd)
    }

    fn report(&mut self, port: u8) {
        self.changed |= 1 << port;
        if let Some(vector) = self.msix.vector(0) {
            vector.signal();
        }
    }

    fn register(&mut self, offset: u32) -> u32 {
        match offset {
            regs::REG_MAGIC => regs::MAGIC,
            regs::REG_VERSION => regs::VERSION,
            regs::REG_PORTS => u32::try_from(self.ports.len()).unwrap_or(0),
            regs::REG_CHANGED => std::mem::take(&mut self.changed),
            regs::PORT_BASE.. => self.port_register(offset - regs::PORT_BASE),
            _ => u32::MAX,
        }
    }

    fn port_register(&self, offset: u32) -> u32 {
        let (port, register) = (offset / regs::PORT_STRIDE, offset % regs::PORT_STRIDE);
        let index = usize::try_from(port).unwrap_or(usize::MAX);
        match (self.ports.get(index), register) {
            (None, _) => u32::MAX,
            (Some(None), regs::PORT_STATE) => regs::STATE_DOWN,
            (Some(None), _) => 0,
            (Some(Some(up)), register) => up.register(port, register),
        }
    }
}

impl Up {
    fn register(&self, port: u32, register: u32) -> u32 {
        let [a, b, c, d, e, f, g, h] = self.epoch.to_le_bytes();
        match register {
            regs::PORT_STATE => regs::STATE_UP,
            regs::PORT_ROLE => self.role,
            regs::PORT_EPOCH_LO => u32::from_le_bytes([a, b, c, d]),
            regs::PORT_EPOCH_HI => u32::from_le_bytes([e, f, g, h]),
            regs::PORT_TX_OFFSET => 2 * port * STRIDE,
            regs::PORT_RX_OFFSET => (2 * port + 1) * STRIDE,
            regs::PORT_REGION_LEN => self.region_len,
            _ => u32::MAX,
        }
    }
}

/// Puts both windows of a port where the BAR is now.
fn place(up: &mut Up, windows: Option<u64>, port: u8) -> Result<(), crate::memslots::SlotError> {
    let at = |half: u64| windows.map(|base| base + (2 * u64::from(port) + half) * u64::from(STRIDE));
    up.ours.place(at(0))?;
    up.theirs.place(at(1))
}

impl PciDevice for LinkDevice {
    fn config(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.msix.config_written(&self.config);
    }

    /// Windows of a port that is down read as all ones.
    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        if self.msix.bar_read(bar, offset, data) {
            return;
        }
        if let (regs::BAR_REGS, Ok(offset), [a, b, c, d]) = (bar, u32::try_from(offset), data) {
            [*a, *b, *c, *d] = self.register(offset).to_le_bytes();
        }
    }

    /// Writes to the peer's region, to a port that is down or to a read-only register are dropped.
    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        self.msix.bar_write(bar, offset, data);
    }

    fn bar_moved(&mut self, bar: u8, base: Option<u64>) {
        match bar {
            regs::BAR_DOORBELLS => self.doorbells.follow(base),
            regs::BAR_WINDOWS => {
                self.windows = base;
                for (port, up) in (0..).zip(&mut self.ports) {
                    let Some(up) = up else { continue };
                    if let Err(error) = place(up, base, port) {
                        tracing::warn!(port, %error, "windows of a port are not visible");
                    }
                }
            }
            _ => {}
        }
    }

    fn shut_down(&mut self) {
        for port in 0..self.ports.len() {
            let _ = self.take_down(u8::try_from(port).unwrap_or(u8::MAX));
        }
    }
}

/// One port as the end of a link.
pub struct Port {
    /// The device.
    pub device: Arc<Mutex<LinkDevice>>,
    /// Port number.
    pub number: u8,
}

impl LinkEnd for Port {
    fn attach(&mut self, link: AttachedLink) -> Result<(), LinkError> {
        let mut device = lock(&self.device);
        let attached = device.bring_up(self.number, link);
        if attached.is_err() {
            let _ = device.take_down(self.number);
        }
        attached
    }

    fn detach(&mut self) {
        let _ = lock(&self.device).take_down(self.number);
    }
}
