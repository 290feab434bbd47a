//! The live page tables: W^X for the image, guard pages below the stacks, nothing at address zero.
//!
//! Only what is used is mapped: the image, RAM beside it, boot data below 1 MiB (read-only), and device
//! registers one block at a time. What an entry means is in [`table`].

pub mod table;

use crate::boot::ImageLayout;
use crate::ram::{PAGE, Plan, Range, address};
use crate::user;
use alloc::alloc::{Layout, alloc_zeroed};
use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use critical_section::Mutex;
use table::{Access, MapError, Tables};
use x86_64::PhysAddr;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

/// Table pages that exist before there is a heap.
const FIRST_PAGES: usize = 12;

#[repr(C, align(4096))]
struct Page([u64; 512]);

/// Tables in identity-mapped memory: the first ones in the image, later ones from the heap.
struct Live {
    root: u64,
    first_left: usize,
}

static LIVE: Mutex<RefCell<Option<Live>>> = Mutex::new(RefCell::new(None));

impl Tables for Live {
    fn take(&mut self) -> Option<u64> {
        if let Some(left) = self.first_left.checked_sub(1) {
            self.first_left = left;
            // The pages were handed to this type whole; `root` is the address of the first.
            return Some(self.root + PAGE * (FIRST_PAGES - 1 - left) as u64);
        }
        // SAFETY: the layout is not empty. Null (no memory) becomes `None`.
        let page = unsafe { alloc_zeroed(Layout::new::<Page>()) };
        (!page.is_null()).then(|| page.expose_provenance() as u64)
    }

    fn get(&self, table: u64, index: usize) -> u64 {
        // SAFETY: see `entry`.
        unsafe { entry(table, index).read_volatile() }
    }

    fn set(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: see `entry`; `&mut self` is the only writer.
        unsafe { entry(table, index).write_volatile(value) }
    }
}

/// The place of entry `index` of the table at `table`.
fn entry(table: u64, index: usize) -> *mut u64 {
    // Every `table` came out of `take`, whose pages are mapped one to one and never given back.
    core::ptr::with_exposed_provenance_mut::<u64>(address(table)).wrapping_add(index & 511)
}

/// Builds the tables for the image, its memory and the surviving `state`, and switches to them.
///
/// # Errors
/// [`MapError`] when the memory map is not made of whole pages; the boot tables stay in force.
///
/// # Safety
/// Called once, at boot, on the boot code's tables; `layout` and `plan` describe the running image.
pub(crate) unsafe fn activate(
    layout: &ImageLayout,
    plan: &Plan,
    state: Option<Range>,
) -> Result<(), MapError> {
    static mut PAGES: [Page; FIRST_PAGES] = [const { Page([0; 512]) }; FIRST_PAGES];
    // Reached through `entry` alone from here on; this function runs once.
    let root = (&raw mut PAGES).expose_provenance() as u64;
    let mut live = Live { root, first_left: FIRST_PAGES - 1 };
    map_image(&mut live, layout, plan)?;
    if let Some(state) = state {
        table::map(&mut live, root, state.outer_pages(), Access::Write)?;
    }
    // SAFETY: the new tables map the running code, its data and its stack to the same addresses with at
    // least the rights that they need.
    unsafe { Cr3::write(PhysFrame::containing_address(PhysAddr::new(root)), Cr3Flags::empty()) };
    critical_section::with(|cs| {
        LIVE.borrow(cs).replace(Some(live));
    });
    Ok(())
}

/// The fixed part: code, constants, data, guards, RAM, boot data.
fn map_image(live: &mut Live, layout: &ImageLayout, plan: &Plan) -> Result<(), MapError> {
    let root = live.root;
    let [text, constants] = [layout.text_end, layout.rodata_end];
    // Boot data below 1 MiB stays readable; page zero is nowhere.
    table::map(live, root, Range { start: PAGE, end: 0xA_0000 }, Access::Read)?;
    table::map(live, root, Range { start: plan.main.start, end: text }, Access::Execute)?;
    table::map(live, root, Range { start: text, end: constants }, Access::Read)?;
    table::map(live, root, Range { start: constants, end: plan.main.end }, Access::Write)?;
    table::map(live, root, plan.arena, Access::Write)?;
    for stack in layout.stacks() {
        table::unmap(live, root, Range { start: stack.start - PAGE, end: stack.start })?;
    }
    Ok(())
}

