//! dom0's side of a probe: starts the program, speaks on the control connection, is a link's peer.

use crate::guest::Guest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};
use vmm_api::config::Config;
use vmm_api::message::{End, Ended, Event, Request, What};
use vmm_api::wire;

/// Under emulation on a busy machine a boot takes long.
const PATIENCE: Duration = Duration::from_secs(180);
/// Header page and data.
const REGION: u32 = 4096 + 65536;

/// Leaves the test, saying so, where no machine can run.
macro_rules! needs_kvm {
    () => {
        if let Err(reason) = host::kvm() {
            host::aloud(&format!("SKIPPED: {reason}"));
            return;
        }
    };
}
pub(crate) use needs_kvm;

/// Says it past the test harness, which swallows what passing tests print.
pub(crate) fn aloud(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A `/dev/kvm` without processor support answers calls and still cannot run a guest.
pub(crate) fn kvm() -> Result<(), String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").map_err(|e| e.to_string())?;
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx") {
        return Err("the processor offers no virtualisation".into());
    }
    std::fs::File::options().read(true).write(true).open("/dev/kvm").map_err(|e| format!("/dev/kvm: {e}"))?;
    Ok(())
}

fn program() -> Command {
    let built = env!("CARGO_BIN_EXE_bulkhead-vmm");
    Command::new(std::env::var("BULKHEAD_VMM").unwrap_or_else(|_| built.to_owned()))
}

/// Runs the program on a bad description and returns what it complains about.
pub(crate) fn refused(json: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json).unwrap();
    let output = program().arg("--config").arg(file.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

/// A running machine.
pub(crate) struct Vm {
    child: Child,
    socket: Option<OwnedFd>,
    next_id: u64,
    /// What the guest writes.
    pub(crate) console: Console,
    _files: tempfile::TempDir,
}

impl Vm {
    /// Starts a probe; `extra` continues the JSON object of the description.
    pub(crate) fn start(guest: &Guest, extra: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let kernel = files.path().join("kernel");
        std::fs::write(&kernel, guest.elf()).unwrap();
        let json = format!(r#"{{"name":"probe","kernel":{{"path":{kernel:?}}},"memory_mib":16{extra}}}"#);
        Self::run(files, &json)
    }

    /// Starts the machine of a description whose files are in `files`.
    pub(crate) fn run(files: tempfile::TempDir, json: &str) -> Self {
        let _: Config = serde_json::from_str(json).unwrap();
        let config = files.path().join("config");
        std::fs::write(&config, json).unwrap();
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
        let mut command = program();
        command.arg("--config").arg(&config).arg("--control").arg(format!("fd:{}", theirs.as_raw_fd()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let console = Console::follow(child.stdout.take().unwrap());
        Self { child, socket: Some(ours), next_id: 1, console, _files: files }
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Event {
        let socket = self.socket.as_ref().unwrap();
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 180, tv_nsec: 0 })).unwrap();
        assert_eq!(ready, 1, "no event in time; the console says:\n{}", self.console.text());
        wire::recv(socket).unwrap().0
    }

    pub(crate) fn ends(&mut self, expected: &Ended) {
        assert_eq!(self.next(), Event::Running);
        assert_eq!(self.next(), Event::Ended(expected.clone()));
    }

    fn request(&mut self, what: What, fds: &[BorrowedFd<'_>]) -> (u64, Event) {
        let id = self.next_id;
        self.next_id += 1;
        wire::send(self.socket.as_ref().unwrap(), &Request { id, what }, fds).unwrap();
        (id, self.next())
    }

    pub(crate) fn does(&mut self, what: What) {
        let (id, answer) = self.request(what, &[]);
        assert_eq!(answer, Event::Done { id });
    }

    pub(crate) fn fails(&mut self, what: What, fds: &[OwnedFd]) -> String {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match self.request(what, &fds) {
            (_, Event::Failed { error, .. }) => error,
            (_, other) => panic!("expected a failure, got {other:?}"),
        }
    }

    pub(crate) fn prepare(&mut self, end: End, link: &LinkPair) {
        let (id, answer) = self.request(What::PrepareLink { end }, &[link.guest_writes.as_fd()]);
        assert_eq!(answer, Event::Done { id });
    }

    pub(crate) fn attach(&mut self, end: End, epoch: u64, link: &LinkPair) {
        self.prepare(end, link);
        self.connect(end, epoch, link);
    }

    pub(crate) fn connect(&mut self, end: End, epoch: u64, link: &LinkPair) {
        let fds = link.attach_fds();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let (id, answer) = self.request(link.attach_request(end, epoch), &fds);
        assert_eq!(answer, Event::Done { id });
    }

    pub(crate) fn stats(&mut self) -> BTreeMap<String, u64> {
        match self.request(What::Stats, &[]) {
            (_, Event::Stats { counters, .. }) => counters.into_iter().collect(),
            (_, other) => panic!("expected counters, got {other:?}"),
        }
    }

    /// Types into the guest's console.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Closes the control connection, as a manager that dies.
    pub(crate) fn abandon(&mut self) {
        self.socket = None;
    }

    pub(crate) fn exits_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text that a guest writes, as it comes.
pub(crate) struct Console(Arc<Mutex<Vec<u8>>>);

impl Console {
    fn follow(mut from: ChildStdout) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&text);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut chunk) {
                theirs.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        Self(text)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Waits until `words` were written, and returns everything so far.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {words:?} on the console:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Both regions and both eventfds of a link whose other end is the test.
pub(crate) struct LinkPair {
    guest_writes: OwnedFd,
    we_write: OwnedFd,
    ours: MmapRegion,
    theirs: MmapRegion,
    ring: OwnedFd,
    bell: OwnedFd,
}

fn region() -> OwnedFd {
    let fd = memfd_create("region", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, REGION.into()).unwrap();
    fd
}

fn map(fd: &OwnedFd, prot: i32) -> MmapRegion {
    let file = std::fs::File::from(fd.try_clone().unwrap());
    MmapRegion::build(Some(FileOffset::new(file, 0)), REGION as usize, prot, 1).unwrap()
}

fn event() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap()
}

impl LinkPair {
    pub(crate) fn new() -> Self {
        let (guest_writes, we_write) = (region(), region());
        let ours = map(&we_write, 3);
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_add_seals(&we_write, seals).unwrap();
        let theirs = map(&guest_writes, 1);
        Self { guest_writes, we_write, ours, theirs, ring: event(), bell: event() }
    }

    pub(crate) fn attach_request(&self, end: End, epoch: u64) -> What {
        What::AttachLink { end, epoch, role: 1, region_len: REGION }
    }

    pub(crate) fn attach_fds(&self) -> Vec<OwnedFd> {
        [&self.we_write, &self.ring, &self.bell].map(|fd| fd.try_clone().unwrap()).into()
    }

    pub(crate) fn with_unsealed_region(&self) -> Vec<OwnedFd> {
        vec![region(), event(), event()]
    }

    pub(crate) fn fresh(&self) -> OwnedFd {
        region()
    }

    /// Waits until the guest rang.
    pub(crate) fn rung(&self, limit: Duration) -> bool {
        let seconds = i64::try_from(limit.as_secs()).unwrap();
        let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
    }

    pub(crate) fn read_theirs(&self, offset: usize) -> u32 {
        self.theirs.get_slice(offset, 4).unwrap().read_obj(0).unwrap()
    }

    pub(crate) fn write_ours(&self, offset: usize, value: u32) {
        self.ours.get_slice(offset, 4).unwrap().write_obj(value, 0).unwrap();
    }
}
