//! Bytes as people read them.

use std::fmt;

/// Writes sixteen bytes a line: offset, hexadecimal, text.
pub(super) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for (line, row) in bytes.chunks(16).enumerate() {
        write!(f, "    {:04x} ", line * 16)?;
        for byte in row {
            write!(f, " {byte:02x}")?;
        }
        let text: String =
            row.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
        writeln!(f, "{:width$}  {text}", "", width = (16 - row.len()) * 3)?;
    }
    Ok(())
}
