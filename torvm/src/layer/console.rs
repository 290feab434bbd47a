//! What the program writes to standard output and error: lines for the log, bounded in length and number.

use crate::time::Now;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest line; what is longer is cut into several.
const LONGEST: usize = 512;
/// Lines a second, on average.
const LINES_PER_SECOND: u64 = 50;
/// Lines at once.
const BURST: u64 = 400;
const LINE_US: u64 = 1_000_000 / LINES_PER_SECOND;

/// Collects lines.
#[derive(Debug, Default)]
pub struct Console {
    line: Vec<u8>,
    /// When all lines that were written so far would have been due at the average rate.
    due_us: u64,
    unwritten: u32,
}

impl Console {
    /// Takes bytes.
    pub fn write(&mut self, bytes: &[u8], now: Now) {
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= LONGEST {
                self.flush(now);
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
    }

    /// Writes the line that has not ended yet.
    pub fn flush(&mut self, now: Now) {
        let line = core::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        let due_us = self.due_us.max(now.us);
        if due_us.saturating_sub(BURST * LINE_US) > now.us {
            self.unwritten = self.unwritten.saturating_add(1);
            return;
        }
        self.due_us = due_us.saturating_add(LINE_US);
        let unwritten = core::mem::take(&mut self.unwritten);
        if unwritten > 0 {
            log::warn!(target: "gateway", "{unwritten} lines were too many");
        }
        log::info!(target: "gateway", "{}", printable(&line));
    }
}

/// The line without anything that a terminal would obey.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Now {
        Now { us, wall_ns: 0 }
    }

    #[test]
    fn too_many_lines_are_counted_and_come_back_with_time() {
        let mut console = Console::default();
        let start = 0;
        (0..BURST + 10).for_each(|_| console.write(b"x\n", at(start)));
        assert_eq!(console.unwritten, 9, "one more than the burst, then no more");
        console.write(b"x\n", at(start + LINE_US));
        assert_eq!(console.unwritten, 0);
    }

    #[test]
    fn a_line_is_bounded_and_harmless() {
        let mut console = Console::default();
        console.write(&[b'x'; 5 * LONGEST], at(0));
        assert!(console.line.len() <= LONGEST);
        assert_eq!(printable(b"a\x1b[2J\xFFb"), "a\u{FFFD}[2J\u{FFFD}b");
    }
}
