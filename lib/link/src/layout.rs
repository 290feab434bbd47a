//! A region, byte by byte. Here: offsets and sizes, no access. All words are little endian.
//!
//! The region that A writes holds what A produced *into it*, and what A consumed *of the opposite one*:
//!
//! | offset   | word        | meaning                                                                  |
//! |----------|-------------|--------------------------------------------------------------------------|
//! | `0x000`  | identity    | [`IDENTITY`]: magic and version                                          |
//! | `0x008`  | epoch       | generation that A was told; stored last                                  |
//! | `0x080`  | produced    | bytes that A has published here since the epoch began                    |
//! | `0x100`  | consumed    | bytes of the opposite region that A has given back                       |
//! | `0x180`  | data event  | A wants the doorbell when the peer's *produced* passes this              |
//! | `0x188`  | space event | A wants the doorbell when the peer's *consumed* passes this              |
//! | `0x1000` | data        | ring of records, [`Geometry::data_len`] bytes                            |
//!
//! Words that change at different rates are 128 bytes apart, so that neither the line nor its prefetched
//! neighbour moves between the processors without need. Counts never wrap: 2⁶⁴ bytes take centuries.
//!
//! A record is a header of [`RECORD_HEADER`] bytes and its payload, padded to [`RECORD_ALIGN`]; see `record`.
//! It is contiguous: where it does not fit before the end, a wrap record sends the reader to offset 0.

use crate::BadGeometry;

/// Content of the identity word: magic and, in the top byte, the version of this layout.
pub const IDENTITY: u64 = u64::from_le_bytes(*b"BHLINK\0\x01");

/// What every word reads as when the window onto the region was taken away; no epoch and no index is ever that large.
pub(crate) const ABSENT: u64 = u64::MAX;

/// Bytes before the data.
pub const HEADER_LEN: usize = abi::link_device::HEADER_LEN as usize;

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 16;

/// Records start at multiples of this.
pub const RECORD_ALIGN: usize = 16;

/// Longest payload of a record in bytes: an IP packet of 65,535 bytes with its Ethernet header and two VLAN
/// tags, rounded up. A ring shorter than [`Geometry::DEFAULT`] carries less, see [`Geometry::max_payload`].
pub const MAX_PAYLOAD: usize = 65_568;

/// Smallest ring.
const MIN_DATA_LEN: u32 = if cfg!(loom) { 64 } else { 4096 };
/// Largest ring: keeps every offset far from the 32-bit limits of the device registers.
const MAX_DATA_LEN: u32 = 1 << 28;

/// A word of the header page, by its offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    Identity = 0x000,
    Epoch = 0x008,
    Produced = 0x080,
    Consumed = 0x100,
    DataEvent = 0x180,
    SpaceEvent = 0x188,
}

const _: () = {
    assert!(Word::SpaceEvent as usize + 8 <= HEADER_LEN);
    assert!(HEADER_LEN.is_multiple_of(RECORD_ALIGN));
    assert!(RECORD_ALIGN.is_power_of_two() && RECORD_HEADER.is_multiple_of(RECORD_ALIGN));
    assert!(MAX_PAYLOAD.is_multiple_of(RECORD_ALIGN));
};

/// Size of a ring; told by whoever made the regions, never read from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of data in a region: a power of two from 4 KiB to 256 MiB.
    pub data_len: u32,
}

impl Geometry {
    /// The usual ring: carries records of [`MAX_PAYLOAD`].
    pub const DEFAULT: Self = Self { data_len: abi::link_device::DEFAULT_DATA_LEN };

    /// Derives the ring's size from that of a region (header page and data).
    ///
    /// # Errors
    /// [`BadGeometry`] when the rest is no size for a ring.
    pub fn of_region(region_len: usize) -> Result<Self, BadGeometry> {
        let data = region_len.checked_sub(HEADER_LEN).ok_or(BadGeometry)?;
        Self { data_len: u32::try_from(data).map_err(|_| BadGeometry)? }.checked()
    }

    /// Returns the geometry if it can be used.
    ///
    /// # Errors
    /// [`BadGeometry`] when the ring's size is no power of two or out of range.
    pub fn checked(self) -> Result<Self, BadGeometry> {
        let in_range = (MIN_DATA_LEN..=MAX_DATA_LEN).contains(&self.data_len);
        if in_range && self.data_len.is_power_of_two() { Ok(self) } else { Err(BadGeometry) }
    }

    /// Bytes of a whole region: header page and data.
    #[must_use]
    pub const fn region_len(self) -> usize {
        HEADER_LEN + self.data_len as usize
    }

    /// Longest payload of a record: half a ring, so that every record fits an empty ring wherever it starts.
    #[must_use]
    pub const fn max_payload(self) -> usize {
        let half = (self.data_len as usize / 2).saturating_sub(RECORD_HEADER);
        if half < MAX_PAYLOAD { half } else { MAX_PAYLOAD }
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bytes that a record with `payload` bytes takes in the ring.
pub(crate) const fn record_len(payload: usize) -> usize {
    (RECORD_HEADER + payload + (RECORD_ALIGN - 1)) & !(RECORD_ALIGN - 1)
}
