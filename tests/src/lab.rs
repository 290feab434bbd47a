//! The lab machine as a test sees it from outside: its dom0 takes commands, its cable can be watched and
//! spoken on, and a web server stands behind the outer network's router.

pub mod cable;
mod dom0;
pub mod station;
pub mod web;

pub use dom0::{Done, Pending};

use dom0::Dom0;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// PCI address of the lab's network card.
pub const NIC: &str = "0000:01:00.0";
/// Its hardware address.
pub const NIC_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// What `cargo xtask stage` has built.
pub struct Stage {
    directory: PathBuf,
    rootfs: PathBuf,
    xtask: PathBuf,
}

impl Stage {
    /// Finds it in `BULKHEAD_STAGE`, `BULKHEAD_ROOTFS` and `BULKHEAD_XTASK`, as `cargo xtask test` sets them;
    /// says aloud when it is not there.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        if let (Some(directory), Some(rootfs), Some(xtask)) =
            (path("BULKHEAD_STAGE"), path("BULKHEAD_ROOTFS"), path("BULKHEAD_XTASK"))
        {
            return Some(Self { directory, rootfs, xtask });
        }
        // Not `eprintln!`: that is kept from the user while a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no lab was staged: run `cargo xtask test`, or set BULKHEAD_STAGE and BULKHEAD_ROOTFS to \
             what `cargo xtask stage` prints and BULKHEAD_XTASK to the program"
        );
        None
    }
}

/// How a lab machine differs from the usual one.
#[derive(Default)]
pub struct Wishes {
    /// More options of `xtask lab`.
    pub options: Vec<OsString>,
}

impl Wishes {
    /// Adds an option of `xtask lab` and its value.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([option.into(), value.into()]);
        self
    }

    /// Adds words to QEMU's command line.
    #[must_use]
    pub fn qemu(self, words: &[&str]) -> Self {
        words.iter().fold(self, |wishes, word| wishes.with("--qemu", *word))
    }
}

/// A running lab machine; it ends when this is dropped.
pub struct Lab {
    process: Child,
    dom0: Dom0,
    directory: tempfile::TempDir,
}

impl Lab {
    /// Boots a lab machine and waits until its dom0 takes commands.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn boot(stage: &Stage, wishes: &Wishes) -> Self {
        let directory = tempfile::Builder::new().prefix("bulkhead-test.").tempdir().unwrap();
        let listener = Dom0::listen(directory.path());
        let mut disk = stage.rootfs.clone().into_os_string();
        disk.push(",ro");
        let mut command = Command::new("setpriv");
        // The machine must not outlive a test that is killed.
        command.args(["--pdeathsig", "TERM", "--"]).arg(&stage.xtask).arg("lab");
        command.arg("--share").arg(&stage.directory).arg("--disk").arg(disk);
        command.arg("--capture").arg(directory.path().join("cable.pcap"));
        command.arg("--console-log").arg(directory.path().join("console.log"));
        for word in Dom0::devices(directory.path()) {
            command.arg("--qemu").arg(word);
        }
        command.args(&wishes.options).args(["--timeout", "3600", "--", "sh", "-c", dom0::SERVE]);
        let mut process = command.stdin(Stdio::null()).spawn().expect("xtask lab starts");
        let dom0 = Dom0::accept(&listener, &mut process);
        let lab = Self { process, dom0, directory };
        let begun = Instant::now();
        lab.dom0("true").within(Duration::from_secs(300)).expect_success();
        eprintln!("lab: dom0 answers after {:.1} s", begun.elapsed().as_secs_f32());
        lab
    }

    /// Starts a shell script in dom0.
    #[must_use]
    pub fn dom0(&self, script: &str) -> Pending {
        self.dom0.start(script)
    }

    /// Runs a shell script in dom0 that must succeed; its standard output.
    ///
    /// # Panics
    /// When its status is not 0.
    pub fn sh(&self, script: &str) -> String {
        self.dom0(script).wait().expect_success()
    }

    /// Everything that has passed on the cable so far.
    #[must_use]
    pub fn cable(&self) -> Vec<cable::Frame> {
        cable::frames(&std::fs::read(self.directory.path().join("cable.pcap")).unwrap_or_default())
    }

    /// Where the test may put files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts bulkheadd and waits for its socket.
    pub fn start_daemon(&self) {
        self.sh("mkdir -p /etc/bulkhead/domains /run/bulkhead /var/log/bulkhead
            setsid bulkheadd >/run/bulkheadd.log 2>&1 </dev/null &
            for tenth in $(seq 600); do
                [ -S /run/bulkhead/bulkheadd.sock ] && exit 0
                sleep 0.1
            done
            cat /run/bulkheadd.log >&2
            exit 1");
    }

    /// Writes a domain file.
    pub fn domain(&self, name: &str, text: &str) {
        self.sh(&format!(
            "mkdir -p /etc/bulkhead/domains; cat >/etc/bulkhead/domains/{name}.toml <<'END'\n{text}\nEND"
        ));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = "tail -n 20 /var/log/bulkhead/*.log /run/bulkheadd.log; dmesg | tail -n 20";
            eprintln!("{}", self.dom0(logs).output(Duration::from_secs(20)));
        }
        self.dom0.end();
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(20) {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// After `limit`, with what was waited for.
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(300));
    }
}
