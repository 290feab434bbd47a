//! The file of a program: which segments go where.

use crate::memory::{Access, PAGE, Range};
use alloc::vec::Vec;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

/// Most program headers.
const MOST_HEADERS: u16 = 32;
/// Bytes of a program header.
pub const HEADER_LEN: u64 = 56;
/// Most bytes of address space.
const LARGEST: u64 = 64 << 20;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadImage(pub &'static str);

/// A piece to load. Addresses are relative to the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The pages it takes.
    pub pages: Range,
    /// Where the bytes go.
    pub at: u64,
    /// The bytes; zeros follow.
    pub bytes: &'a [u8],
    /// What may be done there.
    pub access: Access,
}

/// A checked program.
#[derive(Debug)]
pub struct Image<'a> {
    segments: Vec<Segment<'a>>,
    entry: u64,
    headers_at: u64,
    headers: u16,
}

impl<'a> Image<'a> {
    /// Checks a file.
    ///
    /// # Errors
    /// [`BadImage`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadImage> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| BadImage("not an ELF file"))?;
        let head = &file.ehdr;
        if head.class != Class::ELF64 || head.e_machine != EM_X86_64 {
            return Err(BadImage("not for x86-64"));
        }
        if head.e_type != ET_DYN {
            return Err(BadImage("not position-independent"));
        }
        if head.e_phnum > MOST_HEADERS || u64::from(head.e_phentsize) != HEADER_LEN {
            return Err(BadImage("too many program headers"));
        }
        let headers: Vec<_> = file.segments().ok_or(BadImage("no program headers"))?.iter().collect();
        if headers.iter().any(|h| h.p_type == PT_INTERP) {
            return Err(BadImage("not static"));
        }
        if headers.iter().any(|h| h.p_type == PT_GNU_STACK && h.p_flags & PF_X != 0) {
            return Err(BadImage("wants to execute its stack"));
        }
        let mut segments: Vec<Segment<'a>> = Vec::new();
        for header in headers.iter().filter(|h| h.p_type == PT_LOAD && h.p_memsz > 0) {
            let segment = segment(bytes, header)?;
            if segments.last().is_some_and(|before| before.pages.end > segment.pages.start) {
                return Err(BadImage("segments overlap or are out of order"));
            }
            segments.push(segment);
        }
        let headers_at = headers_at(&headers, head.e_phoff, &segments, head.e_phnum)?;
        let image = Self { segments, entry: head.e_entry, headers_at, headers: head.e_phnum };
        let begins = |s: &Segment<'_>| s.access == Access::Execute && s.pages.contains(image.entry);
        if image.segments.iter().any(begins) { Ok(image) } else { Err(BadImage("begins where no code is")) }
    }

    /// What to load, from bottom to top.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// Where it begins, relative to the base.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// First page behind it, relative to the base.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.pages.end)
    }

    /// Where its program headers are in memory, relative to the base, and how many.
    #[must_use]
    pub fn headers(&self) -> (u64, u16) {
        (self.headers_at, self.headers)
    }
}

impl Range {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }
}

fn segment<'a>(bytes: &'a [u8], header: &ProgramHeader) -> Result<Segment<'a>, BadImage> {
    let access = match header.p_flags & (PF_R | PF_W | PF_X) {
        0 => return Err(BadImage("a segment is for nothing")),
        PF_R => Access::Read,
        flags if flags & PF_X == 0 => Access::Write,
        flags if flags & PF_W == 0 => Access::Execute,
        _ => return Err(BadImage("a segment is writable and executable")),
    };
    let end = header.p_vaddr.checked_add(header.p_memsz).filter(|end| *end <= LARGEST);
    let end = end.ok_or(BadImage("too large"))?;
    let file_end = header.p_offset.checked_add(header.p_filesz).ok_or(BadImage("a segment is cut off"))?;
    let (Ok(from), Ok(to)) = (usize::try_from(header.p_offset), usize::try_from(file_end)) else {
        return Err(BadImage("a segment is cut off"));
    };
    let bytes = bytes.get(from..to).ok_or(BadImage("a segment is cut off"))?;
    if header.p_filesz > header.p_memsz {
        return Err(BadImage("a segment is longer in the file than in memory"));
    }
    let pages = Range { start: header.p_vaddr / PAGE * PAGE, end: end.next_multiple_of(PAGE) };
    Ok(Segment { pages, at: header.p_vaddr, bytes, access })
}

/// Where the headers are in memory: as PT_PHDR says, or where the segment that holds them in the file has them.
fn headers_at(
    headers: &[ProgramHeader],
    in_file: u64,
    segments: &[Segment<'_>],
    count: u16,
) -> Result<u64, BadImage> {
    let said = headers.iter().find(|h| h.p_type == PT_PHDR).map(|h| h.p_vaddr);
    let holds = |h: &&ProgramHeader| {
        h.p_type == PT_LOAD && (h.p_offset..h.p_offset.saturating_add(h.p_filesz)).contains(&in_file)
    };
    let at = said
        .or_else(|| headers.iter().find(holds).map(|h| in_file - h.p_offset + h.p_vaddr))
        .ok_or(BadImage("its program headers are not loaded"))?;
    let end = at.saturating_add(u64::from(count) * HEADER_LEN);
    let loaded = |s: &Segment<'_>| s.at <= at && end <= s.at + s.bytes.len() as u64;
    if segments.iter().any(loaded) { Ok(at) } else { Err(BadImage("its program headers are not loaded")) }
}
