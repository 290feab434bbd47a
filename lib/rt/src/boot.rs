//! From the boot loader's hand-over to `main`: read what was handed over, protect memory, start the parts.

use crate::heap::Heap;
use crate::panic::stop;
use crate::ram::{self, Offered, Range};
use crate::{Machine, console, dma, interrupts, mmio, paging};
use abi::boot_info::{BootInfo, MAGIC, VERSION};
use core::sync::atomic::{AtomicPtr, Ordering};

/// `hvm_start_info.magic`.
const PVH_MAGIC: u32 = 0x336E_C578;
/// The boot tables map memory below this address.
const BOOT_MAPPED: u64 = 1 << 30;
/// Longest command line that is kept, in bytes.
const CMDLINE_MAX: usize = 1024;
/// `hvm_memmap_table_entry.type` of RAM.
const TYPE_RAM: u32 = 1;

/// Where the parts of the running image are; filled by the linker, in the order of the boot code's table.
#[repr(C)]
#[derive(Debug)]
pub struct ImageLayout {
    pub(crate) text_start: u64,
    pub(crate) text_end: u64,
    pub(crate) rodata_end: u64,
    pub(crate) data_end: u64,
    pub(crate) image_end: u64,
    stack_tops: [u64; 4],
    main_stack_size: u64,
    side_stack_size: u64,
}

impl ImageLayout {
    /// The stacks: main, interrupts, exceptions, faults that leave no other stack. A guard page lies below each.
    pub(crate) fn stacks(&self) -> [Range; 4] {
        let [main, rest @ ..] = self.stack_tops;
        let side = |top| Range { start: top - self.side_stack_size, end: top };
        let [interrupt, exception, fault] = rest.map(side);
        [Range { start: main - self.main_stack_size, end: main }, interrupt, exception, fault]
    }
}

static LAYOUT: AtomicPtr<ImageLayout> = AtomicPtr::new(core::ptr::null_mut());

/// Whether `at` lies in the guard page below one of the stacks.
pub(crate) fn in_stack_guard(at: u64) -> bool {
    // SAFETY: the pointer is null or came from a `&'static ImageLayout`.
    let layout = unsafe { LAYOUT.load(Ordering::Relaxed).as_ref() };
    layout.is_some_and(|l| l.stacks().iter().any(|s| (s.start - ram::PAGE..s.start).contains(&at)))
}

/// Reads `N` bytes of physical memory below the end of the boot mapping.
fn peek<const N: usize>(at: u64) -> Option<[u8; N]> {
    if at == 0 || at.checked_add(N as u64)? > BOOT_MAPPED {
        return None;
    }
    let from = core::ptr::with_exposed_provenance::<[u8; N]>(usize::try_from(at).ok()?);
    // SAFETY: the boot tables map this address; bytes have no invalid value and no alignment. What is read
    // was put there by the loader and is not a Rust object.
    Some(unsafe { from.read_volatile() })
}

fn peek_u32(at: u64) -> Option<u32> {
    peek(at).map(u32::from_le_bytes)
}

fn peek_u64(at: u64) -> Option<u64> {
    peek(at).map(u64::from_le_bytes)
}

/// What the loader handed over.
pub(crate) struct Handover {
    offered: Offered,
    pub(crate) boot_info: Option<BootInfo>,
    /// Memory that outlives this domain.
    pub(crate) state: Option<Range>,
    /// The first module that is not the boot record.
    pub(crate) module: Option<Range>,
    pub(crate) cmdline: heapless::String<CMDLINE_MAX>,
    /// Where the record lies, to wipe the seed.
    record_at: Option<u64>,
}

