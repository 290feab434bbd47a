//! One guest: its process, its control connection, and commands through its agent.

use super::initramfs::with_agent;
use bulkhead_agent::frame::{self, Exec, FromAgent, ToAgent};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vmm_api::message::{End, Event, Request, What};
use vmm_api::wire;

/// Under emulation a nested boot takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running machine.
pub(crate) struct Guest {
    process: Child,
    control: Mutex<OwnedFd>,
    next_id: AtomicU64,
    _files: tempfile::TempDir,
}

fn environment(name: &str) -> std::path::PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")).into()
}

impl Guest {
    /// Starts a machine with these devices and waits until its agent answers.
    pub(crate) fn start(name: &str, devices: &serde_json::Value) -> Self {
        let files = tempfile::tempdir().unwrap();
        let initramfs = files.path().join("initramfs");
        std::fs::write(
            &initramfs,
            with_agent(&environment("BULKHEAD_INITRAMFS"), &environment("BULKHEAD_AGENT")),
        )
        .unwrap();
        let mut config = serde_json::json!({
            "name": name,
            "kernel": {"path": environment("BULKHEAD_KERNEL")},
            "initrd": {"path": initramfs},
            // With its tick on: an emulated processor may lose the wake-up of a halted one (`lib/rt` says how).
            "cmdline": "console=ttyS0 panic=-1 quiet nohz=off",
            "memory_mib": 256,
            "vsock_cid": 3,
        });
        config.as_object_mut().unwrap().extend(devices.as_object().unwrap().clone());
        let path = files.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();

        let pair =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        fcntl_setfd(&pair.1, FdFlags::empty()).unwrap();
        let console = File::create(files.path().join("console")).unwrap();
        let process = Command::new(environment("BULKHEAD_VMM"))
            .arg("--config")
            .arg(&path)
            .arg("--control")
            .arg(format!("fd:{}", pair.1.as_raw_fd()))
            .stdin(Stdio::null())
            .stdout(console)
            .spawn()
            .unwrap();
        let control = Mutex::new(pair.0);
        let guest = Self { process, control, next_id: AtomicU64::new(1), _files: files };
        let (first, _) = wire::recv::<Event>(&*guest.control.lock().unwrap()).unwrap();
        assert_eq!(first, Event::Running);
        let start = Instant::now();
        while guest.try_run("true", b"").is_none() {
            assert!(start.elapsed() < PATIENCE, "{name}: the agent does not answer");
            std::thread::sleep(Duration::from_millis(300));
        }
        guest
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&self, what: What, fds: &[BorrowedFd<'_>]) -> Result<Event, String> {
        let control = self.control.lock().unwrap();
        let id = self.next_id.fetch_add(1, Ordering::SeqCst);
        wire::send(&*control, &Request { id, what }, fds).unwrap();
        match wire::recv::<Event>(&*control).unwrap().0 {
            Event::Failed { error, .. } => Err(error),
            event => Ok(event),
        }
    }

    fn connect(&self, port: u32) -> Option<UnixStream> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.request(What::VsockConnect { port }, &[theirs.as_fd()]).ok()?;
        drop(theirs);
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(ours)
    }

    /// Whether the guest refuses a stream to this port.
    pub(crate) fn refused(&self, port: u32) -> bool {
        use std::io::Read;
        self.connect(port).unwrap().read(&mut [0]).unwrap() == 0
    }

    /// Runs a shell script with this standard input; `None` when the agent is not there yet.
    fn try_run(&self, script: &str, input: &[u8]) -> Option<Vec<u8>> {
        let mut stream = self.connect(bulkhead_agent::PORT)?;
        let argv = ["/bin/sh", "-c", script].map(|word| word.as_bytes().to_vec()).to_vec();
        let env = vec![b"PATH=/bin".to_vec()];
        frame::write(&mut stream, &ToAgent::Exec(Exec { argv, env, terminal: None })).ok()?;
        let mut writer = stream.try_clone().unwrap();
        let mut output = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A command that ends early does not read its input; its result says enough.
                for piece in input.chunks(32 * 1024) {
                    let _ = frame::write(&mut writer, &ToAgent::Stdin(piece.to_vec()));
                }
                let _ = frame::write(&mut writer, &ToAgent::StdinEnd);
            });
            loop {
                match frame::read::<FromAgent>(&mut stream).ok()?? {
                    FromAgent::Stdout(bytes) => output.extend(bytes),
                    FromAgent::Stderr(text) => eprint!("{}", String::from_utf8_lossy(&text)),
                    FromAgent::Started => {}
                    FromAgent::Exited(_) => return Some(output),
                    other => panic!("{script}: {other:?}"),
                }
            }
        })
    }

    /// Runs a shell script with this standard input; its standard output.
    pub(crate) fn run(&self, script: &str, input: &[u8]) -> Vec<u8> {
        self.try_run(script, input).unwrap_or_else(|| panic!("no answer to: {script}"))
    }

    /// Runs a shell script; its standard output.
    pub(crate) fn shell(&self, script: &str) -> Vec<u8> {
        self.run(script, b"")
    }

    /// All counters.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        match self.request(What::Stats, &[]).unwrap() {
            Event::Stats { counters, .. } => counters,
            other => panic!("{other:?}"),
        }
    }

    /// One counter.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let all = self.counters();
        all.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no counter {name} in {all:?}")).1
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Ok(control) = self.control.lock() {
            let _ = wire::send(&*control, &Request { id: 0, what: What::Kill }, &[]);
        }
        let _ = self.process.wait();
    }
}

/// Joins the first interfaces of two machines, as dom0 does: prepare both ends, then attach both.
pub(crate) fn join(one: &Guest, two: &Guest, epoch: u64) {
    let region_len = abi::link_device::HEADER_LEN + abi::link_device::DEFAULT_DATA_LEN;
    let end = End::Vif(0);
    let regions = [one, two].map(|guest| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let region = memfd_create("link", flags).unwrap();
        ftruncate(&region, region_len.into()).unwrap();
        guest.request(What::PrepareLink { end }, &[region.as_fd()]).unwrap();
        region
    });
    let bells = [(); 2].map(|()| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
    let attach = What::AttachLink { end, epoch, role: 3, region_len };
    let [a, b] = &regions;
    one.request(attach.clone(), &[b.as_fd(), bells[0].as_fd(), bells[1].as_fd()]).unwrap();
    two.request(attach, &[a.as_fd(), bells[1].as_fd(), bells[0].as_fd()]).unwrap();
}
