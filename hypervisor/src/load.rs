//! Puts a kernel, its parameters and its modules into guest memory.
//!
//! The image is untrusted input: every address is checked against RAM before anything is copied. Nothing
//! below 1 MiB is for the image; boot data lies there (see [`place`]).

mod boot_info;
mod bzimage;
mod elf;
mod pvh;

pub use boot_info::Facts;

use crate::memory::Layout;
use crate::power;
use std::fs::File;
use std::io::{Read, Seek};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Where boot data lies, all below 640 KiB but ACPI.
pub mod place {
    /// Global descriptor table of the 64-bit entry.
    pub const GDT: u64 = 0x500;
    /// The boot record of a unikernel.
    pub const BOOT_INFO: u64 = 0x5000;
    /// `hvm_start_info`, then the module list and the memory map.
    pub const START_INFO: u64 = 0x6000;
    /// Module list.
    pub const MODULES: u64 = 0x6100;
    /// Memory map of the PVH entry.
    pub const MEMORY_MAP: u64 = 0x6200;
    /// `boot_params` ("zero page") of the 64-bit Linux entry.
    pub const ZERO_PAGE: u64 = 0x7000;
    /// First page table of the 64-bit entry; six pages.
    pub const PAGE_TABLES: u64 = 0x9000;
    /// Kernel command line.
    pub const CMDLINE: u64 = 0x2_0000;
    /// End of the memory that boot data may use.
    pub const LOW_END: u64 = 0x9_F000;
    /// First byte of ACPI tables; the root pointer.
    pub const ACPI: u64 = 0xE_0000;
    /// First byte that an image may use.
    pub const IMAGE: u64 = 0x10_0000;
}

/// Why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither ELF nor bzImage.
    #[error("the kernel is neither an ELF file nor a bzImage")]
    UnknownFormat,
    /// The file cannot be read.
    #[error("cannot read {what}: {error}")]
    Read {
        /// Which file.
        what: &'static str,
        /// What the host says.
        error: std::io::Error,
    },
    /// The ELF file is for something else or broken.
    #[error("the kernel is not usable: {0}")]
    BadElf(String),
    /// The bzImage is too old or broken.
    #[error("the kernel is not usable: {0}")]
    BadBzImage(String),
    /// Something does not fit into memory.
    #[error("{what} does not fit into {have_mib} MiB of guest memory")]
    TooBig {
        /// What.
        what: &'static str,
        /// Low memory of the guest.
        have_mib: u64,
    },
    /// The command line is too long or contains NUL.
    #[error("the command line must not contain NUL and may have {max} bytes, not {len}")]
    Cmdline {
        /// Its length.
        len: usize,
        /// Longest that this kernel takes.
        max: usize,
    },
    /// Guest memory could not be written.
    #[error("cannot write {what} to guest memory: {error}")]
    Write {
        /// What was written.
        what: &'static str,
        /// Why not.
        error: vm_memory::GuestMemoryError,
    },
    /// The host has no random bytes or no clock.
    #[error("cannot make the boot record: {0}")]
    BootInfo(String),
}

/// How the first processor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// PVH: 32-bit protected mode, EBX = start info.
    Pvh {
        /// First instruction.
        rip: u64,
    },
    /// Linux 64-bit boot protocol: long mode, RSI = zero page.
    Linux64 {
        /// First instruction.
        rip: u64,
    },
}

/// What to load.
pub struct Images {
    /// Kernel image.
    pub kernel: File,
    /// Initial RAM disk.
    pub initrd: Option<File>,
    /// Kernel command line.
    pub cmdline: String,
    /// Facts for the boot record of a unikernel; `None` for Linux.
    pub facts: Option<Facts>,
}

/// A range of guest memory that holds a module.
#[derive(Clone, Copy, Debug)]
struct Module {
    base: u64,
    len: u64,
}

/// Type of a memory-map entry, the same numbers in E820 and PVH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum MapKind {
    Ram = 1,
    Reserved = 2,
}

