//! Three initramfs. The lab machine's: busybox, kernel modules, and the C library of this machine, so that
//! programs built here run there. The AppVM's: busybox and what it takes to reach the root file system. And one that
//! runs torvm's program on Linux, for comparison.

mod hold_kvm;

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::{cache, modules, packages};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LAB_INIT: &str = include_str!("../guest/lab-init");
const LAB_TERMINAL: &str = include_str!("../guest/lab-terminal");
const APPVM_INIT: &str = include_str!("../guest/appvm-init");
const GATEWAY_INIT: &str = include_str!("../guest/gateway-init");

/// Loaded before the job starts, in this order.
const LAB_BOOT: &[&str] =
    &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "virtio_rng", "virtio_blk", "virtio_net"];

/// Within reach of `modprobe`.
const LAB_MORE: &[&str] = &[
    "kvm_amd",
    "kvm_intel",
    "irqbypass",
    "vfio",
    "vfio_pci",
    "vfio_iommu_type1",
    "tun",
    "vsock",
    "vhost_vsock",
    "vsock_loopback",
    "ext4",
    "overlay",
    "loop",
    "e1000e",
    "bridge",
    "veth",
    "af_packet",
    "msr",
    "xhci_pci",
    "usb_storage",
    "sd_mod",
];

/// Loaded in an AppVM before its root file system is mounted. Debian's kernel has none of them built in.
const APPVM_BOOT: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "crc32c_generic",
    "crc32c_intel",
    "virtio_net",
    "virtio_rng",
    "vsock",
    "vmw_vsock_virtio_transport",
];

/// Within reach of `modprobe` in an AppVM's initramfs.
const APPVM_MORE: &[&str] = &["overlay"];

/// Loaded before torvm's program starts on Linux.
const GATEWAY_BOOT: &[&str] = &["virtio_pci", "virtio_net", "virtio_rng"];

/// Builds the lab's initramfs, or finds it in the cache.
///
/// # Errors
/// When a package, module or library cannot be had.
pub(crate) fn lab(kernel: &Kernel) -> Result<PathBuf> {
    let busybox = busybox()?;
    let libraries = libraries()?;
    let recipe = (
        LAB_INIT,
        LAB_TERMINAL,
        hold_kvm::program(),
        LAB_BOOT,
        LAB_MORE,
        &kernel.version,
        &busybox,
        &libraries,
        2,
    );
    let name = format!("lab-initramfs-{}.cpio", cache::key(&recipe));
    cache::artifact(&name, "lab initramfs", |path| {
        let mut archive = base(&busybox, LAB_INIT)?;
        archive.file("bin/lab-terminal", LAB_TERMINAL.as_bytes());
        archive.file("bin/hold-kvm", &hold_kvm::program());
        add_modules(&mut archive, kernel, LAB_BOOT, LAB_MORE)?;
        for (at, from, _) in &libraries {
            archive.file(at, &fs::read(from).with_context(|| format!("cannot read {}", from.display()))?);
        }
        fs::write(path, archive.finish())?;
        Ok(())
    })
}

/// Builds the AppVM's initramfs, or finds it in the cache.
///
/// # Errors
/// When a package or module cannot be had.
pub(crate) fn appvm(kernel: &Kernel) -> Result<PathBuf> {
    let busybox = busybox()?;
    let recipe = (APPVM_INIT, APPVM_BOOT, APPVM_MORE, &kernel.version, &busybox, 1);
    let name = format!("appvm-initramfs-{}.cpio", cache::key(&recipe));
    cache::artifact(&name, "AppVM initramfs", |path| {
        let mut archive = base(&busybox, APPVM_INIT)?;
        add_modules(&mut archive, kernel, APPVM_BOOT, APPVM_MORE)?;
        fs::write(path, archive.finish())?;
        Ok(())
    })
}

/// Writes the initramfs that runs torvm's program on Linux.
///
/// # Errors
/// When a package or module cannot be had, or the program cannot be read.
pub(crate) fn gateway(kernel: &Kernel, program: &Path, configuration: &str, to: &Path) -> Result<()> {
    let mut archive = base(&busybox()?, GATEWAY_INIT)?;
    add_modules(&mut archive, kernel, GATEWAY_BOOT, &[])?;
    archive
        .file("gateway", &fs::read(program).with_context(|| format!("cannot read {}", program.display()))?);
    archive.file("etc/gateway.toml", configuration.as_bytes());
    fs::write(to, archive.finish()).with_context(|| format!("cannot write {}", to.display()))
}

/// Adds modules and `/etc/boot-modules`, the list that init loads.
fn add_modules(archive: &mut Archive, kernel: &Kernel, boot: &[&str], more: &[&str]) -> Result<()> {
    let wanted: Vec<_> = boot.iter().chain(more).copied().collect();
    for (file, bytes) in modules::Set::collect(kernel, &wanted)?.files() {
        archive.file(&format!("lib/modules/{}/{file}", kernel.version), &bytes);
    }
    archive.file("etc/boot-modules", boot.join("\n").as_bytes());
    Ok(())
}

/// An archive with busybox, a link for each of its programs, and `/init`.
fn base(busybox: &Path, init: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "run", "tmp", "root", "mnt", "var/log", "var/lib", "etc"] {
        archive.directory(directory);
    }
    archive.file("bin/busybox", &fs::read(busybox)?);
    archive.symlink("sbin", "bin");
    let list = packages::output(Command::new(busybox).arg("--list"))?;
    for program in String::from_utf8_lossy(&list.stdout).lines() {
        if program != "busybox" {
            archive.symlink(&format!("bin/{program}"), "busybox");
        }
    }
    archive.file("init", init.as_bytes());
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", b"root:x:0:\nkvm:x:104:\n");
    Ok(archive)
}

fn busybox() -> Result<PathBuf> {
    let tree = packages::unpacked("busybox-static")?;
    let found = ["bin/busybox", "usr/bin/busybox"].map(|path| tree.join(path));
    found.into_iter().find(|path| path.is_file()).context("package busybox-static has no busybox")
}

/// The shared libraries that this very program uses, and the ones that its siblings may: place in the
/// archive, file here, and its time of change, which makes the recipe notice an upgrade.
fn libraries() -> Result<Vec<(String, PathBuf, Option<std::time::SystemTime>)>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let listed = packages::output(Command::new("ldd").arg(program))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut places: Vec<PathBuf> =
        text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    let libc = places.iter().find(|path| path.ends_with("libc.so.6")).context("ldd names no libc.so.6")?;
    let beside = libc.with_file_name("libm.so.6");
    if beside.is_file() && !places.contains(&beside) {
        places.push(beside);
    }
    let describe = |path: PathBuf| {
        let changed = fs::metadata(&path).ok().and_then(|meta| meta.modified().ok());
        (path.to_string_lossy().into_owned(), path, changed)
    };
    Ok(places.into_iter().map(describe).collect())
}
