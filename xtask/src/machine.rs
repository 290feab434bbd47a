//! The lab machine as a QEMU command line: an AMD processor with SVM behind an Intel IOMMU with interrupt
//! remapping, an e1000e and an xHCI controller, each alone in its IOMMU group.

use crate::{initramfs, kernel};
use anyhow::Result;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// An AMD processor with nested virtualisation, less what TCG warns that it cannot emulate.
const EPYC: &str = "EPYC,+svm,+npt,-rdseed,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,\
                    -nrip-save,-xsavec";

/// RAM in MiB unless more is asked for.
pub(crate) const USUAL_MIB: u32 = 3072;
/// Number of processors unless more are asked for.
pub(crate) const USUAL_CPUS: u8 = 2;
/// What the NIC's cable leads to unless something else is asked for.
pub(crate) const USUAL_NETWORK: &str = "user";

/// How the machine's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// Emulated: works anywhere.
    Tcg,
    /// This machine's KVM, which must allow nesting.
    Kvm,
}

/// The machine's IOMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Iommu {
    /// With interrupt remapping.
    #[default]
    Full,
    /// Its hardware has no interrupt remapping.
    NoRemapping,
    /// There is none.
    None,
}

/// What the machine is made of.
pub(crate) struct Machine {
    /// Kernel, a bzImage.
    pub(crate) kernel: PathBuf,
    /// Initramfs with the lab's `/init`.
    pub(crate) initramfs: PathBuf,
    /// How processors run.
    pub(crate) accel: Accel,
    /// RAM in MiB.
    pub(crate) memory_mib: u32,
    /// Number of processors.
    pub(crate) cpus: u8,
    /// Directory seen as `/host`.
    pub(crate) share: PathBuf,
    /// Private directory: the job, sockets, the kernel's log.
    pub(crate) run_dir: PathBuf,
    /// Disks in order.
    pub(crate) disks: Vec<Disk>,
    /// What the NIC's cable leads to, as in QEMU's `-netdev`, without the id.
    pub(crate) network: String,
    /// Words before the command line of QEMU: what puts it into a network namespace.
    pub(crate) entry: Vec<String>,
    /// Where to write what passes on the cable.
    pub(crate) capture: Option<PathBuf>,
    /// What protects memory from devices.
    pub(crate) iommu: Iommu,
    /// More words for the kernel's command line; the last of several wins.
    pub(crate) append: String,
    /// More arguments for QEMU.
    pub(crate) extra: Vec<String>,
}

/// A disk of the machine: `/dev/vda`, `/dev/vdb`, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Raw image.
    pub(crate) image: PathBuf,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
}

impl std::str::FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (image, read_only) = text.strip_suffix(",ro").map_or((text, false), |image| (image, true));
        if !Path::new(image).exists() {
            return Err(format!("no file {image}"));
        }
        Ok(Self { image: PathBuf::from(image), read_only })
    }
}

impl Machine {
    /// The machine of tests and demos, with `share` as `/host`: Debian's kernel, a NIC in QEMU's user network.
    ///
    /// # Errors
    /// When kernel or initramfs cannot be made.
    pub(crate) fn usual(accel: Accel, share: PathBuf, run_dir: PathBuf) -> Result<Self> {
        let kernel = kernel::debian()?;
        Ok(Self {
            initramfs: initramfs::lab(&kernel)?,
            kernel: kernel.image,
            accel,
            memory_mib: USUAL_MIB,
            cpus: USUAL_CPUS,
            share,
            run_dir,
            disks: Vec::new(),
            network: USUAL_NETWORK.to_owned(),
            entry: Vec::new(),
            capture: None,
            iommu: Iommu::default(),
            append: String::new(),
            extra: Vec::new(),
        })
    }

