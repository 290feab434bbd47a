//! The two programs as a user meets them: `bulkheadd` in the background, `bulkhead` in a shell.

use crate::machine::{PATIENCE, lay_out};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Daemon {
    pub(crate) directory: tempfile::TempDir,
    process: Child,
}

fn path_of(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        lay_out(directory.path());
        let process = daemon(directory.path()).spawn().unwrap();
        let daemon = Self { directory, process };
        let start = Instant::now();
        while !daemon.directory.path().join("run/bulkheadd.sock").exists() {
            assert!(start.elapsed() < PATIENCE, "no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
        command.args(["--runtime-dir", &path_of(self.directory.path(), "run")]);
        command.args(["--config-dir", &path_of(self.directory.path(), "domains")]);
        command.args(["--rules-dir", &path_of(self.directory.path(), "rules")]);
        command.args(arguments).env("BULKHEAD_LIB", self.directory.path().join("lib"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The same, once it has a whole line with `word` in it: logs and reports are on their way for a moment.
    pub(crate) fn says_at_last(&self, arguments: &[&str], word: &str) -> String {
        let start = Instant::now();
        loop {
            let said = self.says(arguments);
            if said.split_inclusive('\n').any(|line| line.contains(word) && line.ends_with('\n')) {
                return said;
            }
            assert!(start.elapsed() < PATIENCE, "no {word:?} in:\n{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn daemon(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkheadd"));
    for (option, name) in [
        ("--config-dir", "domains"),
        ("--rules-dir", "rules"),
        ("--runtime-dir", "run"),
        ("--log-dir", "log"),
        ("--state-dir", "state"),
        ("--lib-dir", "lib"),
        ("--root", "root"),
    ] {
        command.args([option, &path_of(directory, name)]);
    }
    command.stderr(Stdio::null());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

#[test]
fn a_session_at_the_shell() {
    let daemon = Daemon::start();
    let up = daemon.run(&["up", "work"]);
    assert!(up.status.success(), "{}", text(&up.stderr));
    assert!(text(&up.stderr).ends_with("starting work\nwork is up\n"), "{}", text(&up.stderr));
    let status = daemon.says(&["status"]);
    assert!(
        status.lines().any(|l| l.contains("work") && l.contains("running") && l.contains("10.137.0.14")),
        "{status}"
    );
    let json: serde_json::Value = serde_json::from_str(&daemon.says(&["status", "--json"])).unwrap();
    assert_eq!(json[0]["name"], "net");
    assert_eq!(json[0]["state"], "running");
    daemon.says_at_last(&["logs", "net", "-n", "200"], "attached Port(0)");
    assert!(daemon.says(&["counters", "fw"]).contains("forwarded"));
    assert!(daemon.says(&["check"]).contains("5 domains, nothing wrong"));
    daemon.says(&["down"]);
    let status = daemon.says(&["status"]);
    assert_eq!(status.matches("stopped").count(), 5, "{status}");
}

#[test]
fn run_passes_streams_and_status() {
    let daemon = Daemon::start();
    daemon.says(&["up", "vault"]);
    let output = daemon.run(&["run", "vault", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out\n", "err\n"));
    assert_eq!(output.status.code(), Some(42));
    let output = daemon.run(&["run", "vault", "--", "/no/such/program"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).starts_with("error: vault: /no/such/program: "), "{}", text(&output.stderr));
    let output = daemon.run(&["run", "fw", "--", "true"]);
    assert!(text(&output.stderr).contains("fw: is not running"), "{}", text(&output.stderr));
}

#[test]
fn refused_vsock_is_told() {
    let daemon = Daemon::start();
    std::fs::write(daemon.directory.path().join("lib/vault"), "no-agent").unwrap();
    daemon.says(&["up", "vault"]);
    let output = daemon.run(&["run", "vault", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("connection reset by the guest"), "{}", text(&output.stderr));
}

#[test]
fn console_goes_both_ways() {
    use std::io::{Read, Write};
    let daemon = Daemon::start();
    daemon.says(&["up", "vault"]);
    let mut console = daemon.command(&["console", "vault"]);
    let mut console =
        console.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = console.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    let (mut output, mut seen) = (console.stdout.take().unwrap(), Vec::new());
    while !text(&seen).contains("typed hello") {
        let mut some = [0; 64];
        let n = output.read(&mut some).unwrap();
        assert!(n > 0, "the console ended");
        seen.extend_from_slice(&some[..n]);
    }
    input.write_all(b"\x1d").unwrap();
    assert!(console.wait().unwrap().success());
}

#[test]
fn errors_have_a_remedy_and_a_status() {
    let daemon = Daemon::start();
    let output = daemon.run(&["up", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("error: nothing: there is no such domain\n  remedy: "), "{said}");
    std::fs::write(daemon.directory.path().join("domains/bad.toml"), "kind = \"appvm\"\nmemroy = 1\n")
        .unwrap();
    let output = daemon.run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("bad.toml:2: memroy: unknown field"), "{}", text(&output.stderr));
}

#[test]
fn without_a_daemon_the_user_is_told_to_start_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    let output =
        command.args(["--runtime-dir", &path_of(directory.path(), "run"), "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("remedy: start bulkheadd"), "{}", text(&output.stderr));
}

#[test]
fn second_daemon_is_refused_and_the_first_ends_on_a_signal() {
    let mut first = Daemon::start();
    first.says(&["up", "vault"]);
    let second = daemon(first.directory.path()).stderr(Stdio::piped()).output().unwrap();
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("another bulkheadd is running"), "{}", text(&second.stderr));
    let pid = rustix::process::Pid::from_child(&first.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(first.process.wait().unwrap().success());
    assert!(!first.directory.path().join("run/bulkheadd.sock").exists());
}

#[test]
fn hostile_clients_do_not_disturb() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let daemon = Daemon::start();
    let address = SocketAddrUnix::new(daemon.directory.path().join("run/bulkheadd.sock")).unwrap();
    for bytes in [
        &b"{}"[..],
        b"not json",
        &[0xff; 3000],
        br#"{"up":{"domains":["../../etc"]}}"#,
        br#"{"run":{}}"#,
        b"",
    ] {
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&socket, &address).unwrap();
        rustix::io::write(&socket, bytes).unwrap();
        let mut answer = [0; 64];
        assert_eq!(rustix::io::read(&socket, &mut answer).unwrap_or(0), 0, "the connection is closed");
    }
    assert!(daemon.says(&["status"]).contains("vault"));
}

#[test]
fn no_machine_outlives_a_killed_daemon() {
    let mut daemon = Daemon::start();
    daemon.says(&["up", "vault"]);
    let log = daemon.says_at_last(&["logs", "vault"], "pid ");
    let pid: i32 = log.lines().find_map(|l| l.strip_prefix("pid ")).unwrap().trim().parse().unwrap();
    assert!(crate::machine::is_alive(pid));
    daemon.process.kill().unwrap();
    daemon.process.wait().unwrap();
    let start = Instant::now();
    while crate::machine::is_alive(pid) {
        assert!(start.elapsed() < PATIENCE, "it goes on without its daemon");
        std::thread::sleep(Duration::from_millis(10));
    }
}
