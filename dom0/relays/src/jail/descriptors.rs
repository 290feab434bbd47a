//! No descriptor but the three standard ones. `unsafe` is allowed in this file alone.
#![expect(unsafe_code, reason = "descriptors are closed that nobody here owns")]

use std::io;

/// Closes every descriptor from 3 on.
pub(super) fn close_others() -> io::Result<()> {
    // SAFETY: called before anything in this process was opened, so that no owned descriptor is closed.
    let outcome = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
