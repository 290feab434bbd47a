//! Text out: the first serial port, and `log` on top of it.
//!
//! Waits a bounded time for each byte, so a console that nobody drains delays the domain and never stops it.

use crate::mmio::Ports;
use crate::timer::Clock;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

/// Polls of the status register per byte before the byte is dropped.
const PATIENCE: u32 = 20_000;
/// Bytes per message; the rest of a longer one is cut.
const LINE_MAX: usize = 400;

static PRESENT: AtomicBool = AtomicBool::new(false);

/// Looks for the port and sets 115200 baud, 8N1, FIFOs on, no interrupts.
pub(crate) fn init() {
    let uart = Ports::COM1;
    // The scratch register keeps what is written; where nothing answers, reads give all ones.
    uart.write8(7, 0x5A);
    let present = uart.read8(7) == 0x5A && uart.read8(5) != 0xFF;
    PRESENT.store(present, Ordering::Relaxed);
    if present {
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
            uart.write8(register, value);
        }
    }
}

fn put(byte: u8) {
    let uart = Ports::COM1;
    for _ in 0..PATIENCE {
        if uart.read8(5) & 0x20 != 0 {
            uart.write8(0, byte);
            return;
        }
    }
}

/// The console as a sink for formatted text.
#[derive(Debug)]
pub(crate) struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if PRESENT.load(Ordering::Relaxed) {
            for byte in text.bytes() {
                if byte == b'\n' {
                    put(b'\r');
                }
                put(byte);
            }
        }
        Ok(())
    }
}

/// Cuts a message that is longer than [`LINE_MAX`] and replaces control characters, so that one message is
/// one line whatever was formatted into it.
struct Line {
    left: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut utf8 = [0; 4];
        for c in text.chars() {
            let shown = if c.is_control() { ' ' } else { c };
            self.left = self.left.checked_sub(shown.len_utf8()).ok_or(fmt::Error)?;
            Console.write_str(shown.encode_utf8(&mut utf8))?;
        }
        Ok(())
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, message: &log::Metadata<'_>) -> bool {
        // The virtio crate tells at `info` what only somebody who debugs it wants to know.
        message.level() <= log::Level::Warn
            || log::max_level() >= log::LevelFilter::Debug
            || !message.target().starts_with("virtio_drivers")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, target, said) = (record.level(), record.target(), record.args());
        if log::max_level() >= log::LevelFilter::Debug {
            // Who looks so closely wants to know when.
            line(format_args!("{:>10} {level:5} {target}: {said}", Clock.us()));
        } else {
            line(format_args!("{level:5} {target}: {said}"));
        }
    }

    fn flush(&self) {}
}

/// Writes one line.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    // An error only says that the message was cut.
    let cut = Line { left: LINE_MAX }.write_fmt(text).is_err();
    let end = if cut { " …\n" } else { "\n" };
    // `Console` never fails.
    let _ = Console.write_str(end);
}

/// Makes `log` write here; `level` is the word after `log=` on the command line, `info` if there is none.
pub(crate) fn start_log(level: Option<&str>) {
    static LOGGER: Logger = Logger;
    let level = level.and_then(|word| word.parse().ok()).unwrap_or(log::LevelFilter::Info);
    // Fails only if a logger is set already, and then that one stays.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}
