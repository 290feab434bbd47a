//! First step: a machine's description, checked, and every file that it names, open.

use rustix::fs::{FileType, fstat};
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use vmm_api::config::{Config, Disk, DiskMode, FileRef};

/// Largest description accepted, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// Processors at most.
const MAX_VCPUS: u8 = 64;
/// Network interfaces and disks at most, each; the bus has 32 slots.
const MAX_DEVICES: usize = 8;

/// Why the machine is not started. The message names the thing, the reason and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A value in the description is out of bounds.
    #[error("{field}: {problem}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The description is not one.
    #[error("the machine's description is not valid: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A file cannot be used.
    #[error("{what} ({place}): {error}")]
    File {
        /// Which role it has.
        what: &'static str,
        /// Path or descriptor.
        place: String,
        /// What the host says.
        error: std::io::Error,
    },
}

/// How a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Read only.
    Read,
    /// Read and written.
    ReadWrite,
}

/// Opens what the description names, or takes the inherited descriptor.
///
/// # Errors
/// [`SetupError::File`].
pub fn open(what: &'static str, file: &FileRef, usage: Use) -> Result<File, SetupError> {
    let failed = |error| SetupError::File { what, place: name(file), error };
    match file {
        FileRef::Fd(number) => crate::fd::inherit(*number).map(File::from).map_err(failed),
        FileRef::Path(path) => {
            OpenOptions::new().read(true).write(usage == Use::ReadWrite).open(path).map_err(failed)
        }
    }
}

fn name(file: &FileRef) -> String {
    match file {
        FileRef::Fd(number) => format!("descriptor {number}"),
        FileRef::Path(path) => path.display().to_string(),
    }
}

/// A checked description with its files.
pub struct Plan {
    /// The description.
    pub config: Config,
    /// Kernel image.
    pub kernel: File,
    /// Initial RAM disk.
    pub initrd: Option<File>,
    /// Where the console is written to.
    pub console_out: File,
    /// Where the console is read from.
    pub console_in: File,
    /// `/dev/kvm`.
    pub kvm: Option<OwnedFd>,
    /// Memory that outlives the machine.
    pub state: Option<File>,
    /// What devices need.
    pub files: DeviceFiles,
    /// Control socket.
    pub control: Option<OwnedFd>,
}

/// Files behind devices.
pub struct DeviceFiles {
    /// Disk images, in the order of the description.
    pub disks: Vec<File>,
    /// Tap device.
    pub tap: Option<File>,
}

/// Where the description comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// An inherited descriptor.
    Fd(i32),
}

/// Reads, checks and opens everything.
///
/// # Errors
/// [`SetupError`]; nothing has been started.
pub fn check(source: &Source, control: Option<i32>) -> Result<Plan, SetupError> {
    let file = match source {
        Source::Path(path) => FileRef::Path(path.clone()),
        Source::Fd(number) => FileRef::Fd(*number),
    };
    let config: Config = serde_json::from_slice(&read(&file)?)?;
    values(&config)?;
    let console = |standard: i32| -> Result<File, SetupError> {
        let at = config.console.clone().unwrap_or(FileRef::Fd(standard));
        open("the console", &at, Use::ReadWrite)
    };
    let optional =
        |what, file: &Option<FileRef>, usage| file.as_ref().map(|f| open(what, f, usage)).transpose();
    Ok(Plan {
        kernel: open("the kernel", &config.kernel, Use::Read)?,
        initrd: optional("the initial RAM disk", &config.initrd, Use::Read)?,
        console_out: console(1)?,
        console_in: console(0)?,
        kvm: optional("the KVM device", &config.kvm, Use::ReadWrite)?.map(OwnedFd::from),
        state: optional("the surviving memory", &config.state, Use::ReadWrite)?,
        files: DeviceFiles {
            disks: config.disks.iter().map(disk).collect::<Result<_, _>>()?,
            tap: config.tap.as_ref().map(tap).transpose()?,
        },
        control: control.map(control_socket).transpose()?,
        config,
    })
}

fn disk(disk: &Disk) -> Result<File, SetupError> {
    let usage = if disk.mode == DiskMode::ReadWrite { Use::ReadWrite } else { Use::Read };
    open("a disk image", &disk.image, usage)
}

