//! The two things that safe Rust has no words for.
#![expect(unsafe_code, reason = "the only place; each block says why it is sound")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rusqlite::ffi;

/// Makes databases live in memory, under the names that their files would have.
///
/// arti keeps its directory cache in SQLite. It can be fetched again at any time, and torvm's files are in memory
/// anyway; without files there are no journals, locks and flushes.
///
/// # Errors
/// When this build of SQLite has no such databases.
pub fn keep_databases_in_memory() -> Result<(), String> {
    // SAFETY: The name is a terminated string; SQLite answers with a pointer to a static object or with null.
    let vfs = unsafe { ffi::sqlite3_vfs_find(c"memdb".as_ptr()) };
    if vfs.is_null() {
        return Err("SQLite was built without databases in memory".into());
    }
    // SAFETY: `vfs` came from SQLite itself and lives as long as the process.
    match unsafe { ffi::sqlite3_vfs_register(vfs, 1) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(format!("SQLite does not take its databases in memory: {code}")),
    }
}

/// The stream socket that the program was started with as descriptor `fd`. To be called once, before anything else
/// is opened.
#[must_use]
pub fn inherited(fd: RawFd) -> UnixStream {
    // SAFETY: Whoever started the program gave this descriptor away with `--control-fd`; nothing else here owns it.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}
