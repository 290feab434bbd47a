//! Text of any length beside a message: in memory that nobody can change any more.
//!
//! A packet on the daemon's socket is short. What does not fit travels as a sealed memfd, so that reading it can
//! neither block nor see two versions.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Longest text in bytes.
pub const MAX_TEXT: usize = 8 * 1024 * 1024;

/// What must be sealed before anything is read.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Encloses a text.
///
/// # Errors
/// What the kernel says, or when the text is too long.
pub fn put(text: &str) -> io::Result<OwnedFd> {
    if text.len() > MAX_TEXT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, too_long()));
    }
    let memfd = rustix::fs::memfd_create("bulkhead-text", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memfd);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Takes an enclosed text out.
///
/// # Errors
/// In words, when it is anything but sealed memory with UTF-8 text in it.
pub fn take(fd: BorrowedFd<'_>) -> Result<String, String> {
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| "what was enclosed is not memory".to_owned())?;
    if !seals.contains(SEALS) {
        return Err("what was enclosed is not sealed".to_owned());
    }
    let unreadable = |e: io::Error| format!("what was enclosed cannot be read: {e}");
    let length = rustix::fs::fstat(fd).map_err(|e| unreadable(e.into()))?.st_size;
    if usize::try_from(length).is_ok_and(|length| length > MAX_TEXT) {
        return Err(too_long());
    }
    let mut file = File::from(fd.try_clone_to_owned().map_err(unreadable)?);
    file.rewind().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "what was enclosed is not UTF-8 text".to_owned())
}

fn too_long() -> String {
    format!("a text of more than {} MiB", MAX_TEXT / 1024 / 1024)
}

/// Takes the text out of the first of some descriptors.
///
/// # Errors
/// As [`take`]; also when there is none.
pub fn take_first(fds: &[OwnedFd]) -> Result<String, String> {
    take(fds.first().ok_or("nothing was enclosed")?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_arrives() {
        let text = "drop proto=tcp\n".repeat(10_000);
        assert_eq!(take(put(&text).unwrap().as_fd()).unwrap(), text);
        assert_eq!(take(put("").unwrap().as_fd()).unwrap(), "");
    }

    #[test]
    fn what_may_still_change_or_block_is_refused() {
        let open = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(take(open.as_fd()).unwrap_err().contains("not sealed"));
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert!(take(pipe.as_fd()).unwrap_err().contains("not memory"));
        assert!(take(tempfile::tempfile().unwrap().as_fd()).is_err());
        assert!(take_first(&[]).is_err());
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        assert!(put(&"x".repeat(MAX_TEXT + 1)).is_err());
        let memfd = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&memfd, &[0xff]).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, SEALS).unwrap();
        assert!(take(memfd.as_fd()).unwrap_err().contains("UTF-8"));
        let memfd = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&memfd, u64::MAX / 4).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, SEALS).unwrap();
        assert!(take(memfd.as_fd()).unwrap_err().contains("8 MiB"));
    }
}
