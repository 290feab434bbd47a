//! Hundreds of lives of the program in one layer: whatever it has open when it ends, nothing of it is left, neither of its
//! own memory nor of the kernel's.

use cap::Cap;
use std::alloc::System;
use torvm::calls::Outcome;
use torvm::fake::mirror::{End, FAR, Mirror};
use torvm::fake::{FakeDisk, FakeProcessor, bundle};
use torvm::files::Limits;
use torvm::layer::{Layer, Parts};
use torvm::loader::Invocation;
use torvm::memory::UserMemory;
use torvm::net::Net;
use torvm::processor::Call;
use torvm::time::Now;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Lives of one program.
const LIVES: usize = 200;
/// After these everything that grows once has grown.
const FIRST: usize = 20;
const MEMORY: usize = 64 << 20;
const INVOCATION: Invocation<'_> =
    Invocation { path: b"/gateway", arguments: &[b"gateway"], environment: &[] };
const NONBLOCK: u64 = 0o4000;
const CREATE: u64 = 0o101;
const CWD: u64 = (-100_i64).cast_unsigned();

struct Machine {
    layer: Layer<FakeProcessor, Net<End>, FakeDisk>,
    mirror: Mirror,
    now: Now,
    buffer: u64,
}

fn random(out: &mut [u8]) {
    out.iter_mut().zip(1..).for_each(|(to, byte)| *to = byte);
}

impl Machine {
    fn new() -> Self {
        let program = bundle::program(&bundle::headers());
        let archive = bundle::archive(&[("gateway", &program), ("etc/", b""), ("etc/passwd", b"root\n")]);
        let (mirror, net) = Mirror::new();
        let layer = Layer::new(Parts {
            processor: FakeProcessor::new(MEMORY),
            sockets: net,
            disk: Some(FakeDisk::new(4096)),
            bundle: archive.leak(),
            random,
            limits: Limits { bytes: 16 << 20, ..Limits::default() },
        });
        let now = Now { us: 1_000_000, wall_ns: 1_800_000_000_000_000_000 };
        Self { layer: layer.expect("a sound bundle"), mirror, now, buffer: 0 }
    }

    fn call(&mut self, number: i64, arguments: &[u64]) -> i64 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let call = Call { number: number.cast_unsigned(), arguments: all };
        let outcome = self.layer.answer_to(&call, self.now);
        let Outcome::Return(value) = outcome else { panic!("call {number}: {outcome:?}") };
        self.pass(0);
        value
    }

    /// A call that has to succeed.
    fn must(&mut self, number: i64, arguments: &[u64]) -> u64 {
        let value = self.call(number, arguments);
        u64::try_from(value).unwrap_or_else(|_| panic!("call {number}: {value}"))
    }

    fn pass(&mut self, us: u64) {
        self.now.us += us;
        self.now.wall_ns += us * 1000;
        self.mirror.settle(self.layer.sockets(), self.now.us);
    }

    /// Puts bytes into the program's memory, at the given distance from its buffer.
    fn put(&mut self, at: u64, bytes: &[u8]) -> u64 {
        let at = self.buffer + at;
        self.layer.processor().write(at, bytes).expect("the program's memory");
        at
    }

    fn address(&mut self, ip: [u8; 4], port: u16) -> u64 {
        self.put(512, &[&[2, 0][..], &port.to_be_bytes(), &ip, &[0; 8]].concat())
    }

    fn socket(&mut self, kind: u64) -> u64 {
        self.must(libc::SYS_socket, &[2, kind | NONBLOCK, 0])
    }

    /// A program that has something of everything, in the middle of it all.
    fn live(&mut self, life: usize) {
        self.layer.start_program(&INVOCATION).expect("a sound program");
        self.buffer = self.must(libc::SYS_mmap, &[0, 1 << 22, 3, 0x22, u64::MAX, 0]);
        self.leave_files(life);
        let set = self.must(libc::SYS_epoll_create1, &[0]);
        let event = self.must(libc::SYS_eventfd2, &[7, NONBLOCK]);
        self.must(libc::SYS_socketpair, &[1, 1 | NONBLOCK, 0, self.buffer]);
        self.must(libc::SYS_dup, &[set]);
        let streams = self.leave_connections();
        for fd in [event].into_iter().chain(streams) {
            let wish = self.put(0, &[&(1_u32 << 31 | 5).to_le_bytes()[..], &fd.to_le_bytes()].concat());
            self.must(libc::SYS_epoll_ctl, &[set, 1, fd, wish]);
        }
    }

    /// Files of which some are open and some are half written.
    fn leave_files(&mut self, life: usize) {
        for (number, directory) in ["/tmp", "/state", "/cache"].into_iter().cycle().take(12).enumerate() {
            let path = self.put(0, format!("{directory}/{number}.new\0").as_bytes());
            let fd = self.must(libc::SYS_openat, &[CWD, path, CREATE, 0o600]);
            let content = self.put(1024, &life.to_le_bytes().repeat(500));
            self.must(libc::SYS_write, &[fd, content, 4_000]);
            if number < 6 {
                let to = self.put(128, format!("{directory}/{number}\0").as_bytes());
                let from = self.put(0, format!("{directory}/{number}.new\0").as_bytes());
                self.must(libc::SYS_rename, &[from, to]);
            }
        }
    }

    /// Connections: begun, established, with data on the way in both directions, half closed, not accepted yet, and
    /// to where nobody listens.
    fn leave_connections(&mut self) -> Vec<u64> {
        let listener = self.socket(1);
        let here = self.address([0; 4], 9040);
        self.must(libc::SYS_bind, &[listener, here, 16]);
        self.must(libc::SYS_listen, &[listener, 16]);
        let names = self.socket(2);
        let here = self.address([0; 4], 5300);
        self.must(libc::SYS_bind, &[names, here, 16]);
        let mut open = vec![listener, names];
        for number in 0..8 {
            let stream = self.socket(1);
            let there = self.address(FAR.octets(), if number == 7 { 1 } else { 9040 });
            assert_eq!(self.call(libc::SYS_connect, &[stream, there, 16]), -i64::from(libc::EINPROGRESS));
            let data = self.put(4096, &[7; 60_000]);
            let _ = self.call(libc::SYS_sendto, &[stream, data, 60_000, 0x4000, 0, 0]);
            open.push(stream);
            if number < 5 {
                let accepted = self.must(libc::SYS_accept4, &[listener, 0, 0, NONBLOCK]);
                let _ = self.call(libc::SYS_sendto, &[accepted, data, 60_000, 0x4000, 0, 0]);
                open.push(accepted);
            }
            if number == 3 {
                self.must(libc::SYS_shutdown, &[stream, 1]);
            }
        }
        open
    }

    /// What there is between two lives: bytes of the kernel's memory, bytes left for the program, its files.
    fn left(&mut self) -> (usize, u64) {
        (HEAP.allocated(), self.layer.processor().left())
    }
}

#[test]
fn nothing_is_left_of_a_program_that_ended() {
    let mut machine = Machine::new();
    let mut after_first = None;
    for life in 0..LIVES {
        machine.live(life);
        machine.layer.end_program();
        // As long as a connection that has ended is remembered.
        machine.pass(120_000_000);
        if life == FIRST {
            after_first = Some(machine.left());
        }
    }
    let (heap, memory) = machine.left();
    let (heap_before, memory_before) = after_first.expect("so many lives");
    eprintln!("{heap} bytes of the heap and {memory} of the program's memory after {LIVES} lives");
    assert_eq!(memory, memory_before, "memory of the program");
    assert!(heap <= heap_before, "the kernel's memory: {heap_before} bytes, then {heap}");
}
