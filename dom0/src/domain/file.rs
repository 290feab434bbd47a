//! A domain file: TOML text to [`Domain`].
//!
//! Every refusal names the file, the line, the field, the reason and the remedy. Nothing here looks at
//! other domains or at the machine; that is [`super::check`].

mod fields;
mod nic;

pub use fields::FIELDS;

use super::{At, Disk, Domain, Domains, Kind, Label, tor};
use crate::name::{Bdf, Name};
use crate::problem::{Problem, Problems};
use serde::Deserialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use toml::Spanned;
use vmm_api::config::DiskMode;

/// Longest domain file in bytes.
pub const MAX_FILE: u64 = 64 * 1024;
/// Longest kernel command line in bytes (the limit of x86 Linux).
const MAX_CMDLINE: usize = 2047;
/// RAM that any machine may have, in MiB.
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 4..=1024 * 1024;
/// Processors that any machine may have.
const VCPUS: std::ops::RangeInclusive<u8> = 1..=64;
/// Disks at most.
const MAX_DISKS: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Spanned<Kind>,
    memory: Option<Spanned<u32>>,
    vcpus: Option<Spanned<u8>>,
    netvm: Option<Spanned<Name>>,
    #[serde(default)]
    devices: Vec<Spanned<Bdf>>,
    kernel: Option<Spanned<PathBuf>>,
    initrd: Option<Spanned<PathBuf>>,
    cmdline: Option<Spanned<String>>,
    #[serde(default)]
    disks: Vec<WrittenDisk>,
    #[serde(default)]
    label: Label,
    #[serde(default)]
    autostart: bool,
    id: Option<Spanned<u16>>,
    nic: Option<Spanned<nic::Written>>,
    tap: Option<Spanned<String>>,
    strict_reset: Option<bool>,
    anonymous: Option<Spanned<bool>>,
    tor: Option<Spanned<tor::Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDisk {
    image: Spanned<PathBuf>,
    #[serde(default)]
    mode: WrittenMode,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenMode {
    #[default]
    Ro,
    Rw,
    Volatile,
}

/// Reads every `NAME.toml` of `directory`; other files are left alone.
///
/// # Errors
/// Everything that is wrong with any of them, not only the first.
pub fn read_all(directory: &Path) -> Result<Domains, Problems> {
    let mut domains = Domains::new();
    let mut problems = Vec::new();
    for path in list(directory)? {
        match read(&path) {
            Ok(domain) => {
                domains.insert(domain.name.clone(), domain);
            }
            Err(more) => problems.extend(more.0),
        }
    }
    if problems.is_empty() { Ok(domains) } else { Err(Problems(problems)) }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let fail = |e: std::io::Error| {
        let remedy =
            "create the directory, put one NAME.toml per domain in it, or name another with --config-dir";
        Problem::new(directory.display().to_string(), format!("cannot be read: {e}"), remedy)
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension() == Some(OsStr::new("toml")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads one domain file; its name without `.toml` is the domain's name.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Domain, Problems> {
    let unreadable =
        |why: String| Problem::new(path.display().to_string(), why, "make it a readable text file");
    let length = std::fs::metadata(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?.len();
    if length > MAX_FILE {
        return Err(
            unreadable(format!("is {length} bytes long; a domain file has at most {MAX_FILE}")).into()
        );
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    parse(path, &text)
}

/// Understands the text of a domain file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(path: &Path, text: &str) -> Result<Domain, Problems> {
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let name: Name = stem
        .parse()
        .map_err(|why: String| Problem::new(path.display().to_string(), why, "rename the file"))?;
    let source = Source { path, text };
    let written: Written = toml::from_str(text).map_err(|e| source.syntax(&e))?;
    let mut problems = Problems::default();
    let domain = Reading { source: &source, problems: &mut problems }.domain(name, written);
    problems.into_result()?;
    Ok(domain)
}

/// The text being read, for places in messages.
struct Source<'t> {
    path: &'t Path,
    text: &'t str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    fn at<T>(&self, spanned: Spanned<T>) -> At<T> {
        let line = self.line(spanned.span().start);
        At { value: spanned.into_inner(), line }
    }

    fn place(&self, line: usize, field: &str) -> String {
        format!("{}:{line}: {field}", self.path.display())
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let line = error.span().map_or(1, |span| self.line(span.start));
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let field = text.split_once('=').map_or("", |(key, _)| key.trim());
        let what = if field.is_empty() || error.message().starts_with("missing field") {
            format!("{}:{line}", self.path.display())
        } else {
            self.place(line, field)
        };
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let remedy = match () {
            () if message.starts_with("unknown field") => "correct the name or remove the line",
            () if message.starts_with("missing field") => "add the field",
            () => "correct the line; `bulkhead man` lists every field with its values",
        };
        Problem::new(what, message, remedy)
    }
}

/// Turns what was written into what it means, collecting every problem on the way.
struct Reading<'s> {
    source: &'s Source<'s>,
    problems: &'s mut Problems,
}

impl Reading<'_> {
    fn complain(&mut self, line: usize, field: &str, why: impl Into<String>, remedy: &str) {
        self.problems.0.push(Problem::new(self.source.place(line, field), why, remedy));
    }

    fn domain(mut self, name: Name, written: Written) -> Domain {
        let kind = self.source.at(written.kind);
        Domain {
            name,
            file: self.source.path.to_owned(),
            memory_mib: self.memory(kind.value, written.memory),
            vcpus: self.vcpus(written.vcpus),
            netvm: written.netvm.map(|s| self.source.at(s)),
            devices: written.devices.into_iter().map(|s| self.source.at(s)).collect(),
            kernel: written.kernel.and_then(|s| self.path("kernel", s)),
            initrd: written.initrd.and_then(|s| self.path("initrd", s)),
            cmdline: self.cmdline(written.cmdline),
            disks: self.disks(written.disks),
            label: written.label,
            autostart: written.autostart,
            id: written.id.map(|s| self.source.at(s)),
            nic: written.nic.map(|s| self.nic(s)),
            tap: written.tap.and_then(|s| self.tap(s)),
            strict_reset: written.strict_reset.unwrap_or(true),
            anonymous: written.anonymous.map_or(At { value: false, line: 0 }, |s| self.source.at(s)),
            tor: self.tor(written.tor),
            kind,
        }
    }

    fn memory(&mut self, kind: Kind, written: Option<Spanned<u32>>) -> u32 {
        let Some(spanned) = written else {
            return match kind {
                Kind::Netvm | Kind::Firewallvm => 16,
                Kind::Torvm => 128,
                Kind::Appvm => 512,
            };
        };
        let At { value, line } = self.source.at(spanned);
        if !MEMORY_MIB.contains(&value) {
            let why = format!("{value} MiB is outside {} to {} MiB", MEMORY_MIB.start(), MEMORY_MIB.end());
            self.complain(line, "memory", why, "give the size in MiB, e.g. memory = 512");
        }
        value
    }

    fn vcpus(&mut self, written: Option<Spanned<u8>>) -> u8 {
        let Some(spanned) = written else { return 1 };
        let At { value, line } = self.source.at(spanned);
        if !VCPUS.contains(&value) {
            let why = format!("{value} is outside {} to {}", VCPUS.start(), VCPUS.end());
            self.complain(line, "vcpus", why, "give a number of virtual processors, e.g. vcpus = 2");
        }
        value
    }

    fn path(&mut self, field: &str, spanned: Spanned<PathBuf>) -> Option<At<PathBuf>> {
        let at = self.source.at(spanned);
        if !at.value.is_absolute() {
            let why = format!("{:?} is not an absolute path", at.value);
            self.complain(at.line, field, why, "start the path with /");
            return None;
        }
        Some(at)
    }

    fn cmdline(&mut self, written: Option<Spanned<String>>) -> String {
        let Some(spanned) = written else { return String::new() };
        let At { value, line } = self.source.at(spanned);
        if value.len() > MAX_CMDLINE {
            let why = format!("{} bytes; a kernel takes at most {MAX_CMDLINE}", value.len());
            self.complain(line, "cmdline", why, "shorten it");
        } else if value.chars().any(char::is_control) {
            self.complain(line, "cmdline", "contains a control character", "keep it on one line");
        }
        value
    }

    fn disks(&mut self, written: Vec<WrittenDisk>) -> Vec<Disk> {
        let mut disks = Vec::new();
        for disk in written {
            let mode = match disk.mode {
                WrittenMode::Ro => DiskMode::ReadOnly,
                WrittenMode::Rw => DiskMode::ReadWrite,
                WrittenMode::Volatile => DiskMode::Volatile,
            };
            if let Some(image) = self.path("disks.image", disk.image) {
                if disks.len() == MAX_DISKS {
                    self.complain(image.line, "disks", format!("more than {MAX_DISKS} disks"), "remove some");
                    break;
                }
                disks.push(Disk { image, mode });
            }
        }
        disks
    }

    fn tap(&mut self, spanned: Spanned<String>) -> Option<At<String>> {
        let at = self.source.at(spanned);
        let plain = at.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if at.value.is_empty() || at.value.len() > 15 || !plain {
            let why = format!("{:?} is not the name of a network interface", at.value);
            self.complain(at.line, "tap", why, "name a tap device, e.g. tap = \"bulkhead0\"");
            return None;
        }
        Some(at)
    }

    fn tor(&mut self, written: Option<Spanned<tor::Written>>) -> At<tor::Tor> {
        let Some(spanned) = written else { return At { value: tor::Tor::default(), line: 0 } };
        let At { value, line } = self.source.at(spanned);
        let (tor, wrong) = tor::understand(value, line);
        for (field, why, remedy) in wrong {
            self.complain(line, &format!("tor.{field}"), why, remedy);
        }
        At { value: tor, line }
    }

    fn nic(&mut self, spanned: Spanned<nic::Written>) -> At<control::message::Nic> {
        let At { value, line } = self.source.at(spanned);
        let (nic, wrong) = nic::understand(value);
        for (field, why, remedy) in wrong {
            self.complain(line, &format!("nic.{field}"), why, remedy);
        }
        At { value: nic, line }
    }
}

#[cfg(test)]
mod tests;
