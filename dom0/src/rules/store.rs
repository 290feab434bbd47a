//! Files of rules: read and replaced whole, in a directory that nobody else can write to.

use crate::enclosed::MAX_TEXT;
use crate::name::Name;
use crate::problem::Problem;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Permissions of a file of rules: they say whom a domain talks to.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Permissions of their directory.
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// A directory with a file for each of some domains: their rules, or what else is theirs alone.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    /// What the files' names end in, behind the domain's and a dot.
    kind: &'static str,
}

impl Store {
    /// The files of rules in this directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self::of(directory, "rules")
    }

    /// The files `NAME.kind` in this directory, which need not exist yet.
    #[must_use]
    pub fn of(directory: &Path, kind: &'static str) -> Self {
        Self { directory: directory.to_owned(), kind }
    }

    /// Path of a domain's file.
    #[must_use]
    pub fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(self.file_name(name))
    }

    /// A domain's file as messages name it.
    #[must_use]
    pub fn what(&self, name: &Name) -> String {
        self.path(name).display().to_string()
    }

    /// The text of a domain's file; `None` when there is no file.
    ///
    /// # Errors
    /// When there is one that cannot be read, or that somebody else could have put there.
    pub fn read(&self, name: &Name) -> Result<Option<String>, Problem> {
        let Some(directory) = self.open().map_err(|why| self.unsafe_place(why))? else { return Ok(None) };
        let fail = |why: String| {
            Problem::new(
                self.what(name),
                why,
                "make it a text file that root owns and nobody else can write to, or remove it",
            )
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&directory, self.file_name(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(fail("is a symbolic link".to_owned())),
            Err(e) => return Err(fail(format!("cannot be read: {e}"))),
        };
        text(file).map(Some).map_err(fail)
    }

    /// Replaces a domain's file, so that a crash leaves the old text or the new one; `None` removes it.
    ///
    /// # Errors
    /// When it cannot be written; what was there is still there then.
    pub fn write(&self, name: &Name, text: Option<&str>) -> Result<(), Problem> {
        let fail = |e: io::Error| {
            let remedy = "make its directory writable for the daemon, with some room";
            Problem::new(self.what(name), format!("cannot be written: {e}"), remedy)
        };
        if let Some(above) = self.directory.parent() {
            std::fs::create_dir_all(above).map_err(fail)?;
        }
        if let Err(e) = rustix::fs::mkdir(&self.directory, DIRECTORY_MODE)
            && e != Errno::EXIST
        {
            return Err(fail(e.into()));
        }
        let directory = self.open().map_err(|why| self.unsafe_place(why))?;
        let directory = directory.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        replace(&directory, &self.file_name(name), text).map_err(fail)
    }

    fn file_name(&self, name: &Name) -> String {
        format!("{name}.{}", self.kind)
    }

    /// The domains that have a file.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all(&self) -> Result<Vec<Name>, Problem> {
        let mut names = Vec::new();
        let fail = |e: io::Error| {
            let remedy = "become root, or name another directory with --rules-dir";
            Problem::new(self.directory.display().to_string(), format!("cannot be read: {e}"), remedy)
        };
        let entries = match std::fs::read_dir(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let file = entry.map_err(fail)?.file_name();
            let name = file
                .to_str()
                .and_then(|f| f.strip_suffix(self.kind)?.strip_suffix('.'))
                .and_then(|n| n.parse().ok());
            names.extend(name);
        }
        names.sort();
        Ok(names)
    }

    /// Opens the directory, if it exists and only its owner, who is root or this user, can write to it.
    fn open(&self) -> Result<Option<OwnedFd>, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(&self.directory, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(format!("cannot be used: {e}")),
        };
        let stat = rustix::fs::fstat(&directory).map_err(|e| format!("cannot be used: {e}"))?;
        owned(&stat)?;
        Ok(Some(directory))
    }

    fn unsafe_place(&self, why: String) -> Problem {
        let remedy = if rustix::process::geteuid().is_root() {
            "chown root and chmod 700 it, or name another directory with --rules-dir"
        } else {
            "become root, or name another directory with --rules-dir"
        };
        Problem::new(self.directory.display().to_string(), why, remedy)
    }
}

