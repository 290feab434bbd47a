//! The one bus: configuration access by ECAM and by ports 0xCF8/0xCFC, and dispatch of memory and port
//! accesses to whichever device's BAR covers them.

use super::config::{BARS, Identity, PciConfig};
use super::device::PciDevice;
use super::windows::{WindowFull, Windows};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Slots of a bus.
const SLOTS: usize = 32;
/// Configuration space of one function in the ECAM window.
const ECAM_FUNCTION: u64 = 4096;

/// A device as the bus holds it.
pub type Shared = Arc<Mutex<dyn PciDevice>>;

/// Why a device cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotAdd {
    /// All slots are taken.
    #[error("the PCI bus has {SLOTS} slots and all are taken")]
    BusFull,
    /// No address is left.
    #[error(transparent)]
    WindowFull(#[from] WindowFull),
}

/// A decoded BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    slot: usize,
    bar: u8,
    io: bool,
    base: u64,
    len: u64,
}

/// The bus. Slot 0 is the host bridge.
pub struct PciBus {
    slots: Vec<Shared>,
    mappings: Vec<Mapping>,
    windows: Windows,
    config_address: u32,
}

impl Default for PciBus {
    fn default() -> Self {
        let bridge: Shared = Arc::new(Mutex::new(HostBridge::new()));
        Self { slots: vec![bridge], mappings: Vec::new(), windows: Windows::default(), config_address: 0 }
    }
}

/// What an access falls upon: a device's BAR and the offset in it.
pub struct Target {
    /// The device; to be locked after the bus was released.
    pub device: Shared,
    /// BAR number.
    pub bar: u8,
    /// Offset of the access in the BAR.
    pub offset: u64,
}

impl PciBus {
    /// Adds a device in the next free slot, gives addresses to its BARs and returns the slot number.
    ///
    /// # Errors
    /// [`CannotAdd`] when no slot or no address is left; the bus is unchanged.
    pub fn add(&mut self, device: Shared) -> Result<u8, CannotAdd> {
        let slot = self.slots.len();
        if slot >= SLOTS {
            return Err(CannotAdd::BusFull);
        }
        let mut windows = self.windows;
        windows.assign(lock(&device).config())?;
        self.windows = windows;
        self.slots.push(device);
        self.remap(slot);
        Ok(u8::try_from(slot).unwrap_or(u8::MAX))
    }

    /// The device in each slot, in order, the host bridge included.
    #[must_use]
    pub fn devices(&self) -> &[Shared] {
        &self.slots
    }

    /// Finds the BAR that covers all of `address..address + len` in memory space.
    #[must_use]
    pub fn memory_target(&self, address: u64, len: usize) -> Option<Target> {
        self.target(address, len as u64, Space::Memory)
    }

    /// Finds the BAR that covers all of `port..port + len` in I/O space.
    #[must_use]
    pub fn port_target(&self, port: u16, len: usize) -> Option<Target> {
        self.target(port.into(), len as u64, Space::Io)
    }

    fn target(&self, address: u64, len: u64, space: Space) -> Option<Target> {
        let io = space == Space::Io;
        let hit = self.mappings.iter().find(|m| {
            let end = address.checked_add(len);
            m.io == io && address >= m.base && end.is_some_and(|end| end <= m.base + m.len)
        })?;
        let device = Arc::clone(self.slots.get(hit.slot)?);
        Some(Target { device, bar: hit.bar, offset: address - hit.base })
    }

