//! ELF kernels with a PVH entry note: unikernels, and Linux `vmlinux`.

use super::{LoadError, place};
use linux_loader::loader::elf::PvhBootCapability;
use linux_loader::loader::{Elf, KernelLoader};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use vm_memory::GuestMemoryMmap;

/// Program headers at most; a kernel has a handful.
const MAX_HEADERS: u16 = 64;
/// Bytes of a 64-bit ELF header and of a program header.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;

pub(super) struct Image {
    pub(super) entry: u64,
    pub(super) end: u64,
}

/// Checks what the loader library does not (class, machine, bounds of every segment), then loads.
pub(super) fn load(memory: &GuestMemoryMmap, ceiling: u64, file: &mut File) -> Result<Image, LoadError> {
    let end = check(ceiling, file)?;
    let loaded = Elf::load(memory, None, file, None).map_err(|e| bad(e.to_string()))?;
    let PvhBootCapability::PvhEntryPresent(entry) = loaded.pvh_boot_cap else {
        return Err(bad("it has no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY)"));
    };
    if entry.0 < place::IMAGE || entry.0 >= end {
        return Err(bad(format!("its entry {:#x} is outside of its segments", entry.0)));
    }
    Ok(Image { entry: entry.0, end })
}

fn bad(why: impl Into<String>) -> LoadError {
    LoadError::BadElf(why.into())
}

/// Returns the end of the highest segment.
fn check(ceiling: u64, file: &mut File) -> Result<u64, LoadError> {
    let read = |error| LoadError::Read { what: "the kernel's headers", error };
    let file_len = file.seek(SeekFrom::End(0)).map_err(read)?;
    file.rewind().map_err(read)?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(read)?;
    identify(&header)?;
    let (offset, count) = (u64_at(&header, 32), u16_at(&header, 56));
    if usize::from(u16_at(&header, 54)) != PROGRAM_HEADER || count == 0 || count > MAX_HEADERS {
        return Err(bad(format!("it has {count} program headers of {} bytes", u16_at(&header, 54))));
    }
    file.seek(SeekFrom::Start(offset)).map_err(read)?;
    let mut end = 0;
    for _ in 0..count {
        let mut program = [0; PROGRAM_HEADER];
        file.read_exact(&mut program).map_err(read)?;
        end = end.max(segment_end(&program, ceiling, file_len)?);
    }
    if end == 0 { Err(bad("it has nothing to load")) } else { Ok(end) }
}

fn identify(header: &[u8; HEADER]) -> Result<(), LoadError> {
    match (header[4], header[5], u16_at(header, 16), u16_at(header, 18)) {
        (2, 1, 2 | 3, 62) => Ok(()),
        (1, ..) => Err(bad("it is a 32-bit ELF file; x86-64 is needed")),
        (_, 2, ..) => Err(bad("it is big endian")),
        (_, _, _, machine) if machine != 62 => {
            Err(bad(format!("it is for ELF machine {machine}, not x86-64")))
        }
        (_, _, kind, _) => Err(bad(format!("ELF type {kind} is not an executable"))),
    }
}

fn segment_end(program: &[u8; PROGRAM_HEADER], ceiling: u64, file_len: u64) -> Result<u64, LoadError> {
    if u32::from_le_bytes([program[0], program[1], program[2], program[3]]) != PT_LOAD {
        return Ok(0);
    }
    let (offset, base) = (u64_at(program, 8), u64_at(program, 24));
    let (in_file, in_memory) = (u64_at(program, 32), u64_at(program, 40));
    if in_memory == 0 {
        return Ok(0);
    }
    if in_file > in_memory || offset.checked_add(in_file).is_none_or(|end| end > file_len) {
        return Err(bad(format!("the segment for {base:#x} is cut short")));
    }
    if base < place::IMAGE {
        return Err(bad(format!("a segment begins at {base:#x}; the first MiB is not available")));
    }
    let end = base.checked_add(in_memory).filter(|end| *end <= ceiling);
    end.ok_or(LoadError::TooBig { what: "the kernel", have_mib: ceiling >> 20 })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
