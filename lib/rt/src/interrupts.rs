//! Interrupts and exceptions: descriptor tables, entry code, the local APIC.
//!
//! Every handler runs on a stack of its own (IST): `core` and `alloc` are compiled with a red zone below the
//! stack pointer, which an interrupt on the same stack would overwrite.

mod apic;
mod entry;

pub(crate) use apic::Lapic;

use crate::boot::ImageLayout;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use embassy_sync::waitqueue::AtomicWaker;
use entry::Frame;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

/// First vector for devices.
const DEVICE_FIRST: u8 = 0x40;
/// Vectors for devices.
const DEVICE_COUNT: usize = 64;
/// Vector of the timer.
pub(crate) const TIMER: u8 = 0x30;
/// Vector of the APIC's spurious interrupt; needs no acknowledgement.
pub(crate) const SPURIOUS: u8 = 0xFF;

/// Debug exception. The runtime never asks for one; in ring 0 it is a program's, delayed by `mov ss` until behind its
/// SYSCALL, and means nothing.
const DEBUG: u8 = 1;
/// RFLAGS.TF: a debug exception after every instruction.
const TRAP_FLAG: u64 = 1 << 8;
/// Page fault.
pub(crate) const PAGE_FAULT: u8 = 14;

/// Stack numbers (IST index, counted from zero).
const IST_INTERRUPT: u16 = 0;
const IST_EXCEPTION: u16 = 1;
const IST_FAULT: u16 = 2;

/// Set by every interrupt, cleared by the run loop before it looks for work.
static WOKEN: AtomicBool = AtomicBool::new(false);
/// One bit per device vector: it fired since it was last taken.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// One bit per device vector: it belongs to somebody.
static TAKEN: AtomicU64 = AtomicU64::new(0);
static WAKERS: [AtomicWaker; DEVICE_COUNT] = [const { AtomicWaker::new() }; DEVICE_COUNT];

/// Turns interrupts off; returns whether they were on.
#[inline]
pub fn disable() -> bool {
    let were_on = x86_64::instructions::interrupts::are_enabled();
    x86_64::instructions::interrupts::disable();
    were_on
}

/// Turns interrupts on if `were_on`.
#[inline]
pub fn restore(were_on: bool) {
    if were_on {
        x86_64::instructions::interrupts::enable();
    }
}

/// Marks that there may be work, so that the run loop looks once more before it sleeps.
pub fn wake() {
    WOKEN.store(true, Ordering::Release);
}

/// Forgets earlier wake-ups; the caller is about to look at everything. [`run`](crate::run) does so before each step.
pub fn forget_wakeups() {
    // A read-modify-write with both orderings: the compiler must not move a look in front of it.
    WOKEN.swap(false, Ordering::AcqRel);
}

/// Whether there was a wake-up since [`forget_wakeups`].
pub(crate) fn woken() -> bool {
    WOKEN.load(Ordering::Acquire)
}

/// Sleeps until an interrupt, unless one came since [`forget_wakeups`].
pub(crate) fn sleep() {
    x86_64::instructions::interrupts::disable();
    if woken() {
        x86_64::instructions::interrupts::enable();
    } else {
        entry::enable_and_halt();
    }
}

/// Loads an empty interrupt table and faults: the processor resets. Used when nobody took the exit code.
pub(crate) fn reset_processor() -> ! {
    x86_64::instructions::interrupts::disable();
    let nothing = x86_64::structures::DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
    // SAFETY: this ends the machine; nothing runs afterwards.
    unsafe {
        x86_64::instructions::tables::lidt(&nothing);
        core::arch::asm!("ud2", options(noreturn));
    }
}

/// Loads the descriptor tables. From here on a fault prints what happened instead of resetting.
///
/// # Safety
/// Called once, at boot; the stacks of `layout` are mapped and used by nothing else.
pub(crate) unsafe fn load_tables(layout: &ImageLayout) {
    static mut TSS: TaskStateSegment = TaskStateSegment::new();
    static mut GDT: GlobalDescriptorTable = GlobalDescriptorTable::empty();
    static mut IDT: InterruptDescriptorTable = InterruptDescriptorTable::new();
    let (tss, gdt, idt) = (&raw mut TSS, &raw mut GDT, &raw mut IDT);
    // SAFETY: called once, so these are the only references, for ever.
    let (tss, gdt, idt) = unsafe { (&mut *tss, &mut *gdt, &mut *idt) };
    let [_, interrupt, exception, fault] = layout.stacks();
    for (ist, stack) in [(IST_INTERRUPT, interrupt), (IST_EXCEPTION, exception), (IST_FAULT, fault)] {
        tss.interrupt_stack_table[usize::from(ist)] = VirtAddr::new(stack.end);
    }
    // In this order: `user::processor` names the places.
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    gdt.append(Descriptor::user_data_segment());
    gdt.append(Descriptor::user_code_segment());
    let code = x86_64::structures::gdt::SegmentSelector::new(1, x86_64::PrivilegeLevel::Ring0);
    let task = gdt.append(Descriptor::tss_segment(tss));
    gdt.load();
    // SAFETY: both selectors are of the table just loaded.
    unsafe {
        CS::set_reg(code);
        load_tss(task);
    }
    fill(idt);
    idt.load();
    mask_legacy_controllers();
}

