//! Accesses that the runtime must stop.

use core::hint::black_box;
use core::ptr;

fn not_stopped(what: impl core::fmt::Display) -> ! {
    log::error!("NOT STOPPED {what}");
    rt::exit(1)
}

/// Reads through a null pointer.
pub(crate) fn read_null() -> ! {
    let null = black_box(ptr::without_provenance::<u64>(8));
    // SAFETY: none; the fault is the point.
    not_stopped(unsafe { null.read_volatile() })
}

/// Reads at `at`, memory of a program.
pub(crate) fn read(at: u64) -> ! {
    let there = black_box(ptr::with_exposed_provenance::<u64>(address(at)));
    // SAFETY: none; the fault is the point.
    not_stopped(unsafe { there.read_volatile() })
}

/// Runs the code at `at`, memory of a program.
pub(crate) fn run(at: u64) -> ! {
    // SAFETY: none; the fault is the point.
    let code: extern "C" fn() = unsafe { core::mem::transmute(black_box(address(at))) };
    code();
    not_stopped(0)
}

#[expect(clippy::cast_possible_truncation, reason = "images are built for 64-bit processors alone")]
fn address(at: u64) -> usize {
    at as usize
}

/// Writes through a null pointer.
pub(crate) fn write_null() -> ! {
    let null = black_box(ptr::without_provenance_mut::<u64>(8));
    // SAFETY: none; the fault is the point.
    unsafe { null.write_volatile(1) };
    not_stopped(0)
}

/// Writes to its own code.
pub(crate) fn write_code() -> ! {
    let code = write_code as *const () as *mut u8;
    // SAFETY: none; the fault is the point.
    unsafe { black_box(code).write_volatile(0xC3) };
    not_stopped(0)
}

/// Writes to a constant.
pub(crate) fn write_constant() -> ! {
    static CONSTANT: [u64; 4] = [1, 2, 3, 4];
    let constant = (&raw const CONSTANT).cast_mut().cast::<u64>();
    // SAFETY: none; the fault is the point.
    unsafe { black_box(constant).write_volatile(0) };
    not_stopped(0)
}

/// Runs bytes on the stack as code.
pub(crate) fn run_data() -> ! {
    let bytes = black_box([0xC3u8; 16]);
    // SAFETY: none; the fault is the point.
    let code: extern "C" fn() = unsafe { core::mem::transmute(bytes.as_ptr()) };
    code();
    not_stopped(0)
}

/// Calls itself until the stack is used up.
pub(crate) fn overflow_stack() -> ! {
    #[expect(unconditional_recursion, reason = "the overflow is the point")]
    fn deeper(n: usize) -> usize {
        let frame = black_box([n; 64]);
        deeper(n + 1) + black_box(frame)[n % 64]
    }
    not_stopped(deeper(0))
}

/// Divides by zero in a way that the compiler does not see.
pub(crate) fn divide(n: usize) -> ! {
    let quotient: usize;
    // SAFETY: none; the fault is the point.
    unsafe {
        core::arch::asm!("div {zero}", zero = in(reg) 0usize, inout("rax") n => quotient, inout("rdx") 0usize => _);
    }
    not_stopped(quotient)
}
