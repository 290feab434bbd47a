//! The Debian kernel: outer machine, dom0 of the lab, and AppVMs all run it.

use crate::packages;
use anyhow::Result;
use std::path::PathBuf;

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// Version, as in `/lib/modules`.
    pub(crate) version: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `/lib/modules/VERSION`.
    pub(crate) modules: PathBuf,
}

/// Gets the kernel of `linux-image-amd64`.
///
/// # Errors
/// When the package cannot be had or looks different from what is expected.
pub(crate) fn debian() -> Result<Kernel> {
    let package = packages::dependency("linux-image-amd64", "linux-image-")?;
    let tree = packages::unpacked(&package)?;
    let image = packages::entry(&tree.join("boot"), "vmlinuz-")?;
    let lib = ["lib/modules", "usr/lib/modules"].map(|path| tree.join(path));
    let lib = lib.iter().find(|path| path.is_dir()).unwrap_or(&lib[0]);
    let modules = packages::entry(lib, "")?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { version, image, modules })
}
