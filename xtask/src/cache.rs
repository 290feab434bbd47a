//! Artifacts that are built once and shared: each has a name that contains a hash of its recipe.

use crate::{progress::Task, workspace};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The directory of artifacts: `BULKHEAD_LAB_CACHE`, or `target/lab`.
///
/// # Errors
/// When it cannot be created.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir =
        std::env::var_os("BULKHEAD_LAB_CACHE").map_or_else(|| workspace::target().join("lab"), PathBuf::from);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("cannot resolve {}", dir.display()))
}

/// A recipe's hash as text. Stable for one build of this program, which is all that a cache needs.
pub(crate) fn key(recipe: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Returns the artifact `name`, running `build` on a temporary path beside it when it does not exist.
/// Processes that want the same artifact at the same time wait for the first.
///
/// # Errors
/// What `build` or the file system says; a half-built artifact is removed.
pub(crate) fn artifact(name: &str, what: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let dir = dir()?;
    let path = dir.join(name);
    if path.exists() {
        return Ok(path);
    }
    let lock_path = dir.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().context("cannot lock the cache")?;
    if path.exists() {
        return Ok(path);
    }
    let task = Task::start(what);
    let unfinished = dir.join(format!(".{name}.tmp"));
    remove(&unfinished)?;
    let built = build(&unfinished).and_then(|()| {
        fs::rename(&unfinished, &path).with_context(|| format!("cannot create {}", path.display()))
    });
    if let Err(error) = built {
        let _ = remove(&unfinished);
        return Err(error.context(format!("{what}: failed")));
    }
    task.done();
    Ok(path)
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_depends_on_every_part_of_a_recipe() {
        assert_eq!(key(&("a", 1)), key(&("a", 1)));
        assert_ne!(key(&("a", 1)), key(&("a", 2)));
        assert_ne!(key(&("a", 1)), key(&("b", 1)));
    }
}
