//! Network cards of this machine: what there is, whether it may be given away, giving it away and taking it
//! back.
//!
//! Everything is read from sysfs, procfs and `/dev` below one root, so that every case can be tested on a
//! directory of files; the few writes go through [`Kernel`]. [`judge`] decides, [`bind`] acts, [`assign`] joins
//! the two with the domain file.

pub mod assign;
pub mod bind;
pub mod judge;
pub mod scan;

use crate::settings::Settings;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is asked of the kernel; a test puts a model of it here.
pub trait Kernel {
    /// Writes to a sysfs attribute.
    ///
    /// # Errors
    /// What the kernel says.
    fn write(&self, path: &Path, value: &str) -> io::Result<()>;

    /// Loads a module.
    ///
    /// # Errors
    /// When it cannot be loaded.
    fn load(&self, module: &str) -> io::Result<()>;
}

/// This machine's kernel.
#[derive(Debug)]
struct Real;

impl Kernel for Real {
    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        use std::io::Write;
        std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
    }

    fn load(&self, module: &str) -> io::Result<()> {
        let status = std::process::Command::new("modprobe").arg(module).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("modprobe {module}: {status}"))) }
    }
}

/// The machine whose cards these are.
pub struct Host {
    root: PathBuf,
    /// Where previous drivers are noted.
    notes: PathBuf,
    kernel: Box<dyn Kernel>,
    /// How long `/dev/vfio/N` may take to appear.
    patience: Duration,
}

impl Host {
    /// The machine that this program runs on.
    #[must_use]
    pub fn real(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
            notes: settings.runtime_dir.join("nic"),
            kernel: Box::new(Real),
            patience: Duration::from_secs(3),
        }
    }

    fn pci(&self, rest: impl AsRef<Path>) -> PathBuf {
        self.root.join("sys/bus/pci").join(rest)
    }

    fn function(&self, bdf: crate::name::Bdf) -> PathBuf {
        self.pci("devices").join(bdf.to_string())
    }

    /// A small text file, trimmed; empty when it is not there.
    fn text(&self, path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.root.join(path)).map(|s| s.trim().to_owned()).unwrap_or_default()
    }

    fn allows_unsafe_interrupts(&self) -> bool {
        let allowed = self.text("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
        matches!(allowed.as_str(), "Y" | "1")
    }

    /// Names in a directory, sorted; none when it is not there.
    fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Last part of what a symbolic link points to.
fn link_target(path: &Path) -> Option<String> {
    Some(std::fs::read_link(path).ok()?.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
