//! Builds everything that the demo's dom0 finds under `/host`.

use crate::{appvm, binaries, capture::Mac, progress, rootfs, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// MAC address of the lab's network card.
pub(super) const NIC_MAC: Mac = Mac([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);

/// A domain file: name and content.
type Domain = (&'static str, &'static str);

const NET: Domain = ("net.toml", include_str!("../../guest/domains/net.toml"));
const FIREWALL: Domain = ("firewall.toml", include_str!("../../guest/domains/firewall.toml"));
const WORK: Domain = ("work.toml", include_str!("../../guest/domains/work.toml"));
const PERSONAL: Domain = ("personal.toml", include_str!("../../guest/domains/personal.toml"));
const TOR: Domain = ("tor.toml", include_str!("../../guest/domains/tor.toml"));
const ANON: Domain = ("anon.toml", include_str!("../../guest/domains/anon.toml"));

/// What was built.
pub(super) struct Staged {
    /// Seen as `/host`.
    pub(super) directory: PathBuf,
    /// Root file system of the AppVMs.
    pub(super) rootfs: PathBuf,
    /// Where the cable's capture goes.
    pub(super) capture: PathBuf,
}

/// Builds and lays out images, programs, AppVM files and domain files in `target/demo`.
///
/// # Errors
/// When something does not build or the directory cannot be written.
pub(super) fn build() -> Result<Staged> {
    in_directory("demo", &[NET, FIREWALL, WORK, PERSONAL])
}

/// The same in `target/demo-tor` for the Tor gateway and an AppVM behind it.
///
/// # Errors
/// As [`build`].
pub(super) fn build_tor() -> Result<Staged> {
    let staged = in_directory("demo-tor", &[NET, FIREWALL, TOR, ANON])?;
    let lib = staged.directory.join("lib");
    let (kernel, gateway) = (binaries::torvm()?, binaries::gateway()?);
    put(&kernel, &lib.join("torvm"))?;
    binaries::bundle(&kernel, &gateway, binaries::GATEWAY_CONFIGURATION, &lib.join("torvm.bundle"))?;
    put(&binaries::relays()?, &lib.join("bulkhead-relays"))?;
    Ok(staged)
}

fn in_directory(name: &str, domains: &[Domain]) -> Result<Staged> {
    progress::heading("Building");
    let demo = workspace::target().join(name);
    let directory = demo.join("host");
    for part in ["bin", "lib", "appvm", "domains"] {
        let path = directory.join(part);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    for name in binaries::IMAGES {
        put(&binaries::image(name)?, &directory.join("lib").join(name))?;
    }
    let [cli, daemon, vmm] = binaries::dom0()?;
    put(&cli, &directory.join("bin/bulkhead"))?;
    put(&daemon, &directory.join("bin/bulkheadd"))?;
    put(&vmm, &directory.join("lib/bulkhead-vmm"))?;
    let agent = binaries::agent()?;
    let files = appvm::build()?;
    put(&files.kernel, &directory.join("appvm/vmlinux"))?;
    put(&files.initramfs, &directory.join("appvm/initramfs"))?;
    for (name, content) in domains {
        fs::write(directory.join("domains").join(name), content)?;
    }
    let rootfs = rootfs::with_agent(&files.rootfs, &agent)?;
    Ok(Staged { capture: demo.join("cable.pcap"), directory, rootfs })
}

/// Copies unless what is there is as long and not older.
fn put(from: &Path, to: &Path) -> Result<()> {
    let (source, copy) = (fs::metadata(from), fs::metadata(to));
    if let (Ok(source), Ok(copy)) = (&source, &copy)
        && source.len() == copy.len()
        && source.modified()? <= copy.modified()?
    {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
