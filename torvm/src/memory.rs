//! The program's memory, as the layer sees it.

pub mod areas;

/// What the program may do with a piece of its memory. Never both writing and executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing; reserved, not backed.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Reading and executing.
    Execute,
}

/// An address that the program has no such access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

/// No frame is left for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A range of the program's addresses; whole pages where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
}

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Lowest address of the program (the kernel has what lies below).
pub const LOWEST: u64 = 1 << 39;
/// First address that the program cannot have.
pub const TOP: u64 = 1 << 46;

/// Memory of the program. Every page that is mapped with an access other than `None` is backed and was zero at first.
/// What the layer copies obeys the program's own rights: nothing is written to what the program may not write.
pub trait UserMemory {
    /// Copies from the program.
    ///
    /// # Errors
    /// [`BadAddress`]; `out` is then in any state.
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), BadAddress>;

    /// Copies to the program.
    ///
    /// # Errors
    /// [`BadAddress`]; nothing, or some of it, was then written.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress>;

    /// Copies to the program regardless of the access it has there: loading, nothing else.
    ///
    /// # Errors
    /// [`BadAddress`] where nothing is backed.
    fn load(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress>;

    /// Maps whole pages, zeroed, in place of what was there.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the range is then unmapped.
    fn map(&mut self, range: Range, access: Access) -> Result<(), OutOfMemory>;

    /// Changes the access of whole pages that are mapped; `None` keeps what is in them.
    ///
    /// # Errors
    /// [`BadAddress`] when a page is not mapped.
    fn protect(&mut self, range: Range, access: Access) -> Result<(), BadAddress>;

    /// Takes whole pages away, mapped or not.
    fn unmap(&mut self, range: Range);

    /// Moves whole pages with what is in them and their access to `to`, where nothing is mapped. `false`: there is no
    /// memory for that, and nothing was done.
    fn relocate(&mut self, from: Range, to: u64) -> bool;

    /// Takes everything away: the program has ended.
    fn clear(&mut self);

    /// Bytes that can still be mapped.
    fn left(&self) -> u64;
}

/// Reads a fixed number of bytes.
///
/// # Errors
/// [`BadAddress`].
pub fn read_array<const N: usize>(memory: &impl UserMemory, at: u64) -> Result<[u8; N], BadAddress> {
    let mut out = [0; N];
    memory.read(at, &mut out)?;
    Ok(out)
}

/// Reads a little-endian number.
///
/// # Errors
/// [`BadAddress`].
pub fn read_u32(memory: &impl UserMemory, at: u64) -> Result<u32, BadAddress> {
    read_array(memory, at).map(u32::from_le_bytes)
}

/// Reads a little-endian number.
///
/// # Errors
/// [`BadAddress`].
pub fn read_u64(memory: &impl UserMemory, at: u64) -> Result<u64, BadAddress> {
    read_array(memory, at).map(u64::from_le_bytes)
}

/// Reads the bytes up to a zero byte, at most `out.len()` with it; `None` when there is no zero byte in so many.
///
/// # Errors
/// [`BadAddress`].
pub fn read_string<'a>(
    memory: &impl UserMemory,
    at: u64,
    out: &'a mut [u8],
) -> Result<Option<&'a [u8]>, BadAddress> {
    let mut have = 0;
    while have < out.len() {
        // Never over the end of a page: what lies behind need not be mapped.
        let here = at.checked_add(have as u64).ok_or(BadAddress)?;
        let in_page = usize::try_from(PAGE - here % PAGE).map_err(|_| BadAddress)?;
        let rest = out.get_mut(have..).unwrap_or_default();
        let len = in_page.min(rest.len());
        let piece = rest.get_mut(..len).ok_or(BadAddress)?;
        memory.read(here, piece)?;
        if let Some(zero) = piece.iter().position(|byte| *byte == 0) {
            return Ok(out.get(..have + zero));
        }
        have += len;
    }
    Ok(None)
}
