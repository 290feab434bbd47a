//! The runtime under our monitor: how a unikernel ends, and its links. This test is dom0 and the peer.
//!
//! Needs KVM, `target/debug/bulkhead-vmm` and `target/image/probe` beside it; skipped aloud otherwise. In the
//! lab: build `-p hypervisor`, `-p probes --features image --profile image` and this test, then run its binary.

use link::host::EventBell;
use link::shared::{ReadOnly, Writable};
use link::{Armed, Geometry, Kind, Link, Meta, SendError};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use vmm_api::message::{End, Ended, Event, Request, What};
use vmm_api::wire;

const DOM0: u32 = abi::link_device::Role::Dom0 as u32;
/// A ring that is filled often.
const GEOMETRY: Geometry = Geometry { data_len: 64 * 1024 };

/// The build directory that this program lies in.
fn target() -> Option<PathBuf> {
    std::env::current_exe().ok()?.ancestors().nth(3).map(Path::to_owned)
}

/// Program and image; says aloud why not.
fn ready() -> Option<(PathBuf, PathBuf)> {
    let skip = |why: &str| {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}: no link was tested against the monitor");
        None
    };
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "svm" || flag == "vmx") {
        return skip("the processor offers no virtualisation");
    }
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("/dev/kvm cannot be opened");
    }
    let (program, image) = (target()?.join("debug/bulkhead-vmm"), target()?.join("image/probe"));
    if !program.exists() || !image.exists() {
        return skip("bulkhead-vmm or the probe image is not built");
    }
    Some((program, image))
}

struct Vm {
    child: Child,
    socket: OwnedFd,
    id: u64,
    directory: tempfile::TempDir,
}

impl Vm {
    fn start(program: &Path, image: &Path, probe: &str) -> Self {
        Self::start_with(program, image, probe, &serde_json::json!({}))
    }

