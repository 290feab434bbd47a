//! The end of a domain: say why, tell the monitor, stop.

use crate::console;
use crate::mmio::Ports;
use abi::memory_map::EXIT_PANIC;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// Exit code of an image that could not start: some part of the machine that it needs is missing.
pub const EXIT_SETUP: u32 = 2;

/// Reports a panic and ends the domain with [`EXIT_PANIC`].
pub fn report(info: &PanicInfo<'_>) -> ! {
    die(format_args!("{info}"))
}

/// Reports a fault that cannot be survived and ends the domain with [`EXIT_PANIC`].
pub(crate) fn die(what: fmt::Arguments<'_>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    crate::interrupts::disable();
    // A panic while panicking says no more.
    if !DYING.swap(true, Ordering::Relaxed) {
        console::line(format_args!("PANIC: {what}"));
    }
    exit(EXIT_PANIC)
}

/// Reports that the domain cannot start, and ends it with [`EXIT_SETUP`]: for errors of the set-up, which are
/// the operator's to mend.
pub fn stop(why: fmt::Arguments<'_>) -> ! {
    console::line(format_args!("STOP: {why}"));
    exit(EXIT_SETUP)
}

/// Ends the domain with `code`. Where no monitor listens at the exit port, the processor is reset.
pub fn exit(code: u32) -> ! {
    Ports::EXIT.write32(0, code);
    crate::interrupts::reset_processor()
}