/// Loads everything and returns where to start.
///
/// # Errors
/// [`LoadError`]; guest memory is then in no defined state.
pub fn load(memory: &GuestMemoryMmap, layout: Layout, images: &mut Images) -> Result<Entry, LoadError> {
    write(memory, "the restart vector", power::RESTART_VECTOR, &power::RESTART_CODE)?;
    let mut magic = [0; 4];
    let kernel = &mut images.kernel;
    let read = |error| LoadError::Read { what: "the kernel", error };
    kernel.rewind().map_err(read)?;
    kernel.read_exact(&mut magic).map_err(read)?;
    let arena = images.facts.as_ref().map_or(0, |f| f.dma_len);
    let ceiling = layout.low.saturating_sub(arena);
    if magic == *b"\x7fELF" {
        let image = elf::load(memory, ceiling, kernel)?;
        let initrd = initrd(memory, ceiling, image.end, images.initrd.as_mut())?;
        cmdline(memory, &images.cmdline, 0xFFFF)?;
        let record = images.facts.as_ref().map(|f| boot_info::write(memory, layout, f)).transpose()?;
        pvh::write(memory, layout, &[record, initrd])?;
        return Ok(Entry::Pvh { rip: image.entry });
    }
    let image = bzimage::load(memory, ceiling, kernel)?;
    let top = ceiling.min(image.initrd_max.saturating_add(1));
    let initrd = initrd(memory, top, image.end, images.initrd.as_mut())?;
    cmdline(memory, &images.cmdline, image.cmdline_max)?;
    bzimage::write_params(memory, layout, &image, initrd)?;
    Ok(Entry::Linux64 { rip: image.entry })
}

/// Puts the RAM disk at the top of low memory, above the kernel.
fn initrd(
    memory: &GuestMemoryMmap,
    ceiling: u64,
    floor: u64,
    file: Option<&mut File>,
) -> Result<Option<Module>, LoadError> {
    let Some(file) = file else { return Ok(None) };
    let what = "the initial RAM disk";
    let read = |error| LoadError::Read { what, error };
    let len = file.metadata().map_err(read)?.len();
    file.rewind().map_err(read)?;
    let base = ceiling.checked_sub(len).map(|b| b & !0xFFF).filter(|b| *b >= floor && len > 0);
    let base = base.ok_or(LoadError::TooBig { what, have_mib: ceiling >> 20 })?;
    let size = usize::try_from(len).map_err(|_| LoadError::TooBig { what, have_mib: ceiling >> 20 })?;
    let copied = memory.read_exact_volatile_from(GuestAddress(base), file, size);
    copied.map_err(|error| LoadError::Write { what, error })?;
    Ok(Some(Module { base, len }))
}

fn cmdline(memory: &GuestMemoryMmap, text: &str, max: usize) -> Result<(), LoadError> {
    if text.len() > max || text.contains('\0') {
        return Err(LoadError::Cmdline { len: text.len(), max });
    }
    write(memory, "the command line", place::CMDLINE, text.as_bytes())?;
    write(memory, "the command line", place::CMDLINE + text.len() as u64, &[0])
}

fn write(memory: &GuestMemoryMmap, what: &'static str, at: u64, bytes: &[u8]) -> Result<(), LoadError> {
    memory.write_slice(bytes, GuestAddress(at)).map_err(|error| LoadError::Write { what, error })
}

/// The machine's memory map: address, length, kind.
fn memory_map(layout: Layout) -> Vec<(u64, u64, MapKind)> {
    use abi::memory_map::{ECAM_BASE, ECAM_LEN, HIGH_RAM, STATE_BASE, STATE_MAX};
    let mut map = vec![
        (0, place::LOW_END, MapKind::Ram),
        (place::LOW_END, place::IMAGE - place::LOW_END, MapKind::Reserved),
        (place::IMAGE, layout.low.saturating_sub(place::IMAGE), MapKind::Ram),
        (ECAM_BASE, ECAM_LEN, MapKind::Reserved),
        (STATE_BASE, STATE_MAX, MapKind::Reserved),
    ];
    if layout.high > 0 {
        map.push((HIGH_RAM, layout.high, MapKind::Ram));
    }
    map
}

#[cfg(test)]
mod tests;