    fn start_with(program: &Path, image: &Path, probe: &str, devices: &serde_json::Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (config, console) = (directory.path().join("config"), directory.path().join("console"));
        let mut json = serde_json::json!({
            "name": "echo", "kernel": { "path": image }, "cmdline": format!("probe={probe}"), "memory_mib": 16,
            "boot_info": true, "link_ports": 3,
        });
        json.as_object_mut().unwrap().extend(devices.as_object().unwrap().clone());
        std::fs::write(&config, json.to_string()).unwrap();
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .arg("--control")
            .arg(format!("fd:{}", theirs.as_raw_fd()))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(console).unwrap())
            .spawn()
            .unwrap();
        let mut vm = Self { child, socket, id: 0, directory };
        assert_eq!(vm.event(), Event::Running);
        vm
    }

    fn event(&mut self) -> Event {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap();
        assert_eq!(ready, 1, "no event within a minute; {}", self.last_seen());
        wire::recv(&self.socket).unwrap().0
    }

    fn does(&mut self, what: What, fds: &[&OwnedFd]) {
        self.id += 1;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        wire::send(&self.socket, &Request { id: self.id, what }, &fds).unwrap();
        assert_eq!(self.event(), Event::Done { id: self.id });
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("console")).unwrap()
    }

    /// What there is to see of a machine that does not answer: its console, and where each thread of the monitor is.
    fn last_seen(&self) -> String {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        let threads = std::fs::read_dir(tasks).into_iter().flatten().flatten().map(|task| {
            let file = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let status = file("status");
            let told = ["State", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
            let status = status.lines().filter(|line| told.iter().any(|name| line.starts_with(name)));
            let status = status.collect::<Vec<_>>().join(", ");
            format!("{}: {status}, system call {}{}", file("comm").trim(), file("syscall"), file("stack"))
        });
        format!("console:\n{}\nthreads:\n{}", self.console(), threads.collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cheap random numbers (xorshift).
struct Dice(u64);

impl Dice {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Our end of a port's link.
struct Peer {
    link: Link<EventBell>,
    rung: OwnedFd,
}

fn region() -> OwnedFd {
    let fd = memfd_create("region", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, GEOMETRY.region_len() as u64).unwrap();
    fd
}

fn map(fd: &OwnedFd, protection: ProtFlags) -> NonNull<u8> {
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let at = unsafe {
        mmap(std::ptr::null_mut(), GEOMETRY.region_len(), protection, MapFlags::SHARED, fd, 0).unwrap()
    };
    NonNull::new(at.cast()).unwrap()
}

impl Peer {
    /// Attaches a fresh link to `port`, as dom0 does.
    fn attach(vm: &mut Vm, port: u8, epoch: u64) -> Self {
        Self::attach_with(vm, port, epoch, &[])
    }

    /// The same, with records in it before the guest knows of it: only the state of the bell tells of them.
    fn attach_with(vm: &mut Vm, port: u8, epoch: u64, early: &[&[u8]]) -> Self {
        let (theirs, ours) = (region(), region());
        let (rung, bell) =
            (eventfd(0, EventfdFlags::NONBLOCK).unwrap(), eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let tx = map(&ours, ProtFlags::READ | ProtFlags::WRITE);
        let rx = map(&theirs, ProtFlags::READ);
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_add_seals(&ours, seals).unwrap();
        vm.does(What::PrepareLink { end: End::Port(port) }, &[&theirs]);
        // SAFETY: fresh shared mappings of that length, never unmapped, reached through the link alone.
        let (tx, rx) =
            unsafe { (Writable::new(tx, GEOMETRY.region_len()), ReadOnly::new(rx, GEOMETRY.region_len())) };
        let ours_of_bell = bell.try_clone().unwrap();
        let mut link = Link::new(GEOMETRY, tx, rx, epoch, EventBell::new(ours_of_bell)).unwrap();
        for record in early {
            link.send(&Meta::default(), &[record]).unwrap();
        }
        link.publish();
        let region_len = u32::try_from(GEOMETRY.region_len()).unwrap();
        let attach = What::AttachLink { end: End::Port(port), epoch, role: DOM0, region_len };
        vm.does(attach, &[&ours, &rung, &bell]);
        Self { link, rung }
    }

    /// Sleeps until the guest rings; a lost wake-up fails here.
    fn sleep(&mut self, vm: &Vm) {
        if self.link.arm() == Armed::Pending {
            return;
        }
        let mut fds = [PollFd::new(&self.rung, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 30, tv_nsec: 0 })).unwrap();
        assert_eq!(ready, 1, "the guest never rang; {}", vm.last_seen());
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.rung, &mut count);
    }

    /// Waits for one record that must be this.
    fn expect(&mut self, vm: &Vm, record: &[u8]) {
        let mut buffer = [0; 64];
        let len = loop {
            match self.link.recv(&mut buffer).unwrap() {
                Some((_, len)) => break len,
                None => self.sleep(vm),
            }
        };
        assert_eq!(buffer[..len], *record);
    }

    /// Sends single records and small bursts with pauses in between, and waits for the answer to each: some find
    /// the guest asleep, some falling asleep, some awake, and none may be left lying.
    fn trickle(&mut self, vm: &Vm, volleys: u32) {
        let mut dice = Dice(u64::from(volleys) << 32 | 0x9E37_79B9);
        for _ in 0..volleys {
            std::thread::sleep(Duration::from_micros(dice.below(600)));
            let records: Vec<_> = (0..=dice.below(4)).map(|n| [n, dice.below(u64::MAX)]).collect();
            let bytes = |record: &[u64; 2]| record.map(u64::to_le_bytes).concat();
            for record in &records {
                self.link.send(&Meta::default(), &[&bytes(record)]).unwrap();
                if dice.below(2) == 0 {
                    self.link.publish();
                }
            }
            self.link.publish();
            for record in &records {
                self.expect(vm, &bytes(record));
            }
        }
        self.link.release();
    }

    /// Sends `count` records of many sizes in bursts and gets every one back, in order.
    fn exchange(&mut self, vm: &Vm, count: usize) {
        let payload = |n: usize| -> Vec<u8> {
            let len = [60, 1514, 9000, 1, 300, 20_000][n % 6] + n % 7;
            (0..len).map(|i| ((i ^ n) & 0xFF).to_le_bytes()[0]).collect()
        };
        let kind = |n: usize| if n.is_multiple_of(5) { Kind::Message } else { Kind::Frame };
        let mut buffer = vec![0; 70_000];
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count {
                match self.link.send(&Meta { kind: kind(sent), ..Meta::default() }, &[&payload(sent)]) {
                    Ok(()) => sent += 1,
                    Err(SendError::Full) => break,
                    Err(why) => panic!("{why:?}"),
                }
            }
            self.link.publish();
            while let Some((meta, len)) = self.link.recv(&mut buffer).unwrap() {
                assert!(buffer[..len] == payload(received)[..], "record {received} came back changed");
                assert_eq!(meta.kind, kind(received));
                received += 1;
            }
            self.link.release();
            if received < count {
                self.sleep(vm);
            }
        }
    }
}

#[test]
fn a_unikernel_echoes_over_links_that_come_and_go() {
    let Some((program, image)) = ready() else { return };
    let mut vm = Vm::start(&program, &image, "link");
    let mut first = Peer::attach(&mut vm, 0, 5);
    first.exchange(&vm, 2_000);
    let mut second = Peer::attach(&mut vm, 2, 1);
    second.exchange(&vm, 500);
    // The peer of port 0 is replaced without a word; port 2 does not notice.
    let mut replaced = Peer::attach(&mut vm, 0, 6);
    replaced.exchange(&vm, 500);
    second.exchange(&vm, 100);
    vm.does(What::DetachLink { end: End::Port(2) }, &[]);
    replaced.link.send(&Meta::default(), &[b"quit"]).unwrap();
    replaced.link.publish();
    assert_eq!(vm.event(), Event::Ended(Ended::Exited(0)), "{}", vm.console());
    let console = vm.console();
    eprintln!("{console}\npeer of port 0: {:?}", first.link.counters());
    let lines: Vec<_> = console.lines().filter_map(|line| line.split_once("port ").map(|(_, l)| l)).collect();
    assert_eq!(
        lines,
        ["0 up: Dom0, epoch 5", "2 up: Dom0, epoch 1", "0 down", "0 up: Dom0, epoch 6", "2 down",]
    );
}

#[test]
fn no_wake_up_is_lost_while_links_come_and_go() {
    let Some((program, image)) = ready() else { return };
    let mut vm = Vm::start(&program, &image, "link");
    let mut steady = Peer::attach(&mut vm, 0, 1);
    let mut kept = Vec::new();
    for epoch in 1..=20 {
        let mut other = Peer::attach_with(&mut vm, 1, epoch, &[b"early", b"bird"]);
        other.expect(&vm, b"early");
        other.expect(&vm, b"bird");
        other.trickle(&vm, 40);
        steady.trickle(&vm, 40);
        if epoch % 2 == 0 {
            vm.does(What::DetachLink { end: End::Port(1) }, &[]);
        }
        kept.push(other);
    }
    steady.link.send(&Meta::default(), &[b"quit"]).unwrap();
    steady.link.publish();
    assert_eq!(vm.event(), Event::Ended(Ended::Exited(0)), "{}", vm.console());
    eprintln!("{:?}", steady.link.counters());
}

#[test]
fn no_interrupt_of_the_network_device_is_lost() {
    let Some((program, image)) = ready() else { return };
    let here = |script: &str| assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    here("modprobe tun");
    let mut vm = Vm::start_with(&program, &image, "bounce", &serde_json::json!({"tap": {"path": "bounce0"}}));
    // The host has nothing to say by itself, so no frame of its own can cover up a lost wake-up.
    here("echo 1 > /proc/sys/net/ipv6/conf/bounce0/disable_ipv6");
    here("ifconfig bounce0 10.8.7.1 netmask 255.255.255.0 up");
    let socket = UdpSocket::bind("10.8.7.1:0").unwrap();
    socket.connect("10.8.7.2:7").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let begin = Instant::now();
    while !vm.console().contains("bouncing") {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", vm.console());
        std::thread::sleep(Duration::from_millis(50));
    }
    let (mut dice, mut slowest) = (Dice(0x9E37_79B9_7F4A_7C15), (Duration::ZERO, 0));
    for volley in 0..2_000 {
        std::thread::sleep(Duration::from_micros(dice.below(600)));
        let begin = Instant::now();
        let records: Vec<_> = (0..=dice.below(4)).map(|_| dice.below(u64::MAX).to_le_bytes()).collect();
        for record in &records {
            socket.send(record).unwrap();
        }
        for record in &records {
            let mut answer = [0; 64];
            let len = socket.recv(&mut answer);
            let len = len.unwrap_or_else(|why| panic!("volley {volley}: {why}; {}", vm.last_seen()));
            assert_eq!(answer[..len], *record);
        }
        slowest = slowest.max((begin.elapsed(), volley));
    }
    eprintln!("the slowest volley: {slowest:?}");
    socket.send(b"quit").unwrap();
    assert_eq!(vm.event(), Event::Ended(Ended::Exited(0)), "{}", vm.console());
}

#[test]
fn the_monitor_learns_how_a_unikernel_ended() {
    let Some((program, image)) = ready() else { return };
    for (probe, ended, words) in [
        ("exit", Ended::Exited(21), ""),
        ("timer", Ended::Exited(0), "task slept"),
        ("alarms", Ended::Exited(0), "timers beside alarms"),
        ("panic", Ended::Panicked, "as asked"),
        ("overflow", Ended::Panicked, "stack overflow"),
        ("write-code", Ended::Panicked, "write to read-only memory"),
        ("run-data", Ended::Panicked, "execution of data"),
        ("null-write", Ended::Panicked, "null pointer"),
    ] {
        let mut vm = Vm::start(&program, &image, probe);
        assert_eq!(vm.event(), Event::Ended(ended), "{probe}: {}", vm.console());
        assert!(vm.console().contains(words), "{probe}: {}", vm.console());
    }
}
