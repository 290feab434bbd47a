//! The packet captures of tcpdump's own tests, from Debian's source package.

use crate::packages::output;
use crate::{cache, packages};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's keys, where apt has no other for its mirror.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Directory with tcpdump's captures.
///
/// # Errors
/// When apt cannot fetch the source package.
pub(crate) fn captures() -> Result<PathBuf> {
    cache::artifact("tcpdump-captures-all", "packet captures of tcpdump's tests", |tree| {
        fs::create_dir_all(tree)?;
        let work = tempfile::tempdir()?;
        download(work.path())?;
        let tarball = packages::entry(work.path(), "tcpdump_")
            .and_then(|_| tarball(work.path()))
            .context("the source package holds no tarball")?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(tarball).arg("-C").arg(tree);
        output(tar.args(["--strip-components=2", "--wildcards", "*/tests/*.pcap", "*/tests/*.pcapng"]))
            .map(drop)
    })
}

fn tarball(directory: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains(".orig.tar.") && !name.ends_with(".asc") {
            return Ok(path);
        }
    }
    bail!("no .orig.tar in {}", directory.display())
}

/// Has apt download the source package, with lists of its own: a machine rarely has those of sources.
fn download(directory: &Path) -> Result<()> {
    let shown = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let mirror = text.lines().find(|line| line.contains("/debian") && line.ends_with(" main"));
    let mirror = mirror.context("apt has no Debian mirror")?;
    let lists = directory.join("lists");
    fs::create_dir_all(lists.join("partial"))?;
    let source = directory.join("source.list");
    let keys = if Path::new(KEYS).exists() { format!("[signed-by={KEYS}] ") } else { String::new() };
    fs::write(&source, format!("deb-src {keys}{mirror}\n"))?;
    let apt = |args: &[&str]| {
        let mut apt = packages::apt_get();
        apt.current_dir(directory).args(["-o", "APT::Sandbox::User=root"]);
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        apt.args(["-o", &option("Dir::Etc::sourcelist", &source), "-o", "Dir::Etc::sourceparts=/dev/null"]);
        apt.args(["-o", &option("Dir::State::lists", &lists), "-o", &option("Dir::Cache", directory)]);
        output(apt.args(args)).map(drop)
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "tcpdump"])
}
