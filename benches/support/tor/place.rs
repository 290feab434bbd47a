//! Where things are, and programs that end with this one.

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::Outcome;

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Runs a program to its end.
pub(crate) fn succeed(command: &mut Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", command.get_program()).into()) }
}

/// A program that is killed with this value, or with this program.
pub(crate) struct Ending(pub(crate) Child);

impl Ending {
    /// Starts `words`.
    pub(crate) fn start(words: &[&str], configure: impl FnOnce(&mut Command)) -> Outcome<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words).stdin(Stdio::null());
        configure(&mut command);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The network, what is measured, and a directory for what is written.
pub(crate) struct Place {
    /// Files of the network.
    pub(crate) network: PathBuf,
    /// Address of the web server.
    pub(crate) web: Ipv4Addr,
    /// torvm's kernel.
    pub(crate) kernel: PathBuf,
    /// Its bundle, configured for the network.
    pub(crate) bundle: PathBuf,
    /// The gateway program.
    pub(crate) gateway: PathBuf,
    /// Removed at the end.
    pub(crate) own: tempfile::TempDir,
}

impl Place {
    /// Asks the network's files, and `xtask` for the programs.
    pub(crate) fn find(xtask: &Path) -> Outcome<Self> {
        let network = PathBuf::from(std::env::var("BULKHEAD_TOR_NETWORK")?);
        let described: serde_json::Value = serde_json::from_slice(&fs::read(network.join("network.json"))?)?;
        let web = described["web"][0].as_str().ok_or("network.json names no web server")?.parse()?;
        let own = tempfile::Builder::new().prefix("bulkhead-bench.").tempdir()?;
        let bundle = own.path().join("bundle");
        let printed =
            Command::new(xtask).args(["torvm", "--bundle"]).arg(&bundle).stderr(Stdio::inherit()).output()?;
        let printed = String::from_utf8(printed.stdout)?;
        let mut paths = printed.lines().map(PathBuf::from);
        let (Some(kernel), Some(bundle), Some(gateway)) = (paths.next(), paths.next(), paths.next()) else {
            return Err("cargo xtask torvm failed".into());
        };
        Ok(Self { network, web, kernel, bundle, gateway, own })
    }

    /// Linux with the same program: kernel and initramfs.
    pub(crate) fn linux(&self, xtask: &Path) -> Outcome<(PathBuf, PathBuf)> {
        let initramfs = self.own.path().join("linux");
        let mut command = Command::new(xtask);
        command.arg("torvm").arg("--bundle").arg(&self.bundle).arg("--linux").arg(&initramfs);
        let printed = String::from_utf8(command.stderr(Stdio::inherit()).output()?.stdout)?;
        let kernel = printed.lines().nth(3).ok_or("there is no Linux for comparison")?;
        Ok((kernel.into(), initramfs))
    }
}

/// A client's namespace, and its address.
pub(crate) struct Namespace {
    holder: Ending,
}

impl Namespace {
    /// Makes one.
    pub(crate) fn new() -> Outcome<Self> {
        let mut holder =
            Ending::start(&["unshare", "--net", "sh", "-c", "echo made; exec sleep 1000000"], |command| {
                command.stdout(Stdio::piped());
            })?;
        let mut line = String::new();
        let out = holder.0.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        if line.trim() == "made" { Ok(Self { holder }) } else { Err("no namespace can be made".into()) }
    }

    /// Its name for `ip link set … netns`.
    pub(crate) fn pid(&self) -> String {
        self.holder.0.id().to_string()
    }

    /// A command inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid(), "--"]).arg(program);
        command
    }

    /// TCP packets received inside so far.
    pub(crate) fn packets(&self) -> Outcome<u64> {
        let output = self.command(Path::new("cat")).arg("/proc/self/net/snmp").output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = lines.next().zip(lines.next()).ok_or("no counters of TCP")?;
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, value) = pairs.find(|(name, _)| *name == "InSegs").ok_or("no counter of TCP's packets")?;
        Ok(value.parse()?)
    }

    /// Runs lines of shell inside.
    pub(crate) fn shell(&self, lines: &str) -> Outcome<()> {
        succeed(self.command(Path::new("sh")).args(["-e", "-c", lines]))
    }
}

/// Runs lines of shell beside the network.
pub(crate) fn shell(lines: &str) -> Outcome<()> {
    succeed(Command::new("sh").args(["-e", "-c", lines]))
}

/// Why there are no seconds of torvm: they would be those of an emulator.
pub(crate) fn no_kvm() -> String {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let extension = flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx");
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Err(error) => format!("none, as /dev/kvm cannot be opened: {error}"),
        Ok(_) if !extension => "none, as the processor shows neither svm nor vmx".to_owned(),
        Ok(_) => "pending: measured by nobody yet on a machine with KVM".to_owned(),
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> Result<f64, Box<dyn Error>> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
}