fn text(file: File) -> Result<String, String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    let stat = rustix::fs::fstat(&file).map_err(|e| unreadable(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("is not a file".to_owned());
    }
    owned(&stat)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_TEXT {
        return Err(format!("is longer than {} MiB", MAX_TEXT / 1024 / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// Whether only its owner, who is root or this user, can write to something; otherwise why not.
fn owned(stat: &Stat) -> Result<(), String> {
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("belongs to the user {}", stat.st_uid));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err("can be written to by others than its owner".to_owned());
    }
    Ok(())
}

fn replace(directory: &OwnedFd, name: &str, text: Option<&str>) -> io::Result<()> {
    let remove = |name: &str| match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    };
    if let Some(text) = text {
        let beside = format!(".{name}.new");
        remove(&beside)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(directory, &beside, flags, FILE_MODE)?);
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(e) = written.and_then(|()| Ok(renameat(directory, &beside, directory, name)?)) {
            // What is left of it would keep a full disk full.
            let _ = remove(&beside);
            return Err(e);
        }
    } else {
        remove(name)?;
    }
    Ok(rustix::fs::fsync(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn place() -> (tempfile::TempDir, Store, Name) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("etc/rules"));
        (directory, store, "work".parse().unwrap())
    }

    #[test]
    fn text_is_kept_privately() {
        let (_directory, store, work) = place();
        assert_eq!(store.read(&work).unwrap(), None);
        store.write(&work, Some("drop\n")).unwrap();
        assert_eq!(store.read(&work).unwrap().as_deref(), Some("drop\n"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.path(&work)), 0o600);
        assert_eq!(mode(store.path(&work).parent().unwrap()), 0o700);
        let names: Vec<_> = std::fs::read_dir(&store.directory).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
        store.write(&work, None).unwrap();
        assert_eq!(store.read(&work).unwrap(), None);
    }

    #[test]
    fn links_are_not_followed() {
        let (directory, store, work) = place();
        store.write(&work, None).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "accept\n").unwrap();
        symlink(&elsewhere, store.path(&work)).unwrap();
        assert!(store.read(&work).unwrap_err().why.contains("symbolic link"));
        symlink(&elsewhere, store.directory.join(".work.rules.new")).unwrap();
        store.write(&work, Some("drop\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "accept\n");
        assert_eq!(store.read(&work).unwrap().as_deref(), Some("drop\n"));
    }

    #[test]
    fn directory_that_others_write_to_is_not_used() {
        let (_directory, store, work) = place();
        store.write(&work, Some("drop\n")).unwrap();
        std::fs::set_permissions(&store.directory, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(store.read(&work).unwrap_err().why.contains("others"));
        assert!(store.write(&work, Some("accept\n")).unwrap_err().remedy.contains("--rules-dir"));
    }

    #[test]
    fn file_that_others_write_to_is_not_used() {
        let (_directory, store, work) = place();
        store.write(&work, Some("drop\n")).unwrap();
        for mode in [0o620, 0o602] {
            std::fs::set_permissions(store.path(&work), PermissionsExt::from_mode(mode)).unwrap();
            assert!(store.read(&work).unwrap_err().why.contains("others"));
        }
        std::fs::set_permissions(store.path(&work), PermissionsExt::from_mode(0o644)).unwrap();
        assert!(store.read(&work).is_ok());
    }

    #[test]
    fn what_could_not_be_written_is_not_left_behind() {
        let (_directory, store, work) = place();
        store.write(&work, None).unwrap();
        // A directory cannot be replaced by a file: the last step fails.
        std::fs::create_dir(store.path(&work)).unwrap();
        store.write(&work, Some("drop\n")).unwrap_err();
        assert_eq!(std::fs::read_dir(&store.directory).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_text_file_is_refused() {
        let (_directory, store, work) = place();
        store.write(&work, None).unwrap();
        std::fs::create_dir(store.path(&work)).unwrap();
        assert!(store.read(&work).unwrap_err().why.contains("is not a file"));
        std::fs::remove_dir(store.path(&work)).unwrap();
        std::fs::write(store.path(&work), [0xff, 0xfe]).unwrap();
        assert!(store.read(&work).unwrap_err().why.contains("UTF-8"));
    }
}