impl Handover {
    /// Reads `hvm_start_info` (Xen public headers, arch-x86/hvm/start_info.h, version 1) and all it points to.
    fn read(start_info: u64) -> Result<Self, &'static str> {
        if peek_u32(start_info) != Some(PVH_MAGIC) {
            return Err("the loader left no PVH start record");
        }
        let field = |offset| peek_u64(start_info + offset).unwrap_or(0);
        if peek_u32(start_info + 4).unwrap_or(0) < 1 {
            return Err("the PVH start record has no memory map (version 0)");
        }
        let mut handover = Self {
            offered: Offered::default(),
            boot_info: None,
            state: None,
            module: None,
            cmdline: heapless::String::new(),
            record_at: None,
        };
        handover.read_memory_map(field(40), peek_u32(start_info + 48).unwrap_or(0));
        handover.read_modules(field(16), peek_u32(start_info + 12).unwrap_or(0))?;
        handover.read_cmdline(field(24));
        Ok(handover)
    }

    fn read_memory_map(&mut self, at: u64, entries: u32) {
        for entry in (0..u64::from(entries.min(64))).map(|i| at + 24 * i) {
            let (Some(start), Some(len)) = (peek_u64(entry), peek_u64(entry + 8)) else { return };
            if let (Some(TYPE_RAM), Some(range)) = (peek_u32(entry + 16), Range::new(start, len)) {
                // A 33rd range is left unused.
                let _ = self.offered.ram.push(range);
            }
        }
    }

    fn read_modules(&mut self, at: u64, count: u32) -> Result<(), &'static str> {
        for (i, module) in (0..u64::from(count.min(8))).map(|i| (i, at + 32 * i)) {
            let (Some(start), Some(len)) = (peek_u64(module), peek_u64(module + 8)) else { continue };
            let Some(range) = Range::new(start, len) else { continue };
            if i == 0 && peek_u64(start) == Some(MAGIC) {
                self.read_record(range)?;
            } else {
                self.module.get_or_insert(range);
            }
            self.offered.reserved.push(range).map_err(|_| "too many boot modules")?;
        }
        Ok(())
    }

    fn read_record(&mut self, range: Range) -> Result<(), &'static str> {
        const SIZE: usize = size_of::<BootInfo>();
        let bytes: [u8; SIZE] = peek(range.start).ok_or("the boot record lies above 1 GiB")?;
        // SAFETY: `BootInfo` is `repr(C)`, has no padding (its asserted offsets and size) and consists of
        // integers and byte arrays, for which every bit pattern is a value.
        let info: BootInfo = unsafe { core::mem::transmute(bytes) };
        if info.version != VERSION || (info.size as usize) < SIZE || range.len() < SIZE as u64 {
            return Err("the boot record is of another version");
        }
        self.offered.arena = Range::new(info.dma_base, info.dma_len);
        self.state = Range::new(info.state_base, info.state_len);
        if let Some(state) = self.state {
            self.offered.reserved.push(state).map_err(|_| "too many boot modules")?;
        }
        self.record_at = Some(range.start);
        self.boot_info = Some(info);
        Ok(())
    }

    fn read_cmdline(&mut self, at: u64) {
        if at == 0 {
            return;
        }
        for i in 0..CMDLINE_MAX as u64 {
            let Some([byte @ (b' '..=b'~')]) = peek::<1>(at + i) else { return };
            if self.cmdline.push(char::from(byte)).is_err() {
                return;
            }
        }
    }

    /// The bytes of the module, which stay for ever.
    pub(crate) fn module(&self) -> Option<&'static [u8]> {
        let range = self.module?;
        let start = core::ptr::with_exposed_provenance(ram::address(range.start));
        // SAFETY: the loader put the module there, in memory that the plan gives to nobody (it is reserved) and that
        // is mapped, for reading alone, since boot.
        Some(unsafe { core::slice::from_raw_parts(start, ram::address(range.len())) })
    }

    /// Overwrites the seed where the loader put it: our copy is the only one from here on.
    fn wipe_seed(&self) {
        let offset = core::mem::offset_of!(BootInfo, seed);
        if let Some(at) = self.record_at.and_then(|at| usize::try_from(at).ok()) {
            let seed = core::ptr::with_exposed_provenance_mut::<[u8; 64]>(at + offset);
            // SAFETY: the record was read at this place just now, through the boot tables, which allow
            // writing; it is no Rust object.
            unsafe { seed.write_volatile([0; 64]) };
        }
    }

    /// The value of `key=value` on the command line.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        option(&self.cmdline, key)
    }
}

/// The value of the last `key=value` word in `cmdline`.
#[must_use]
pub(crate) fn option<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// Starts everything and calls `main`.
///
/// # Safety
/// Called once, by the boot code, in long mode on the boot tables with interrupts off; `layout` describes
/// the running image.
pub unsafe fn start(start_info: u64, layout: &'static ImageLayout, heap: &Heap, main: fn(Machine) -> !) -> ! {
    LAYOUT.store(core::ptr::from_ref(layout).cast_mut(), Ordering::Relaxed);
    let entered = mmio::tsc();
    console::init();
    let handover = Handover::read(start_info).unwrap_or_else(|why| stop(format_args!("{why}")));
    handover.wipe_seed();
    console::start_log(handover.option("log"));
    log::debug!("entered at tick {entered}");
    let image = Range { start: layout.text_start, end: layout.image_end };
    let plan = ram::divide(&handover.offered, image)
        .unwrap_or_else(|why| stop(format_args!("memory cannot be divided: {why:?}")));
    // SAFETY: first and only call, as this function's own contract says.
    let tables = unsafe { paging::activate(layout, &plan, handover.state) };
    let mapped = tables.and_then(|()| handover.module.map_or(Ok(()), paging::map_constant));
    if let Err(why) = mapped {
        stop(format_args!("memory cannot be mapped: {why:?}"));
    }
    // SAFETY: first and only call; the stacks are mapped now.
    unsafe { interrupts::load_tables(layout) };
    // SAFETY: the plan gives this range to the heap alone, and it is mapped.
    if !unsafe { heap.provide(plan.heap) } {
        stop(format_args!("the heap is too small"));
    }
    log::debug!("heap {}, DMA arena {}", plan.heap, plan.arena);
    // SAFETY: the plan gives this range to devices alone, and it is mapped.
    unsafe { dma::provide(plan.arena) };
    main(Machine::start(&handover, plan.heap.len()))
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn the_last_word_with_the_key_counts() {
        let cmdline = "log=info ecam=0xe0000000 log=debug logs=x";
        assert_eq!(option(cmdline, "log"), Some("debug"));
        assert_eq!(option(cmdline, "ecam"), Some("0xe0000000"));
        assert_eq!(option(cmdline, "lo"), None);
        assert_eq!(option("", "log"), None);
    }
}
