//! The disk on which a torvm keeps its guards: a raw file that the daemon makes and nobody else may read.

use crate::problem::Problem;
use rustix::fs::{FileType, Mode, OFlags, fstat, ftruncate, open};
use rustix::io::Errno;
use std::path::Path;

/// Bytes of a new disk.
pub const LENGTH: u64 = 1 << 20;
/// Permissions: who knows the guards knows whom to watch.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes sure that a torvm's disk exists and is nobody else's.
///
/// # Errors
/// When it cannot be made, or what is there cannot be used.
pub fn ready(path: &Path) -> Result<(), Problem> {
    let fail = |why: String| {
        let remedy = "make it a file that root owns and nobody else can read; without it the torvm would choose new guards";
        Problem::new(path.display().to_string(), why, remedy)
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| fail(format!("cannot be made: {e}")))?;
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags | OFlags::CREATE | OFlags::EXCL, MODE) {
        Err(Errno::EXIST) => open(path, flags, Mode::empty()),
        made => made,
    };
    let file = file.map_err(|e| fail(format!("cannot be opened: {e}")))?;
    let stat = fstat(&file).map_err(|e| fail(format!("cannot be looked at: {e}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(fail("is not a file".to_owned()));
    }
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(fail(format!("belongs to the user {}", stat.st_uid)));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(fail("can be used by others than its owner".to_owned()));
    }
    if stat.st_size == 0 {
        // New, or left by a daemon that was killed here.
        ftruncate(&file, LENGTH).map_err(|e| fail(format!("cannot be made {LENGTH} bytes long: {e}")))?;
        rustix::fs::fsync(&file).map_err(|e| fail(format!("cannot be written: {e}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/tor.store");
        ready(&path).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (LENGTH, 0o600));
        std::fs::write(&path, "guards").unwrap();
        ready(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().size(), 6, "what is there stays");
    }

    #[test]
    fn what_others_could_read_or_point_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tor.store");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(ready(&path).unwrap_err().why.contains("by others"));
        std::fs::remove_file(&path).unwrap();
        symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(ready(&path).unwrap_err().why.contains("cannot be opened"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(ready(&path).is_err());
    }
}