/// Maps device registers, uncached.
///
/// # Errors
/// [`MapError`] when there is no memory for a table, or the range is absurd.
pub(crate) fn map_registers(range: Range) -> Result<(), MapError> {
    change(range, Access::Registers)
}

/// Maps memory that a device offers (a link's windows), cached as memory is.
///
/// # Errors
/// As [`map_registers`].
pub(crate) fn map_memory(range: Range) -> Result<(), MapError> {
    change(range, Access::Write)
}

/// Maps memory whose content does not change (a boot module), for reading.
///
/// # Errors
/// As [`map_registers`].
pub(crate) fn map_constant(range: Range) -> Result<(), MapError> {
    change(range, Access::Read)
}

fn change(range: Range, access: Access) -> Result<(), MapError> {
    // What lies above belongs to programs.
    if range.end > user::FIRST {
        return Err(MapError::BadRange);
    }
    critical_section::with(|cs| {
        let mut live = LIVE.borrow_ref_mut(cs);
        let live = live.as_mut().ok_or(MapError::NoTable)?;
        let root = live.root;
        table::map(live, root, range.outer_pages(), access)?;
        x86_64::instructions::tlb::flush_all();
        Ok(())
    })
}

/// What the page at `at` allows, for fault messages.
pub(crate) fn access_at(at: u64) -> Option<Access> {
    critical_section::with(|cs| {
        // A fault while the tables are being changed finds them borrowed, and says nothing.
        let live = LIVE.borrow(cs).try_borrow().ok()?;
        live.as_ref().and_then(|live| table::look_up(live, live.root, at))
    })
}

/// The slots of the live top table that belong to programs: 1..=255. There is one, and it is taken whole.
#[derive(Debug)]
pub(crate) struct UserHalf {
    root: u64,
}

static USER_HALF_TAKEN: AtomicBool = AtomicBool::new(false);

impl UserHalf {
    /// Takes it; `None` when it is taken, or boot has not made tables.
    pub(crate) fn take() -> Option<Self> {
        let root = critical_section::with(|cs| LIVE.borrow_ref(cs).as_ref().map(|live| live.root))?;
        (!USER_HALF_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self { root })
    }

    fn slot(&self, slot: usize) -> Option<*mut u64> {
        (1..=255).contains(&slot).then(|| entry(self.root, slot))
    }
}

impl Drop for UserHalf {
    fn drop(&mut self) {
        USER_HALF_TAKEN.store(false, Ordering::Relaxed);
    }
}

impl user::Top for UserHalf {
    fn get(&self, slot: usize) -> u64 {
        // SAFETY: an entry of the live top table, which is never given back.
        self.slot(slot).map_or(0, |at| unsafe { at.read_volatile() })
    }

    fn set(&mut self, slot: usize, entry: u64) {
        if let Some(at) = self.slot(slot) {
            // SAFETY: as in `get`; what lies in these slots is used by nothing of the runtime, which refuses to map
            // there, and `&mut` of the only owner is the only writer.
            unsafe { at.write_volatile(entry) }
        }
    }

    fn forget(&mut self, range: Range) {
        /// Above this many pages it is quicker to forget everything.
        const FEW: u64 = 32;
        if range.len() / PAGE > FEW {
            return x86_64::instructions::tlb::flush_all();
        }
        for page in 0..range.len() / PAGE {
            x86_64::instructions::tlb::flush(x86_64::VirtAddr::new_truncate(range.start + page * PAGE));
        }
    }
}
