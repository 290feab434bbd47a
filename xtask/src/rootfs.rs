//! The root file system of AppVMs: Debian 12 as its packages are, in an ext4 image.

use crate::{cache, packages};
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's release; its kernel comes from the host's apt and need not be the same.
const SUITE: &str = "bookworm";
/// On top of the essential packages. systemd rather than sysvinit-core: to a DHCP address 11 s against 21 s
/// under QEMU TCG; nested in the lab, beside other work, 39 s to a login prompt where sysvinit was still in
/// rcS after 75 s. The difference is the shell scripts of rcS. No udev: its coldplug costs more than either,
/// and an AppVM's initramfs loads every driver there is use for.
const PACKAGES: &[&str] =
    &["systemd-sysv", "ifupdown", "isc-dhcp-client", "iproute2", "iputils-ping", "wget"];
/// What an administrator would set up, run in the new tree.
const SETUP: &str = include_str!("../guest/appvm-setup");
/// Size of the image; its holes take no room.
const SIZE: &str = "700M";

/// Builds the image, or finds it in the cache.
///
/// # Errors
/// When `mmdebstrap` or `mke2fs` is missing or fails.
pub(crate) fn debian() -> Result<PathBuf> {
    let recipe = (SUITE, PACKAGES, SETUP, SIZE, 2);
    let name = format!("appvm-{SUITE}-{}.img", cache::key(&recipe));
    cache::artifact(&name, "Debian root file system (a minute or two)", build)
}

/// A copy of `image` with the agent in it, or the one in the cache that has the same agent.
///
/// # Errors
/// When the agent cannot be read, or `debugfs` is missing or fails.
pub(crate) fn with_agent(image: &Path, agent: &Path) -> Result<PathBuf> {
    let bytes = fs::read(agent).with_context(|| format!("cannot read {}", agent.display()))?;
    let name = format!("appvm-root-{}.img", cache::key(&(image.file_name(), bytes, 1)));
    cache::artifact(&name, "agent into the root file system", |path| {
        packages::output(Command::new("cp").arg("--sparse=always").arg(image).arg(path))?;
        let commands = format!(
            "cd /usr/lib/bulkhead\nwrite {} bulkhead-agent\nsif bulkhead-agent mode 0100755\n\
             sif bulkhead-agent uid 0\nsif bulkhead-agent gid 0\n",
            agent.display()
        );
        let script = tempfile::NamedTempFile::new()?;
        fs::write(script.path(), commands)?;
        let mut debugfs = Command::new("debugfs");
        let done = packages::output(debugfs.arg("-w").arg("-f").arg(script.path()).arg(path))?;
        // debugfs ends with status 0 whatever happens; it names the inode that it has allocated.
        if !String::from_utf8_lossy(&done.stdout).contains("Allocated inode") {
            bail!("debugfs wrote no file: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    })
}

/// Unpacks Debian into a directory and makes an image of it. Without root both happen in a user namespace,
/// whose root needs a directory that everyone may write.
fn build(image: &Path) -> Result<()> {
    let work = tempfile::Builder::new().prefix("bulkhead-rootfs.").tempdir()?;
    fs::set_permissions(work.path(), Permissions::from_mode(0o777))?;
    let (tree, setup, unfinished) =
        (work.path().join("tree"), work.path().join("setup"), work.path().join("image"));
    fs::write(&setup, SETUP)?;
    let root = rustix::process::geteuid().is_root();
    let mode = if root { "--mode=root" } else { "--mode=unshare" };
    packages::output(
        Command::new("mmdebstrap")
            .args([mode, "--quiet", "--variant=minbase", "--format=directory"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .args([
                "--aptopt=Acquire::Languages \"none\"",
                "--aptopt=Acquire::Retries \"5\"",
                "--dpkgopt=path-exclude=/usr/share/man/*",
            ])
            .arg(format!("--customize-hook=sh {} \"$1\"", setup.display()))
            .arg(SUITE)
            .arg(&tree),
    )?;
    let mut mke2fs = in_namespace(root, "mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(&tree).arg(&unfinished).arg(SIZE);
    packages::output(&mut mke2fs)?;
    let mut copy = Command::new("cp");
    packages::output(copy.arg("--sparse=always").arg(&unfinished).arg(image))?;
    packages::output(in_namespace(root, "rm").arg("-rf").arg(&tree).arg(&unfinished))
        .context("cannot clean up")?;
    Ok(())
}

/// A command that sees the files of the new tree with the owners that they have in it.
fn in_namespace(root: bool, program: &str) -> Command {
    if root {
        return Command::new(program);
    }
    let mut command = Command::new("mmdebstrap");
    command.args(["--unshare-helper", program]);
    command
}