    /// The kernel's console, written by QEMU.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.run_dir.join("console.log")
    }

    /// The command that starts the machine. It ends with its parent.
    pub(crate) fn command(&self) -> Command {
        let dying = ["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64"];
        let mut words = self.entry.iter().map(String::as_str).chain(dying);
        let mut command = Command::new(words.next().unwrap_or("setpriv"));
        command.args(words);
        self.board(&mut command);
        self.ports(&mut command);
        self.network(&mut command);
        for disk in &self.disks {
            let read_only = if disk.read_only { ",read-only=on" } else { "" };
            let drive = join("if=virtio,format=raw,file.locking=off,file=", &disk.image, read_only);
            command.arg("-drive").arg(drive);
        }
        command.args(["-device", "pcie-root-port,id=rp2,slot=2,addr=11,chassis=2"]);
        command.args(["-device", "qemu-xhci,id=xhci,bus=rp2"]);
        command.args(&self.extra);
        command
    }

    fn board(&self, command: &mut Command) {
        let (accel, cpu) = match self.accel {
            Accel::Tcg => ("tcg,thread=multi", EPYC),
            Accel::Kvm => ("kvm", "host"),
        };
        command.args(["-M", "q35,kernel-irqchip=split", "-accel", accel, "-cpu", cpu]);
        command.arg("-smp").arg(self.cpus.to_string()).arg("-m").arg(format!("{}M", self.memory_mib));
        command.args(["-display", "none", "-no-reboot", "-nodefaults", "-monitor", "none"]);
        let remapping = match self.iommu {
            Iommu::Full => Some("on"),
            Iommu::NoRemapping => Some("off"),
            Iommu::None => None,
        };
        if let Some(remapping) = remapping {
            command.arg("-device").arg(format!("intel-iommu,intremap={remapping},caching-mode=on"));
        }
        command.args(["-device", "virtio-rng-pci"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        command.arg("-append").arg(format!(
            "console=ttyS0 panic=-1 rdinit=/init quiet intel_iommu=on iommu=nopt mitigations=off \
             random.trust_cpu=on no_timer_check {}",
            self.append
        ));
    }

    /// Consoles and shares: the kernel's log, the job's output (or terminal), its exit status, directories.
    fn ports(&self, command: &mut Command) {
        command.arg("-serial").arg(join("file:", &self.console_log(), ""));
        command.args(["-device", "virtio-serial-pci"]);
        let terminal = join("socket,id=terminal,path=", &self.run_dir.join(crate::job::TERMINAL), "");
        command.arg("-chardev").arg(terminal);
        command.args(["-device", "virtconsole,chardev=terminal"]);
        for port in crate::job::PORTS {
            let socket = join(&format!("socket,id={port},path="), &self.run_dir.join(port), "");
            command.arg("-chardev").arg(socket);
            command.arg("-device").arg(format!("virtserialport,chardev={port},name=lab.{port}"));
        }
        for (tag, path) in [("lab", &self.run_dir), ("host", &self.share)] {
            let share =
                join("local,security_model=none,multidevs=remap,path=", path, &format!(",mount_tag={tag}"));
            command.arg("-virtfs").arg(share);
        }
    }

    fn network(&self, command: &mut Command) {
        command.args(["-device", "pcie-root-port,id=rp1,slot=1,addr=10,chassis=1"]);
        command.arg("-netdev").arg(format!("{},id=cable", self.network));
        command.args(["-device", "e1000e,netdev=cable,bus=rp1,romfile=,mac=52:54:00:12:34:56"]);
        if let Some(capture) = &self.capture {
            command.arg("-object").arg(join("filter-dump,id=capture,netdev=cable,file=", capture, ""));
        }
    }
}

/// A child's end as ours; a signal becomes 128 and its number, as in a shell.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let signal = || status.signal().map(|signal| signal.saturating_add(128));
    let code = status.code().or_else(signal).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// A QEMU option around a path; QEMU wants commas in values doubled.
fn join(before: &str, path: &Path, after: &str) -> OsString {
    let mut option = OsString::from(before);
    option.push(path.to_string_lossy().replace(',', ",,"));
    option.push(after);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_do_not_become_options() {
        assert_eq!(join("file=", Path::new("/a,b/c"), ",x"), OsString::from("file=/a,,b/c,x"));
    }

    #[test]
    fn disk_must_exist() {
        assert!("/nonexistent/disk".parse::<Disk>().is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let disk: Disk = format!("{path},ro").parse().unwrap();
        assert_eq!(disk, Disk { image: file.path().to_owned(), read_only: true });
    }
}
