//! A machine in a directory: domain files, images that are scripts for the fake VMM, a sysfs with one card.

use dom0::protocol::{Answer, DomainStatus, Outcome, Phase, Request};
use dom0::settings::{Settings, Times};
use dom0::supervise::{Input, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything: nothing but a hang takes so long, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running supervisor and its directory.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    inbox: SyncSender<Input>,
    thread: Option<JoinHandle<()>>,
}

/// Where cargo put `examples/fake_vmm.rs`, next to this test.
fn fake_vmm() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/fake_vmm");
    assert!(path.exists(), "{} is missing: run the tests with `cargo test -p dom0`", path.display());
    path
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Has another process write a script: what this one had open for writing would for a moment be open in each process that
/// other tests start meanwhile, and could not be executed.
pub(crate) fn executable(path: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// A sysfs with one card, alone in its group, behind an IOMMU with interrupt remapping, with vfio-pci already.
pub(crate) fn card(root: &Path) {
    let function = root.join("sys/bus/pci/devices/0000:01:00.0");
    for (name, text) in
        [("vendor", "0x8086"), ("device", "0x10d3"), ("class", "0x020000"), ("reset_method", "pm bus")]
    {
        write(function.join(name), text);
    }
    let group = root.join("sys/kernel/iommu_groups/7");
    std::fs::create_dir_all(group.join("devices/0000:01:00.0")).unwrap();
    std::fs::create_dir_all(root.join("sys/bus/pci/drivers/vfio-pci")).unwrap();
    symlink(&group, function.join("iommu_group")).unwrap();
    symlink(root.join("sys/bus/pci/drivers/vfio-pci"), function.join("driver")).unwrap();
    write(root.join("proc/interrupts"), "  0:  1  IR-IO-APIC  2-edge  timer\n");
    write(root.join("dev/kvm"), "");
    write(root.join("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"), "N\n");
    write(root.join("dev/vfio/7"), "");
}

/// Puts domain files, images, the fake VMM and a card below `path`; see [`Machine::with_chain`].
pub(crate) fn lay_out(path: &Path) {
    card(&path.join("root"));
    for dir in ["lib", "log", "run", "domains"] {
        std::fs::create_dir_all(path.join(dir)).unwrap();
    }
    symlink(fake_vmm(), path.join("lib/bulkhead-vmm")).unwrap();
    let domain = |name: &str, text: &str| write(path.join("domains").join(format!("{name}.toml")), text);
    domain("net", "kind = \"netvm\"\ndevices = [\"01:00.0\"]\n");
    domain("fw", "kind = \"firewallvm\"\nnetvm = \"net\"\n");
    let app = |name: &str, more: &str| domain(name, &appvm(path, name, more));
    app("work", "netvm = \"fw\"");
    app("personal", "netvm = \"fw\"");
    app("vault", "");
    for image in ["netvm", "firewallvm", "torvm", "torvm.bundle", "work", "personal", "vault", "anon"] {
        write(path.join("lib").join(image), "ok");
    }
}

fn appvm(path: &Path, name: &str, more: &str) -> String {
    format!("kind = \"appvm\"\nkernel = {:?}\n{more}\n", path.join("lib").join(name))
}

impl Machine {
    /// netvm `net`, firewallvm `fw`, AppVMs `work` and `personal` behind it, AppVM `vault` offline.
    pub(crate) fn with_chain() -> Self {
        Self::with_times(|_| ())
    }

    /// The same; `change` shortens what a test waits for in vain. All other limits are beyond what a busy machine needs.
    pub(crate) fn with_times(change: impl FnOnce(&mut Times)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        lay_out(path);
        let mut times = Times {
            answer: Duration::from_secs(60),
            ready: Duration::from_secs(60),
            power_off: Duration::from_secs(60),
            stop: Duration::from_secs(60),
            ping: Duration::from_millis(100),
            silence: Duration::from_secs(60),
            clock: Duration::from_millis(300),
            documents: Duration::from_millis(700),
            rules: Duration::from_secs(60),
        };
        change(&mut times);
        let settings = Settings {
            config_dir: path.join("domains"),
            rules_dir: path.join("rules"),
            runtime_dir: path.join("run"),
            log_dir: path.join("log"),
            state_dir: path.join("state"),
            lib_dir: path.join("lib"),
            root: path.join("root"),
            times,
        };
        let (supervisor, inbox) = Supervisor::new(settings);
        let thread = Some(std::thread::spawn(move || supervisor.run()));
        Self { directory, inbox, thread }
    }

    /// The chain, and torvm `tor` behind `fw` with anonymous AppVM `anon` behind it.
    pub(crate) fn with_tor() -> Self {
        Self::with_tor_and_times(|_| ())
    }

    /// The same; see [`Machine::with_times`].
    pub(crate) fn with_tor_and_times(change: impl FnOnce(&mut Times)) -> Self {
        let machine = Self::with_times(change);
        machine.write_domain("tor", "kind = \"torvm\"\nnetvm = \"fw\"\n");
        machine.write_domain("anon", &machine.appvm("anon", "netvm = \"tor\"\nanonymous = true"));
        machine
    }

    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.directory.path().join(rest)
    }

    /// Text of an AppVM's file.
    pub(crate) fn appvm(&self, name: &str, more: &str) -> String {
        appvm(self.directory.path(), name, more)
    }

    pub(crate) fn write_domain(&self, name: &str, text: &str) {
        std::fs::write(self.path("domains").join(format!("{name}.toml")), text).unwrap();
    }

    /// Writes the script that a domain's next process follows.
    pub(crate) fn behaves(&self, name: &str, script: &str) {
        let image = match name {
            "net" => "netvm",
            "fw" => "firewallvm",
            "tor" => "torvm",
            app => app,
        };
        std::fs::write(self.path("lib").join(image), script).unwrap();
    }

    fn answer(&self, request: Request) -> (Vec<String>, Answer, Option<rustix::fd::OwnedFd>) {
        self.answer_to_text(request, None)
    }

    /// The answer to a request with a text enclosed.
    pub(crate) fn answer_to_text(
        &self,
        request: Request,
        text: Option<&str>,
    ) -> (Vec<String>, Answer, Option<rustix::fd::OwnedFd>) {
        let (reply, answers) = channel();
        self.inbox.send(Input::Request(request, text.map(str::to_owned), reply)).unwrap();
        let mut steps = Vec::new();
        loop {
            match answers.recv_timeout(PATIENCE).unwrap() {
                (Answer::Progress { text }, _) => steps.push(text),
                (last, stream) => return (steps, last, stream),
            }
        }
    }

    /// The steps of a request, or what went wrong.
    pub(crate) fn ask(&self, request: Request) -> Result<Vec<String>, String> {
        match self.answer(request) {
            (steps, Answer::Done(_), _) => Ok(steps),
            (_, Answer::Failed(problems), _) => Err(problems.to_string()),
            (_, Answer::Progress { .. }, _) => unreachable!(),
        }
    }

    pub(crate) fn status(&self, name: &str) -> DomainStatus {
        let (_, Answer::Done(Outcome::Status(all)), _) = self.answer(Request::Status) else {
            panic!("no status")
        };
        all.into_iter().find(|s| s.name.as_str() == name).unwrap()
    }

    pub(crate) fn phase(&self, name: &str) -> Phase {
        self.status(name).state
    }

    pub(crate) fn counters(&self, name: &str) -> Vec<(String, u64)> {
        let request = Request::Counters { domain: name.parse().unwrap() };
        let (_, Answer::Done(Outcome::Counters(counters)), _) = self.answer(request) else {
            panic!("no counters")
        };
        counters
    }

    pub(crate) fn type_into(&self, name: &str, text: &str) {
        let (_, _, stream) = self.answer(Request::Console { domain: name.parse().unwrap() });
        rustix::io::write(stream.unwrap(), text.as_bytes()).unwrap();
    }

    /// Waits until a domain's status is as wanted.
    pub(crate) fn wait_for(&self, name: &str, wanted: impl Fn(&DomainStatus) -> bool) -> DomainStatus {
        let start = Instant::now();
        loop {
            let status = self.status(name);
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("log").join(format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn log_has(&self, name: &str, text: &str) {
        self.log_has_times(name, text, 1);
    }

    /// Waits until a domain's log has `text` in so many lines.
    pub(crate) fn log_has_times(&self, name: &str, text: &str, times: usize) {
        let start = Instant::now();
        while self.log(name).lines().filter(|l| l.contains(text)).count() < times {
            assert!(start.elapsed() < PATIENCE, "{text:?} is not {times} times in:\n{}", self.log(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a domain's log has a line, and another one behind it.
    pub(crate) fn log_has_after(&self, name: &str, first: &str, then: &str) {
        let start = Instant::now();
        while !self.log(name).split_once(first).is_some_and(|(_, rest)| rest.contains(then)) {
            assert!(start.elapsed() < PATIENCE, "no {first:?} and then {then:?} in:\n{}", self.log(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Epochs with which an end was attached, in order.
    pub(crate) fn epochs(&self, name: &str, end: &str) -> Vec<u64> {
        let log = self.log(name);
        let lines = log.lines().filter(|l| l.starts_with(&format!("attached {end} ")));
        lines.map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Processes that domains have left in their logs and that still exist.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let names = ["net", "fw", "tor", "work", "personal", "vault", "anon"];
        names.iter().flat_map(|n| self.pids(n)).filter(|pid| is_alive(*pid)).collect()
    }

    fn pids(&self, name: &str) -> Vec<i32> {
        self.log(name).lines().filter_map(|l| l.strip_prefix("pid ")?.trim().parse().ok()).collect()
    }

    /// The latest process of a domain, once its log says which that is: a thread of its own writes it.
    pub(crate) fn latest_process(&self, name: &str) -> i32 {
        self.log_has(name, "pid ");
        *self.pids(name).last().unwrap()
    }

    /// Kills a domain's process, as a crash would.
    pub(crate) fn kill(&self, name: &str) {
        let pid = self.latest_process(name);
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    pub(crate) fn shut_down(&mut self) {
        self.inbox.send(Input::Shutdown).unwrap();
        let start = Instant::now();
        let thread = self.thread.take().unwrap();
        while !thread.is_finished() {
            assert!(start.elapsed() < PATIENCE, "the supervisor goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.inbox.send(Input::Shutdown).is_ok()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}