    /// Serves a read in the ECAM window, `offset` bytes from its start.
    pub fn ecam_read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        if let Some((slot, register)) = ecam_place(offset, data.len()) {
            self.config_read(slot, register, data);
        }
    }

    /// Serves a write in the ECAM window.
    pub fn ecam_write(&mut self, offset: u64, data: &[u8]) {
        if let Some((slot, register)) = ecam_place(offset, data.len()) {
            self.config_write(slot, register, data);
        }
    }

    /// Serves a read of ports 0xCF8 to 0xCFF, `offset` ports from 0xCF8.
    pub fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0xFF);
        if offset == 0 && data.len() == 4 {
            data.copy_from_slice(&self.config_address.to_le_bytes());
        } else if let Some((slot, register)) = self.selected(offset, data.len()) {
            self.config_read(slot, register, data);
        }
    }

    /// Serves a write to ports 0xCF8 to 0xCFF.
    pub fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let (0, [a, b, c, d]) = (offset, data) {
            self.config_address = u32::from_le_bytes([*a, *b, *c, *d]);
        } else if let Some((slot, register)) = self.selected(offset, data.len()) {
            self.config_write(slot, register, data);
        }
    }

    /// Slot and register chosen by configuration mechanism #1 (PCI 3.0, 3.2.2.3.2).
    fn selected(&self, offset: u16, len: usize) -> Option<(usize, u16)> {
        let in_word = offset.checked_sub(4).filter(|o| usize::from(*o) + len <= 4)?;
        let address = self.config_address;
        let enabled = address >> 31 == 1;
        let ours = (address >> 16) & 0xFF == 0 && (address >> 8) & 7 == 0;
        let slot = usize::try_from((address >> 11) & 0x1F).ok()?;
        let register = u16::try_from(address & 0xFC).ok()? + in_word;
        (enabled && ours).then_some((slot, register))
    }

    fn config_read(&self, slot: usize, register: u16, data: &mut [u8]) {
        if let Some(device) = self.slots.get(slot) {
            lock(device).config_read(register, data);
        }
    }

    fn config_write(&mut self, slot: usize, register: u16, data: &[u8]) {
        let Some(device) = self.slots.get(slot) else { return };
        lock(device).config_write(register, data);
        self.remap(slot);
    }

    /// Brings the mappings of one slot up to date and tells the device which BARs moved.
    fn remap(&mut self, slot: usize) {
        let Some(device) = self.slots.get(slot).map(Arc::clone) else { return };
        let mut device = lock(&device);
        for bar in 0..BARS {
            let new = self.decoded(slot, bar, device.config());
            let old = self.mappings.iter().position(|m| m.slot == slot && m.bar == bar);
            if old.map(|i| self.mappings[i]) == new {
                continue;
            }
            if let Some(i) = old {
                self.mappings.swap_remove(i);
            }
            self.mappings.extend(new);
            device.bar_moved(bar, new.map(|m| m.base));
        }
    }

    fn decoded(&self, slot: usize, bar: u8, config: &PciConfig) -> Option<Mapping> {
        let declared = config.bar(bar)?;
        let base = config.decoded(bar)?;
        let io = declared.kind.is_io();
        let allowed = self.windows.allow(declared.kind, base, declared.size);
        allowed.then_some(Mapping { slot, bar, io, base, len: declared.size })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Memory,
    Io,
}

/// Locks a device. A panic in a device thread must not take the whole machine's exits with it in a second
/// panic: the state is consistent under its own rules, so poisoning is ignored.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ecam_place(offset: u64, len: usize) -> Option<(usize, u16)> {
    let function = offset / ECAM_FUNCTION;
    let register = u16::try_from(offset % ECAM_FUNCTION).ok()?;
    let whole = usize::from(register) + len <= 4096;
    let first_function = function.is_multiple_of(8);
    let slot = usize::try_from(function / 8).ok()?;
    (whole && first_function).then_some((slot, register))
}

/// Slot 0: a host bridge without registers, there so that software finds a bus at all.
struct HostBridge {
    config: PciConfig,
}

impl HostBridge {
    fn new() -> Self {
        let identity = Identity {
            vendor: abi::link_device::VENDOR,
            device: 0x0000,
            class: 0x06_00_00,
            ..Identity::default()
        };
        Self { config: PciConfig::new(&identity) }
    }
}

impl PciDevice for HostBridge {
    fn config(&mut self) -> &mut PciConfig {
        &mut self.config
    }
    fn bar_read(&mut self, _bar: u8, _offset: u64, _data: &mut [u8]) {}
    fn bar_write(&mut self, _bar: u8, _offset: u64, _data: &[u8]) {}
}

#[cfg(test)]
mod tests;
