//! What a Linux domain boots, each built once: kernel, initramfs, root file system.

use crate::{initramfs, kernel, rootfs};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Files of a Linux domain.
pub(crate) struct AppVm {
    /// The kernel as an ELF with a PVH entry.
    pub(crate) kernel: PathBuf,
    /// Mounts the first disk and hands over.
    pub(crate) initramfs: PathBuf,
    /// A Debian root file system, ext4, without the agent.
    pub(crate) rootfs: PathBuf,
}

/// Builds whatever is not there yet.
///
/// # Errors
/// When a package cannot be had or a tool fails.
pub(crate) fn build() -> Result<AppVm> {
    let kernel = kernel::debian()?;
    Ok(AppVm { kernel: kernel.vmlinux()?, initramfs: initramfs::appvm(&kernel)?, rootfs: rootfs::debian()? })
}

/// Options of `cargo xtask appvm`.
#[derive(clap::Args)]
pub(crate) struct AppVmArgs {
    /// Puts this bulkhead-agent into the root file system
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Builds, and prints a path per line: kernel, initramfs, root file system.
///
/// # Errors
/// See [`build`].
pub(crate) fn run(args: &AppVmArgs) -> Result<ExitCode> {
    let files = build()?;
    let rootfs = match &args.agent {
        Some(agent) => rootfs::with_agent(&files.rootfs, agent)?,
        None => files.rootfs,
    };
    for path in [files.kernel, files.initramfs, rootfs] {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