/// Points every vector at its entry code, each on the stack for its kind.
fn fill(idt: &mut InterruptDescriptorTable) {
    /// One 16-byte gate (Intel SDM vol. 3A §6.14.1).
    fn gate(vector: u8) -> [u64; 2] {
        let ist = match vector {
            2 | 8 | 18 => IST_FAULT,
            0..=31 => IST_EXCEPTION,
            _ => IST_INTERRUPT,
        };
        let at = entry::address(vector);
        // Present, interrupt gate (interrupts off), ring 0, code selector 8.
        let low = (at & 0xFFFF) | (8 << 16) | (u64::from(ist + 1) << 32) | (0x8E << 40);
        [low | ((at >> 16 & 0xFFFF) << 48), at >> 32]
    }
    let table: *mut InterruptDescriptorTable = idt;
    let gates = table.cast::<[u64; 2]>();
    for vector in 0..=255u8 {
        // SAFETY: the table is 256 gates of 16 bytes, and `idt` is borrowed mutably.
        unsafe { gates.add(usize::from(vector)).write(gate(vector)) };
    }
}

/// Masks the two 8259s, which firmware may have left set up.
fn mask_legacy_controllers() {
    crate::mmio::Ports::PIC1_MASK.write8(0, 0xFF);
    crate::mmio::Ports::PIC2_MASK.write8(0, 0xFF);
}

/// Called by the entry code for every exception and interrupt.
fn dispatch(vector: u8, frame: &mut Frame) {
    match vector {
        DEBUG => frame.rflags &= !TRAP_FLAG,
        0..=31 => exception(vector, frame),
        _ => interrupt(vector),
    }
}

/// What an interrupt, or an exception that is not the program's fault, means when it came in ring 3, where it left
/// `mark`: nothing to the program (`None`), or the number of the fault that it made.
pub(crate) fn from_program(mark: u64, rip: u64) -> Option<u8> {
    match entry::vector(mark) {
        vector @ (2 | 8 | 18) => {
            crate::panic::die(format_args!("{} (vector {vector}) in the program at {rip:#x}", name(vector)))
        }
        vector @ 0..=31 => Some(vector),
        vector => {
            interrupt(vector);
            None
        }
    }
}

/// Notes and acknowledges the interrupt `vector` (32 or above).
fn interrupt(vector: u8) {
    match vector {
        SPURIOUS => {}
        _ => {
            if vector == TIMER {
                crate::timer::alarm_fired();
            } else if let Some(bit) = device_bit(vector) {
                PENDING.fetch_or(1 << bit, Ordering::Release);
                WAKERS[bit].wake();
            }
            wake();
            Lapic::acknowledge();
        }
    }
}

fn device_bit(vector: u8) -> Option<usize> {
    vector.checked_sub(DEVICE_FIRST).map(usize::from).filter(|&bit| bit < DEVICE_COUNT)
}

fn name(vector: u8) -> &'static str {
    match vector {
        0 => "division error",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        6 => "invalid opcode",
        8 => "double fault",
        13 => "general protection fault",
        16 | 19 => "floating-point error",
        18 => "machine check",
        _ => "exception",
    }
}

/// Names the fault and ends the domain.
fn exception(vector: u8, frame: &Frame) -> ! {
    let name = if vector == PAGE_FAULT { page_fault(frame) } else { name(vector) };
    crate::panic::die(format_args!("{name} (vector {vector}, error {:#x}) at {:#x}", frame.error, frame.rip))
}

fn page_fault(frame: &Frame) -> ! {
    let at = x86_64::registers::control::Cr2::read_raw();
    let what = match (frame.error & 0x12, crate::paging::access_at(at)) {
        (_, None) if crate::boot::in_stack_guard(at) => "stack overflow: access to a guard page",
        (_, None) if at < crate::ram::PAGE => "access through a null pointer",
        (_, None) => "access to unmapped memory",
        (2, _) => "write to read-only memory",
        (_, Some(_)) => "execution of data",
    };
    crate::panic::die(format_args!(
        "{what} (page fault at address {at:#x}, error {:#x}) at {:#x}",
        frame.error, frame.rip
    ))
}

/// The message with which a device raises `interrupt` on this processor.
pub(crate) fn message(interrupt: &Interrupt) -> crate::pci::Message {
    crate::pci::Message::new(Lapic::number(), interrupt.vector())
}

/// One interrupt vector, owned. Given to a device as an MSI-X message.
#[derive(Debug)]
pub struct Interrupt {
    bit: u8,
}

impl Interrupt {
    /// Takes a free vector; `None` when all are in use.
    #[must_use]
    pub fn take() -> Option<Self> {
        let before = TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken != u64::MAX).then(|| taken | (taken + 1))
            })
            .ok()?;
        Some(Self { bit: u8::try_from(before.trailing_ones()).ok()? })
    }

    /// The vector number.
    #[must_use]
    pub fn vector(&self) -> u8 {
        DEVICE_FIRST + self.bit
    }

    /// Whether the interrupt fired since the last call.
    pub fn fired(&self) -> bool {
        let mask = 1 << self.bit;
        PENDING.fetch_and(!mask, Ordering::Acquire) & mask != 0
    }

    /// Wakes `waker` when the interrupt fires; replaces an earlier one.
    pub fn register(&self, waker: &core::task::Waker) {
        WAKERS[usize::from(self.bit)].register(waker);
    }

    /// Waits until the interrupt fires.
    pub async fn wait(&self) {
        core::future::poll_fn(|context| {
            self.register(context.waker());
            if self.fired() { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
        })
        .await;
    }
}
