//! Starts one `bulkhead-vmm` process: opens everything it needs and hands over descriptors.
//!
//! Nothing is left behind when it fails: descriptors are closed, no process exists.

pub(crate) mod child;

use crate::plan::Machine;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::tap;
use command_fds::{CommandFdExt, FdMapping};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::OpenOptions;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use vmm_api::config::{AssignedDevice, Config, Disk, DiskMode, FileRef};

/// First descriptor number that a VMM process inherits.
const FIRST_FD: i32 = 3;

/// A process that was just started.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub child: Child,
    /// Requests and events; non-blocking at this end.
    pub control: OwnedFd,
    /// The guest's serial port.
    pub serial: OwnedFd,
    /// What the VMM itself prints.
    pub said: OwnedFd,
}

/// Descriptors on their way to the child, numbered as they come.
#[derive(Default)]
struct Handover(Vec<FdMapping>);

impl Handover {
    fn give(&mut self, fd: OwnedFd) -> FileRef {
        let number = FIRST_FD + i32::try_from(self.0.len()).unwrap_or(i32::MAX - FIRST_FD);
        self.0.push(FdMapping { parent_fd: fd, child_fd: number });
        FileRef::Fd(number)
    }
}

/// Starts the process of `machine`.
///
/// # Errors
/// Names the file or program that could not be opened or started.
pub fn spawn(settings: &Settings, machine: &Machine) -> Result<Spawned, Problem> {
    let system = |e: io::Error| {
        let remedy = "free some memory or file descriptors and try again";
        Problem::new(machine.name.to_string(), format!("its process cannot be prepared: {e}"), remedy)
    };
    let stream = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let (control, control_there) = stream(SocketType::SEQPACKET).map_err(|e| system(e.into()))?;
    let (serial, serial_there) = stream(SocketType::STREAM).map_err(|e| system(e.into()))?;
    let (said, said_there) = io::pipe().map_err(system)?;
    let flags = rustix::fs::fcntl_getfl(&control).map_err(|e| system(e.into()))?;
    rustix::fs::fcntl_setfl(&control, flags | rustix::fs::OFlags::NONBLOCK).map_err(|e| system(e.into()))?;

    let mut handover = Handover::default();
    let control_ref = handover.give(control_there);
    let console = handover.give(serial_there);
    let config = config(settings, machine, &mut handover, console)?;
    let config_ref = handover.give(memfile(&config).map_err(system)?);

    let program = settings.lib_dir.join("bulkhead-vmm");
    let mut command = Command::new(&program);
    command
        .args(["--config", &argument(&config_ref), "--control", &argument(&control_ref)])
        .stdin(Stdio::null())
        .stdout(said_there.try_clone().map_err(system)?)
        .stderr(said_there)
        .env_clear()
        .envs(std::env::vars_os().filter(|(k, _)| k == "RUST_LOG" || k == "RUST_BACKTRACE"));
    command.fd_mappings(handover.0).map_err(|e| system(io::Error::other(e)))?;
    child::die_with_parent(&mut command);
    let child = command.spawn().map_err(|e| {
        let remedy = "install it, or set BULKHEAD_LIB to the directory that holds it";
        Problem::new(program.display().to_string(), format!("cannot be started: {e}"), remedy)
    })?;
    Ok(Spawned { child, control, serial, said: said.into() })
}

fn argument(file: &FileRef) -> String {
    match file {
        FileRef::Fd(number) => format!("fd:{number}"),
        FileRef::Path(path) => path.display().to_string(),
    }
}

fn memfile(config: &Config) -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("bulkhead-config", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Writes the VMM's configuration, opening every file that it names.
fn config(
    settings: &Settings,
    machine: &Machine,
    handover: &mut Handover,
    console: FileRef,
) -> Result<Config, Problem> {
    let kvm_remedy = "enable virtualisation in the firmware and load kvm_intel or kvm_amd";
    let kvm = open(&settings.root.join("dev/kvm"), Access::Write, kvm_remedy)?;
    let kernel = open(&machine.kernel, Access::Read, "correct `kernel`, or install the images")?;
    let initrd = match &machine.initrd {
        Some(path) => Some(handover.give(open(path, Access::Read, "correct `initrd`, or create the file")?)),
        None => None,
    };
    let mut disks = Vec::new();
    for (image, mode) in &machine.disks {
        let access = if *mode == DiskMode::ReadWrite { Access::Write } else { Access::Read };
        let fd = open(image, access, "correct `disks.image`, or create the image")?;
        disks.push(Disk { image: handover.give(fd), mode: *mode });
    }
    let tap = match &machine.tap {
        Some(name) => Some(handover.give(tap::open(name)?)),
        None => None,
    };
    Ok(Config {
        name: machine.name.to_string(),
        kernel: handover.give(kernel),
        initrd,
        cmdline: machine.cmdline.clone(),
        memory_mib: machine.memory_mib,
        vcpus: machine.vcpus,
        boot_info: machine.kind.is_driver(),
        console: Some(console),
        kvm: Some(handover.give(kvm)),
        link_ports: machine.link_ports,
        vifs: machine.vifs.clone(),
        disks,
        vsock_cid: machine.vsock_cid,
        tap,
        devices: machine.devices.iter().map(|d| AssignedDevice { bdf: d.to_string() }).collect(),
        dma_arena_mib: machine.dma_arena_mib,
        state: None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn open(path: &Path, access: Access, remedy: &str) -> Result<OwnedFd, Problem> {
    let file = OpenOptions::new().read(true).write(access == Access::Write).open(path);
    let fail = |why: String| Problem::new(path.display().to_string(), why, remedy);
    let fd = OwnedFd::from(file.map_err(|e| fail(format!("cannot be opened: {e}")))?);
    debug_assert!(fd.as_raw_fd() > 2);
    Ok(fd)
}
