//! Configuration space of one function: header type 0, BARs, capabilities and write masks.
//!
//! Pure: a guest's access changes bytes under a mask and nothing else. References are to the PCI Local Bus
//! Specification 3.0, chapter 6.

/// Bytes of configuration space of one function (PCI Express: 4 KiB).
pub const SPACE: usize = 4096;
/// BARs of a function with header type 0.
pub const BARS: u8 = 6;

/// Offset of the command register.
pub const COMMAND: u16 = 0x04;
/// Offset of the status register.
pub const STATUS: u16 = 0x06;
/// Offset of the first BAR.
pub const BAR0: u16 = 0x10;
/// Offset of the pointer to the first capability.
pub const CAPABILITIES: u16 = 0x34;
/// Offset of the interrupt line register.
pub const INTERRUPT_LINE: u16 = 0x3C;
/// Offset of the interrupt pin register.
pub const INTERRUPT_PIN: u16 = 0x3D;

/// Command bit: I/O decoding.
pub const COMMAND_IO: u16 = 1 << 0;
/// Command bit: memory decoding.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command bit: bus mastering.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Command bit: INTx disabled.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Command bits that a guest may change: decoding, mastering, parity, SERR#, INTx disable.
const COMMAND_WRITABLE: u16 =
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | COMMAND_INTX_DISABLE;
/// Status bit: there is a capability list.
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// First offset used for capabilities added by [`PciConfig::add_capability`].
const FIRST_CAPABILITY: u16 = 0x40;
/// End of the space that capabilities may use.
const LAST_CAPABILITY: u16 = 0x100;

/// What a function says that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class, subclass and programming interface: `0xCCSSPP`.
    pub class: u32,
    /// Revision ID.
    pub revision: u8,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// Address space and width of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// 32-bit memory.
    Memory32,
    /// 32-bit memory without read side effects.
    Memory32Prefetch,
    /// 64-bit memory; takes two BAR registers.
    Memory64,
    /// 64-bit memory without read side effects; takes two BAR registers.
    Memory64Prefetch,
}

impl BarKind {
    /// Read-only low bits of the register (6.2.5.1).
    const fn type_bits(self) -> u32 {
        match self {
            Self::Io => 1,
            Self::Memory32 => 0,
            Self::Memory32Prefetch => 1 << 3,
            Self::Memory64 => 2 << 1,
            Self::Memory64Prefetch => 2 << 1 | 1 << 3,
        }
    }

    /// Whether the BAR takes two registers.
    #[must_use]
    pub const fn is_64(self) -> bool {
        matches!(self, Self::Memory64 | Self::Memory64Prefetch)
    }

    /// Whether the BAR is in I/O space.
    #[must_use]
    pub const fn is_io(self) -> bool {
        matches!(self, Self::Io)
    }
}

/// One BAR as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Address space and width.
    pub kind: BarKind,
    /// Length in bytes or ports; a power of two.
    pub size: u64,
}

/// Why a function cannot be described as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLayout {
    /// Not a BAR number, or already taken.
    #[error("BAR {0} does not exist or is already in use")]
    BarNumber(u8),
    /// Not a power of two or outside what the kind of BAR can express.
    #[error("a BAR cannot have {0:#x} bytes")]
    BarSize(u64),
    /// The capability list is full.
    #[error("no room for a capability of {0} bytes")]
    NoRoom(usize),
}

/// Configuration space of one function.
pub struct PciConfig {
    bytes: Box<[u8; SPACE]>,
    writable: Box<[u8; SPACE]>,
    bars: [Option<Bar>; BARS as usize],
    last_link: u16,
    next_capability: u16,
}