/// Takes the tap that dom0 opened, or opens the interface that the path names.
fn tap(file: &FileRef) -> Result<File, SetupError> {
    let what = "the tap device";
    match file {
        FileRef::Fd(_) => open(what, file, Use::ReadWrite),
        FileRef::Path(path) => crate::virtio::net::tap::open(path).map_err(|error| SetupError::File {
            what,
            place: name(file),
            error: std::io::Error::other(error),
        }),
    }
}

fn read(file: &FileRef) -> Result<Vec<u8>, SetupError> {
    use std::io::Read;
    let what = "the machine's description";
    let mut text = Vec::new();
    let opened = open(what, file, Use::Read)?;
    let failed = |error| SetupError::File { what, place: name(file), error };
    opened.take(MAX_CONFIG).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

fn control_socket(number: i32) -> Result<OwnedFd, SetupError> {
    let what = "the control socket";
    let failed = |error| SetupError::File { what, place: format!("descriptor {number}"), error };
    let fd = crate::fd::inherit(number).map_err(failed)?;
    let kind = fstat(&fd).map(|s| FileType::from_raw_mode(s.st_mode)).map_err(|e| failed(e.into()))?;
    if kind == FileType::Socket {
        return Ok(fd);
    }
    Err(failed(std::io::Error::other("not a socket; pass one end of a SOCK_SEQPACKET pair")))
}

fn values(config: &Config) -> Result<(), SetupError> {
    let bad = |field, problem: String| Err(SetupError::Value { field, problem });
    let name = &config.name;
    if name.is_empty() || name.len() > 31 || name.chars().any(char::is_control) {
        return bad("name", format!("{name:?} must have 1 to 31 printable bytes"));
    }
    if !(2..=1 << 20).contains(&config.memory_mib) {
        return bad("memory_mib", format!("{} is not between 2 and 1048576", config.memory_mib));
    }
    if !(1..=MAX_VCPUS).contains(&config.vcpus) {
        return bad("vcpus", format!("{} is not between 1 and {MAX_VCPUS}", config.vcpus));
    }
    if usize::from(config.link_ports) > abi::link_device::MAX_PORTS {
        return bad(
            "link_ports",
            format!("{} is more than {}", config.link_ports, abi::link_device::MAX_PORTS),
        );
    }
    if config.vifs.len() > MAX_DEVICES
        || config.disks.len() > MAX_DEVICES
        || config.devices.len() > MAX_DEVICES
    {
        return bad("vifs, disks, devices", format!("at most {MAX_DEVICES} each"));
    }
    if config.dma_arena_mib > 0 && !config.boot_info {
        return bad("dma_arena_mib", "only a unikernel (boot_info) knows a DMA arena".into());
    }
    if config.dma_arena_mib >= config.memory_mib.min(3072) {
        return bad("dma_arena_mib", format!("{} leaves no memory below 3 GiB", config.dma_arena_mib));
    }
    if config.vsock_cid.is_some_and(|cid| cid < 3 || cid == u32::MAX) {
        return bad("vsock_cid", "context identifiers of guests begin at 3".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        let source = Source::Path(file.path().to_owned());
        check(&source, None).err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn each_mistake_is_named() {
        let with = |rest: &str| {
            problem(&format!(r#"{{"name":"a","kernel":{{"path":"/dev/null"}},"memory_mib":64{rest}}}"#))
        };
        assert_eq!(with(""), "");
        assert!(with(r#","vcpus":0"#).contains("vcpus"));
        assert!(with(r#","link_ports":33"#).contains("33 is more than 32"));
        assert!(with(r#","dma_arena_mib":1"#).contains("unikernel"));
        assert!(with(r#","boot_info":true,"dma_arena_mib":64"#).contains("leaves no memory"));
        assert!(with(r#","vsock_cid":2"#).contains("begin at 3"));
        assert!(with(r#","colour":"red""#).contains("colour"));
        assert!(with(r#","initrd":{"path":"/nonexistent"}"#).contains("/nonexistent"));
        assert!(with(r#","initrd":{"fd":777}"#).contains("descriptor 777"));
    }

    #[test]
    fn a_control_descriptor_must_be_a_socket() {
        use std::os::fd::AsRawFd;
        let file = File::open("/dev/null").unwrap();
        let error = control_socket(file.as_raw_fd()).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
    }
}
