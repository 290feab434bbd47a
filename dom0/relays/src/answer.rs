//! What stands on standard output: one line when nothing is believed, else lines up to `end`.
//!
//! ```text
//! verified                                  or: bootstrap                   or: refused REASON…
//! valid-after 1750000000                    authority 27102BC1…
//! fresh-until 1750003600
//! valid-until 1750010800
//! relay 192.0.2.1:9001                      relay 192.0.2.1:9001
//! relay6 [2001:db8::1]:9001                 relay6 [2001:db8::1]:9001
//! end 2                                     end 2
//! ```
//!
//! `end` counts the relays' lines; an answer without it is none. Exit codes: 0 with relays, [`REFUSED`] with a reason,
//! [`NO_JAIL`] when nothing was even read.

use crate::{Refusal, bootstrap::Bootstrap, verify::Verified};
use std::io::{self, Write};
use std::net::SocketAddr;

/// Exit code when there is a reason on standard output.
pub const REFUSED: u8 = 3;
/// Exit code when the jail cannot be had, or the words of the command line are wrong.
pub const NO_JAIL: u8 = 2;
/// Relays' addresses at most.
pub const MAX_RELAYS: usize = 40_000;

/// Writes what was verified.
///
/// # Errors
/// Those of `to`.
pub fn verified(to: &mut impl Write, verified: &Verified) -> io::Result<()> {
    writeln!(to, "verified")?;
    writeln!(to, "valid-after {}", verified.valid_after)?;
    writeln!(to, "fresh-until {}", verified.fresh_until)?;
    writeln!(to, "valid-until {}", verified.valid_until)?;
    relays(to, verified.relays.iter())
}

/// Writes what the public network's clients begin with.
///
/// # Errors
/// Those of `to`.
pub fn bootstrap(to: &mut impl Write, bootstrap: &Bootstrap) -> io::Result<()> {
    writeln!(to, "bootstrap")?;
    for authority in &bootstrap.authorities {
        writeln!(to, "authority {}", authority.as_hex_upper())?;
    }
    relays(to, bootstrap.fallbacks.iter())
}

/// Writes why there is no answer.
///
/// # Errors
/// Those of `to`.
pub fn refused(to: &mut impl Write, refusal: &Refusal) -> io::Result<()> {
    // Words of a document may stand in a reason; it stays one line of plain characters and bounded.
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let reason: String = refusal.to_string().chars().take(200).map(plain).collect();
    writeln!(to, "refused {reason}")?;
    to.flush()
}

fn relays<'r>(to: &mut impl Write, relays: impl Iterator<Item = &'r SocketAddr>) -> io::Result<()> {
    let mut count = 0;
    for relay in relays {
        let word = if relay.is_ipv4() { "relay" } else { "relay6" };
        writeln!(to, "{word} {relay}")?;
        count += 1;
    }
    writeln!(to, "end {count}")?;
    to.flush()
}
