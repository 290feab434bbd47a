//! Loads the program: one static position-independent ELF, at a random base, no page writable and executable.
//!
//! The program relocates itself and sets up its own thread-local storage (PT_TLS is its own business). Its headers are
//! untrusted like everything of it. Parsed by the `elf` crate, which has no unsafe code and does not allocate; what the
//! numbers may be is checked here.

pub mod image;
pub mod stack;
#[cfg(test)]
mod tests;

use crate::memory::areas::{Area, Areas};
use crate::memory::{Access, LOWEST, OutOfMemory, PAGE, Range, UserMemory};
use image::{BadImage, Image};
use stack::Start;

/// Bytes of the stack, a guard page below it aside.
pub const STACK: u64 = 1 << 20;
/// Bytes that may separate the parts of the address space that are placed at random.
const SPREAD: u64 = 1 << 40;
const MIB: u64 = 1 << 20;

/// Why a program cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// The bundle has no such file.
    Missing,
    /// It is not such a program.
    Image(BadImage),
    /// The memory does not suffice.
    Memory,
    /// Arguments and environment are too long.
    Arguments,
}

impl From<BadImage> for LoadFault {
    fn from(fault: BadImage) -> Self {
        Self::Image(fault)
    }
}

impl From<OutOfMemory> for LoadFault {
    fn from(_: OutOfMemory) -> Self {
        Self::Memory
    }
}

impl core::fmt::Display for LoadFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing => f.write_str("no such program in the bundle"),
            Self::Image(fault) => write!(f, "not a program for this layer: {}", fault.0),
            Self::Memory => f.write_str("not enough memory for the program"),
            Self::Arguments => f.write_str("arguments and environment are too long"),
        }
    }
}

/// What the program is called with.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// Path of the program.
    pub path: &'a [u8],
    /// Arguments, its name first.
    pub arguments: &'a [&'a [u8]],
    /// Environment, `NAME=value`.
    pub environment: &'a [&'a [u8]],
}

/// A loaded program.
#[derive(Debug)]
pub struct Loaded {
    /// What is in use.
    pub areas: Areas,
    /// Where it begins.
    pub entry: u64,
    /// Its first stack pointer.
    pub stack: u64,
    /// Where its heap (`brk`) begins.
    pub heap: u64,
}

/// Loads a program into empty memory.
///
/// # Errors
/// [`LoadFault`]; the memory is then to be cleared.
pub fn load(
    memory: &mut impl UserMemory,
    bytes: &[u8],
    invocation: &Invocation<'_>,
    random: fn(&mut [u8]),
) -> Result<Loaded, LoadFault> {
    let image = Image::parse(bytes)?;
    // From bottom to top: the image and its heap, the stack, mappings; each a random piece further up.
    let base = LOWEST + MIB + offset(random);
    let stack_top = LOWEST + 2 * SPREAD + offset(random);
    let mut areas = Areas::new(LOWEST + 4 * SPREAD + offset(random));
    for segment in image.segments() {
        let range = Range { start: base + segment.pages.start, end: base + segment.pages.end };
        memory.map(range, segment.access)?;
        memory.load(base + segment.at, segment.bytes).map_err(|_| LoadFault::Memory)?;
        areas.insert(range, Area { access: segment.access, backed: true });
    }
    let stack = Range { start: stack_top - STACK, end: stack_top };
    memory.map(stack, Access::Write)?;
    areas.insert(stack, Area { access: Access::Write, backed: true });
    areas.insert(
        Range { start: stack.start - 16 * PAGE, end: stack.start },
        Area { access: Access::None, backed: false },
    );
    let mut seed = [0; 16];
    random(&mut seed);
    let start = Start { image: &image, base, seed };
    let words = start.layout(stack_top, invocation).ok_or(LoadFault::Arguments)?;
    let pointer = stack_top - words.len() as u64;
    memory.load(pointer, &words).map_err(|_| LoadFault::Memory)?;
    Ok(Loaded {
        areas,
        entry: base + image.entry(),
        stack: pointer,
        heap: base + image.end() + offset(random) % (64 * MIB),
    })
}

/// A random number of pages below [`SPREAD`], in bytes.
fn offset(random: fn(&mut [u8])) -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes) % SPREAD / PAGE * PAGE
}
