//! MSI-X of one function: capability, table and pending bits as a pure state machine (PCI 3.0, 6.8.2).
//!
//! Every guest access returns what became of the vectors; the caller wires or unwires interrupts.

/// Capability ID of MSI-X.
pub const CAPABILITY_ID: u8 = 0x11;
/// Bytes of one table entry.
pub const ENTRY: u64 = 16;
/// Vectors at most (6.8.2.3).
pub const MAX_VECTORS: u16 = 2048;
/// Message control: MSI-X enable.
const ENABLE: u16 = 1 << 15;
/// Message control: function mask.
const FUNCTION_MASK: u16 = 1 << 14;

/// What a guest access did to a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The vector delivers from now on, to this address with this data (also: to a new one).
    Unmasked {
        /// Which vector.
        vector: u16,
        /// Message address.
        address: u64,
        /// Message data.
        data: u32,
    },
    /// The vector no longer delivers; what happens meanwhile is pending.
    Masked {
        /// Which vector.
        vector: u16,
    },
}

/// Where table and pending bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// BAR of the table.
    pub table_bar: u8,
    /// Offset of the table in its BAR; a multiple of 8.
    pub table_offset: u32,
    /// BAR of the pending bits.
    pub pba_bar: u8,
    /// Offset of the pending bits in their BAR; a multiple of 8.
    pub pba_offset: u32,
}

/// The number of vectors cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MSI-X has 1 to {MAX_VECTORS} vectors, not {0}")]
pub struct BadVectorCount(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    address: u64,
    data: u32,
    masked: bool,
}

/// MSI-X state of one function.
#[derive(Clone, Debug)]
pub struct Msix {
    entries: Vec<Entry>,
    control: u16,
}

impl Msix {
    /// Builds the state after reset: disabled, every vector masked.
    ///
    /// # Errors
    /// [`BadVectorCount`] for none or more than [`MAX_VECTORS`].
    pub fn new(vectors: u16) -> Result<Self, BadVectorCount> {
        if vectors == 0 || vectors > MAX_VECTORS {
            return Err(BadVectorCount(vectors));
        }
        let reset = Entry { address: 0, data: 0, masked: true };
        Ok(Self { entries: vec![reset; usize::from(vectors)], control: vectors - 1 })
    }

    /// Number of vectors.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        (self.control & 0x7FF) + 1
    }

    /// Bytes of the table.
    #[must_use]
    pub fn table_len(&self) -> u64 {
        u64::from(self.vectors()) * ENTRY
    }

    /// Bytes of the pending bits, whole 64-bit words.
    #[must_use]
    pub fn pba_len(&self) -> u64 {
        u64::from(self.vectors().div_ceil(64)) * 8
    }

    /// Body and write mask of the capability for `PciConfig::add_capability`.
    #[must_use]
    pub fn capability(&self, place: &Place) -> ([u8; 10], [u8; 2]) {
        let mut body = [0; 10];
        let table = place.table_offset & !7 | u32::from(place.table_bar & 7);
        let pba = place.pba_offset & !7 | u32::from(place.pba_bar & 7);
        body[..2].copy_from_slice(&self.control.to_le_bytes());
        body[2..6].copy_from_slice(&table.to_le_bytes());
        body[6..].copy_from_slice(&pba.to_le_bytes());
        (body, (ENABLE | FUNCTION_MASK).to_le_bytes())
    }

    /// Whether the guest enabled MSI-X.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// Takes the message control register after a configuration write; the vector count stays.
    pub fn set_control(&mut self, control: u16) -> Vec<Change> {
        let before = self.function_live();
        self.control = self.control & 0x7FF | control & (ENABLE | FUNCTION_MASK);
        let after = self.function_live();
        if before == after {
            return Vec::new();
        }
        let open = (0..self.vectors()).filter(|v| !self.entries[usize::from(*v)].masked);
        open.map(|vector| self.report(vector)).collect()
    }

    fn function_live(&self) -> bool {
        self.control & (ENABLE | FUNCTION_MASK) == ENABLE
    }

    fn live(&self, vector: u16) -> bool {
        self.function_live() && self.entries.get(usize::from(vector)).is_some_and(|e| !e.masked)
    }

    fn report(&self, vector: u16) -> Change {
        match self.entries.get(usize::from(vector)) {
            Some(entry) if self.live(vector) => {
                Change::Unmasked { vector, address: entry.address, data: entry.data }
            }
            _ => Change::Masked { vector },
        }
    }

    /// Reads the table at `offset`; 0xFF beyond it.
    pub fn table_read(&self, offset: u64, data: &mut [u8]) {
        for (i, out) in (offset..).zip(data) {
            *out = self.table_byte(i).unwrap_or(0xFF);
        }
    }

    fn table_byte(&self, offset: u64) -> Option<u8> {
        let entry = self.entries.get(usize::try_from(offset / ENTRY).ok()?)?;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&entry.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.data.to_le_bytes());
        bytes[12] = u8::from(entry.masked);
        bytes.get(usize::try_from(offset % ENTRY).ok()?).copied()
    }

    /// Writes the table. Only aligned accesses of 4 or 8 bytes count (6.8.2: others are undefined).
    pub fn table_write(&mut self, offset: u64, data: &[u8]) -> Vec<Change> {
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return Vec::new();
        }
        let Some(entry) = usize::try_from(offset / ENTRY).ok().and_then(|i| self.entries.get_mut(i)) else {
            return Vec::new();
        };
        let (before, old) = (*entry, entry.masked);
        for (at, word) in (offset % ENTRY..).step_by(4).zip(data.chunks_exact(4)) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            match at {
                0 => entry.address = entry.address & !0xFFFF_FFFF | u64::from(word & !3),
                4 => entry.address = entry.address & 0xFFFF_FFFF | u64::from(word) << 32,
                8 => entry.data = word,
                _ => entry.masked = word & 1 != 0,
            }
        }
        let (after, now) = (*entry, entry.masked);
        let Ok(vector) = u16::try_from(offset / ENTRY) else { return Vec::new() };
        // A masked entry may be rewritten piecemeal without any effect on delivery.
        let silent = before == after || (old && now) || !self.function_live();
        if silent { Vec::new() } else { vec![self.report(vector)] }
    }

    /// Reads the pending bits at `offset`; `pending` says it for one masked vector.
    pub fn pba_read(&self, offset: u64, data: &mut [u8], pending: impl Fn(u16) -> bool) {
        for (i, out) in (offset..).zip(data) {
            if i >= self.pba_len() {
                *out = 0xFF;
                continue;
            }
            let first = u16::try_from(i * 8).unwrap_or(u16::MAX);
            let bit = |b: u16| {
                first.checked_add(b).is_some_and(|v| v < self.vectors() && !self.live(v) && pending(v))
            };
            *out = (0..8).fold(0, |byte, b| byte | u8::from(bit(b)) << b);
        }
    }
}

#[cfg(test)]
mod tests;
