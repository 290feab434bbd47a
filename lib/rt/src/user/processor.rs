//! What the processor must be told before a program runs: where calls go, what is closed to ring 3.

use crate::mmio::Model;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// How the state of the floating-point and vector units is saved: FXSAVE, XSAVE or XSAVEOPT.
pub(super) static EXTENDED: AtomicU8 = AtomicU8::new(FXSAVE);
const FXSAVE: u8 = 0;
const XSAVE: u8 = 1;
const XSAVEOPT: u8 = 2;

/// The parts of XCR0 that programs have: x87, SSE, AVX.
pub(super) const STATE_PARTS: u32 = 0b111;
/// Bytes of these in the standard format (Intel SDM vol. 1 §13.4): legacy area, header, upper halves.
pub(super) const STATE_LEN: usize = 512 + 64 + 256;

/// Selectors, as `interrupts` lays out the table: SYSCALL wants ring 0's data behind its code, SYSRET wants ring 3's
/// code behind its data.
const SYSCALL_BASE: u64 = 0x08;
const SYSRET_BASE: u64 = 0x10;
pub(super) const USER_DATA: u64 = 0x18 | 3;
pub(super) const USER_CODE: u64 = 0x20 | 3;

/// Flags that SYSCALL clears: all that a program can set.
const CLEARED: u64 = 0x0027_7FD5;

/// Prepares the processor for programs, whose calls go to `entry`. Does nothing after the first time.
pub(super) fn start(entry: u64) {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let cpuid = raw_cpuid::CpuId::new();
    let mut flags = Cr4Flags::empty();
    if let Some(features) = cpuid.get_extended_feature_info() {
        flags.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.has_smep());
        flags.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.has_smap());
        flags.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.has_umip());
    }
    let vectors = cpuid.get_feature_info().is_some_and(|f| f.has_xsave() && f.has_avx());
    flags.set(Cr4Flags::OSXSAVE, vectors);
    // SAFETY: CPUID offers each of these. None changes what ring 0 does: the runtime never reads, writes or executes
    // memory of ring 3 by its address.
    unsafe { Cr4::update(|cr4| cr4.insert(flags)) };
    if vectors {
        // SAFETY: CPUID offers XSAVE and AVX, and CR4 allows it since just now.
        unsafe { XCr0::write(XCr0Flags::X87 | XCr0Flags::SSE | XCr0Flags::AVX) };
        let optimised = cpuid.get_extended_state_info().is_some_and(|state| state.has_xsaveopt());
        EXTENDED.store(if optimised { XSAVEOPT } else { XSAVE }, Ordering::Relaxed);
    }
    // SAFETY: these registers exist on every x86-64. `entry` is the code for calls; the selectors are of the table
    // that `interrupts` loaded; SYSENTER with selector 0 faults.
    unsafe {
        Model::Star.write(SYSRET_BASE << 48 | SYSCALL_BASE << 32);
        Model::LStar.write(entry);
        Model::SFMask.write(CLEARED);
        Model::SysenterCs.write(0);
        Efer::update(|efer| efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS));
    }
    log::debug!("user mode: {flags:?}");
}

/// Gives the next program a clean set of segment registers, and its base of FS.
pub(super) fn load_segments(fs_base: u64) {
    // SAFETY: null selectors are allowed in these registers; ring 0 uses none of them, nor a local table. The bases
    // are canonical: `Context` holds no other.
    unsafe {
        core::arch::asm!(
            "mov ds, {zero:e}", "mov es, {zero:e}", "mov fs, {zero:e}", "mov gs, {zero:e}", "lldt {zero:x}",
            zero = in(reg) 0, options(nostack, preserves_flags),
        );
        Model::FsBase.write(fs_base);
        Model::GsBase.write(0);
    }
}

/// Sets the base of FS for the program that ran last.
pub(super) fn set_fs_base(fs_base: u64) {
    // SAFETY: ring 0 does not use FS; the base is canonical: `Context` holds no other.
    unsafe { Model::FsBase.write(fs_base) }
}