impl PciConfig {
    /// Builds a function without BARs and capabilities, decoding disabled.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let mut config = Self {
            bytes: Box::new([0; SPACE]),
            writable: Box::new([0; SPACE]),
            bars: [None; BARS as usize],
            last_link: CAPABILITIES,
            next_capability: FIRST_CAPABILITY,
        };
        config.set(0x00, &identity.vendor.to_le_bytes());
        config.set(0x02, &identity.device.to_le_bytes());
        let class = identity.class.to_le_bytes();
        config.set(0x08, &[identity.revision, class[0], class[1], class[2]]);
        config.set(0x2C, &identity.subsystem_vendor.to_le_bytes());
        config.set(0x2E, &identity.subsystem.to_le_bytes());
        config.allow(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        config.allow(0x0C, &[0xFF]); // cache line size: no effect, writable as software expects (6.2.4)
        config.allow(INTERRUPT_LINE, &[0xFF]);
        config
    }

    /// Declares BAR `number`. A 64-bit BAR also takes the next register.
    ///
    /// # Errors
    /// [`BadLayout`] when the number is taken or the size cannot be expressed.
    pub fn add_bar(&mut self, number: u8, kind: BarKind, size: u64) -> Result<(), BadLayout> {
        let index = usize::from(number);
        let last = index + usize::from(kind.is_64());
        if last >= usize::from(BARS) || self.occupied(index) || self.occupied(last) {
            return Err(BadLayout::BarNumber(number));
        }
        let (least, most) = match kind {
            BarKind::Io => (4, 256), // PCI 3.0, 6.2.5.1: no more than 256 ports
            BarKind::Memory32 | BarKind::Memory32Prefetch => (16, 1 << 31),
            BarKind::Memory64 | BarKind::Memory64Prefetch => (16, 1 << 62),
        };
        if !size.is_power_of_two() || !(least..=most).contains(&size) {
            return Err(BadLayout::BarSize(size));
        }
        let register = bar_offset(number);
        self.bars[index] = Some(Bar { kind, size });
        let mask = !(size - 1);
        self.set(register, &kind.type_bits().to_le_bytes());
        self.allow(register, &mask.to_le_bytes()[..if kind.is_64() { 8 } else { 4 }]);
        Ok(())
    }

    fn occupied(&self, index: usize) -> bool {
        let below = index.checked_sub(1).and_then(|i| self.bars[i]);
        self.bars[index].is_some() || below.is_some_and(|bar| bar.kind.is_64())
    }

    /// Adds a capability; `body` follows the two header bytes, `writable` is its write mask (missing bytes
    /// are read-only). Returns the offset of the capability's header.
    ///
    /// # Errors
    /// [`BadLayout::NoRoom`] when the list is full.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Result<u16, BadLayout> {
        let offset = self.next_capability;
        let no_room = BadLayout::NoRoom(body.len());
        let len = u16::try_from(body.len()).map_err(|_| no_room)?;
        let end = offset.checked_add(2).and_then(|o| o.checked_add(len)).ok_or(no_room)?;
        if end > LAST_CAPABILITY {
            return Err(no_room);
        }
        let [low, _] = offset.to_le_bytes();
        self.set(self.last_link, &[low]);
        self.set(offset, &[id, 0]);
        self.set(offset + 2, body);
        let masked = writable.len().min(body.len());
        self.allow(offset + 2, &writable[..masked]);
        let status = self.u16_at(STATUS) | STATUS_CAPABILITIES;
        self.set(STATUS, &status.to_le_bytes());
        self.last_link = offset + 1;
        self.next_capability = end.next_multiple_of(4);
        Ok(offset)
    }

    /// Sets bytes from the device's side, masks ignored; whatever exceeds the space is dropped.
    pub fn set(&mut self, offset: u16, data: &[u8]) {
        for (byte, value) in self.bytes.iter_mut().skip(usize::from(offset)).zip(data) {
            *byte = *value;
        }
    }

    /// Replaces the write mask: a bit set in `mask` may be changed by the guest.
    pub fn allow(&mut self, offset: u16, mask: &[u8]) {
        for (byte, value) in self.writable.iter_mut().skip(usize::from(offset)).zip(mask) {
            *byte = *value;
        }
    }

    /// Reads as the guest does; bytes beyond the space are 0xFF.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        let start = usize::from(offset);
        for (i, out) in data.iter_mut().enumerate() {
            *out = self.bytes.get(start + i).copied().unwrap_or(0xFF);
        }
    }

    /// Writes as the guest does: only bits under the write mask change.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        let start = usize::from(offset);
        let space = self.bytes.iter_mut().zip(self.writable.iter()).skip(start);
        for ((byte, mask), value) in space.zip(data) {
            *byte = (*byte & !mask) | (value & mask);
        }
    }

    /// Reads a 16-bit register; all ones beyond the space.
    #[must_use]
    pub fn u16_at(&self, offset: u16) -> u16 {
        let mut data = [0; 2];
        self.read(offset, &mut data);
        u16::from_le_bytes(data)
    }

    /// Reads a 32-bit register; all ones beyond the space.
    #[must_use]
    pub fn u32_at(&self, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// What was declared as BAR `number`.
    #[must_use]
    pub fn bar(&self, number: u8) -> Option<Bar> {
        self.bars.get(usize::from(number)).copied().flatten()
    }

    /// Address programmed into BAR `number`, decoded or not; 0 for a BAR that does not exist.
    #[must_use]
    pub fn bar_address(&self, number: u8) -> u64 {
        let Some(bar) = self.bar(number) else { return 0 };
        let low = self.u32_at(bar_offset(number));
        match bar.kind {
            BarKind::Io => u64::from(low & !0x3),
            BarKind::Memory32 | BarKind::Memory32Prefetch => u64::from(low & !0xF),
            BarKind::Memory64 | BarKind::Memory64Prefetch => {
                let high = self.u32_at(bar_offset(number) + 4);
                u64::from(high) << 32 | u64::from(low & !0xF)
            }
        }
    }

    /// Programs BAR `number` from the machine's side; bits below the size are dropped.
    pub fn set_bar_address(&mut self, number: u8, address: u64) {
        let Some(bar) = self.bar(number) else { return };
        let bytes = address.to_le_bytes();
        self.write(bar_offset(number), &bytes[..if bar.kind.is_64() { 8 } else { 4 }]);
    }

    /// Address at which BAR `number` answers now; `None` while its kind of decoding is disabled.
    #[must_use]
    pub fn decoded(&self, number: u8) -> Option<u64> {
        let bar = self.bar(number)?;
        let enabled = if bar.kind.is_io() { COMMAND_IO } else { COMMAND_MEMORY };
        (self.u16_at(COMMAND) & enabled != 0).then(|| self.bar_address(number))
    }
}

/// Offset of the register of BAR `number`.
#[must_use]
pub const fn bar_offset(number: u8) -> u16 {
    BAR0 + 4 * number as u16
}

#[cfg(test)]
mod tests;
