//! The user's terminal: raw mode, its size, and what of a domain's output may reach it.

use rustix::fd::AsFd;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether a stream is a terminal.
pub(super) fn is_terminal(stream: impl AsFd) -> bool {
    isatty(stream)
}

/// Lines and columns of the terminal on standard input.
pub(super) fn size() -> bulkhead_agent::frame::Size {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok();
    size.map_or_else(Default::default, |s| bulkhead_agent::frame::Size { rows: s.ws_row, columns: s.ws_col })
}

/// The terminal in raw mode; as it was when dropped.
pub(super) struct Raw(Option<Termios>);

impl Raw {
    /// Sets raw mode, if standard input is a terminal.
    pub(super) fn enter() -> Self {
        let before = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Takes control characters out of what a domain printed, so that it cannot play tricks with the terminal.
#[derive(Default)]
pub(super) struct Filter {
    last: u8,
}

impl Filter {
    /// `bytes` with every control character but newline, return and tab replaced by `_`.
    pub(super) fn clean(&mut self, bytes: &[u8]) -> Vec<u8> {
        let clean = |&byte: &u8| {
            let c0 = byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t') || byte == 0x7f;
            // C1 controls in UTF-8 are 0xC2 0x80 to 0xC2 0x9F; a bare one is no UTF-8 at all.
            let c1 = (0x80..=0x9f).contains(&byte) && (self.last == 0xc2 || self.last < 0x80);
            self.last = byte;
            if c0 || c1 { b'_' } else { byte }
        };
        bytes.iter().map(clean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_taken_out_and_text_stays() {
        let mut filter = Filter::default();
        assert_eq!(filter.clean(b"a\x1b[2Jb\r\n\tc\x07"), b"a_[2Jb\r\n\tc_");
        assert_eq!(filter.clean("größe €".as_bytes()), "größe €".as_bytes());
        assert_eq!(filter.clean(b"\xc2"), b"\xc2");
        assert_eq!(filter.clean(b"\x9b31m"), b"_31m", "a control cut in two");
    }
}
