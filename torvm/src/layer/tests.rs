//! What the layer promises its owner, and what it refuses the program.

use super::*;
use crate::errno::Errno;
use crate::fake::mirror::End;
use crate::fake::{FakeDisk, FakeProcessor, Mirror, bundle};
use crate::loader::Invocation;
use crate::memory::{Access, PAGE};
use crate::net::Net;
use crate::store::Found;
use alloc::vec;
use core::net::Ipv6Addr;
use packet::{ipv6::Ipv6, tcp::Tcp};
use proptest::prelude::*;
use std::sync::LazyLock;

extern crate std;

static BUNDLE: LazyLock<&'static [u8]> = LazyLock::new(|| {
    let program = bundle::program(&bundle::headers());
    bundle::archive(&[
        ("gateway", &program),
        ("etc/", b""),
        ("etc/passwd", b"root"),
        ("etc/gateway.toml", b"old"),
    ])
    .leak()
});

const INVOCATION: Invocation<'_> = Invocation { path: b"/gateway", arguments: &[], environment: &[] };
const CLIENT_MAC: [u8; 6] = [2, 0x62, 0x6b, 0, 0, 9];
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 1, 0, 0, 0, 9);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x80);
const NOW: Now = Now { us: 1_000_000, wall_ns: 1_800_000_000_000_000_000 };
const CWD: u64 = (-100_i64).cast_unsigned();
const CREATE: u64 = 0o101;

struct Program {
    layer: Layer<FakeProcessor, Net<End>, FakeDisk>,
    buffer: u64,
}

fn random(out: &mut [u8]) {
    out.iter_mut().zip(1..).for_each(|(to, byte)| *to = byte);
}

fn layer(disk: Option<FakeDisk>) -> Layer<FakeProcessor, Net<End>, FakeDisk> {
    let parts = Parts {
        processor: FakeProcessor::new(8 << 20),
        sockets: Mirror::new().1,
        disk,
        bundle: *BUNDLE,
        random,
        limits: Limits { bytes: 4 << 20, nodes: 100 },
    };
    Layer::new(parts).expect("the bundle is sound")
}

impl Program {
    fn new(disk: Option<FakeDisk>) -> Self {
        let mut program = Self { layer: layer(disk), buffer: 0 };
        program.start();
        program
    }

    fn start(&mut self) {
        self.layer.start_program(&INVOCATION).expect("the program is sound");
        self.buffer = self.call(9, &[0, 1 << 16, 3, 0x22, u64::MAX, 0]).cast_unsigned();
    }

    fn ask(&mut self, number: u64, arguments: &[u64], now: Now) -> Outcome {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        self.layer.answer_to(&Call { number, arguments: all }, now)
    }

    fn call(&mut self, number: u64, arguments: &[u64]) -> i64 {
        match self.ask(number, arguments, NOW) {
            Outcome::Return(value) => value,
            other => panic!("call {number}: {other:?}"),
        }
    }

    fn path(&mut self, path: &[u8]) -> u64 {
        let at = self.buffer + 0x8000;
        self.layer.processor.write(at, path).expect("mapped");
        self.layer.processor.write(at + path.len() as u64, &[0]).expect("mapped");
        at
    }

    fn open(&mut self, path: &[u8], how: u64) -> i64 {
        let path = self.path(path);
        self.call(257, &[CWD, path, how, 0o600])
    }

    fn write(&mut self, fd: i64, bytes: &[u8]) -> i64 {
        self.layer.processor.write(self.buffer, bytes).expect("mapped");
        self.call(1, &[fd.cast_unsigned(), self.buffer, bytes.len() as u64])
    }

    /// Writes a file and leaves it open.
    fn file(&mut self, path: &[u8], bytes: &[u8]) -> u64 {
        let fd = self.open(path, CREATE | 0o1000);
        assert!(fd >= 0, "{fd}");
        assert_eq!(self.write(fd, bytes), i64::try_from(bytes.len()).expect("short"));
        fd.cast_unsigned()
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> i64 {
        let from_at = self.path(from);
        let to_at = self.buffer + 0x9000;
        self.layer.processor.write(to_at, &[to, &[0]].concat()).expect("mapped");
        self.call(82, &[from_at, to_at])
    }

    fn content(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let fd = self.open(path, 0);
        if fd < 0 {
            return None;
        }
        let len = self.call(0, &[fd.cast_unsigned(), self.buffer, 4096]);
        self.call(3, &[fd.cast_unsigned()]);
        let mut out = vec![0; usize::try_from(len).expect("readable")];
        self.layer.processor.read(self.buffer, &mut out).expect("mapped");
        Some(out)
    }
}

#[test]
fn what_is_renamed_closed_or_synced_below_state_lasts() {
    let disk = FakeDisk::new(4096);
    let mut program = Program::new(Some(disk.clone()));
    assert_eq!(program.layer.store_found(), Some(Found::Blank));
    let path = program.path(b"/state/state");
    assert_eq!(program.call(83, &[path, 0o700]), 0);
    let fd = program.file(b"/state/state/guards.tmp", b"guards");
    assert_eq!(program.layer.counted().stored, 0, "written, but not closed");
    program.call(3, &[fd]);
    assert_eq!(program.rename(b"/state/state/guards.tmp", b"/state/state/guards.json"), 0);
    let closed = program.file(b"/state/closed", b"closed");
    program.call(3, &[closed]);
    let synced = program.file(b"/state/synced", b"synced");
    assert_eq!(program.call(74, &[synced]), 0);
    let cached = program.file(b"/cache/x", b"not this");
    program.call(3, &[cached]);
    assert_eq!(program.layer.counted().stored, 4);
    let half = program.file(b"/state/half", b"half");
    program.layer.end_program();
    assert_eq!(program.layer.counted().stored, 4, "a program that ends stores nothing");
    assert!(half > 0);

    let mut next = Program::new(Some(disk));
    assert_eq!(next.layer.store_found(), Some(Found::Newest));
    assert_eq!(next.content(b"/state/state/guards.json"), Some(b"guards".to_vec()));
    assert_eq!(next.content(b"/state/closed"), Some(b"closed".to_vec()));
    assert_eq!(next.content(b"/state/synced"), Some(b"synced".to_vec()));
    for path in [&b"/state/state/guards.tmp"[..], b"/cache/x", b"/state/half"] {
        assert_eq!(next.content(path), None, "{path:?}");
    }
    let again = next.file(b"/state/closed", b"closed");
    next.call(3, &[again]);
    let before = next.layer.counted().stored;
    let again = next.file(b"/state/closed", b"changed");
    next.call(3, &[again]);
    assert_eq!(next.layer.counted().stored, before + 1, "made anew, it may be written to");
}

#[test]
fn a_program_that_saves_all_the_time_does_not_wear_the_disk_out() {
    let disk = FakeDisk::new(4096);
    let mut program = Program::new(Some(disk.clone()));
    for turn in 0..100_u8 {
        let fd = program.file(b"/state/a", &[turn; 10]);
        program.call(3, &[fd]);
    }
    let stored = program.layer.counted().stored;
    assert!((32..40).contains(&stored), "{stored}");
    let flags = program.call(72, &[3, 3, 0]).cast_unsigned();
    program.call(72, &[3, 4, flags & !0o4000]);
    let read = [3, program.buffer, 10];
    let Outcome::Wait { until_us: Some(until) } = program.ask(0, &read, NOW) else {
        panic!("nothing is due")
    };
    assert_eq!(layer(Some(disk.copy())).files.count(), 14, "there is a file");
    assert_eq!(program.ask(0, &read, Now { us: until, ..NOW }), Outcome::Wait { until_us: None });
    assert_eq!(program.layer.counted().stored, stored + 1);
    assert_eq!(Program::new(Some(disk)).content(b"/state/a"), Some(vec![99; 10]), "the last one lasts");
}

#[test]
fn the_state_survives_the_program_without_the_disk() {
    let mut program = Program::new(None);
    assert_eq!(program.layer.store_found(), Some(Found::NoDisk));
    let fd = program.file(b"/state/a", b"kept");
    program.call(3, &[fd]);
    program.layer.end_program();
    assert_eq!(program.layer.processor.backed(), 0);
    program.start();
    assert_eq!(program.content(b"/state/a"), Some(b"kept".to_vec()));
    assert_eq!(program.layer.counted().store_failures, 0);
}

#[test]
fn a_failing_disk_is_counted_and_the_program_goes_on() {
    let disk = FakeDisk::new(4096);
    let mut program = Program::new(Some(disk.clone()));
    disk.fail_after(0);
    let fd = program.file(b"/state/a", b"text");
    assert_eq!(program.call(3, &[fd]), 0);
    assert_eq!((program.layer.counted().stored, program.layer.counted().store_failures), (0, 1));
    disk.fail_after(usize::MAX);
    assert_eq!(program.call(39, &[]), 100);
    assert_eq!(program.layer.counted().stored, 1, "what the disk did not take is tried again");
    assert_eq!(program.rename(b"/state/a", b"/state/b"), 0);
    assert_eq!(program.layer.counted().stored, 2);
    let big = program.file(b"/state/big", &[7; 30_000]);
    (0..40).for_each(|_| assert_eq!(program.call(1, &[big, program.buffer, 30_000]), 30_000));
    assert_eq!(program.call(3, &[big]), 0, "more than lasts");
    assert_eq!(program.call(39, &[]), 100);
    assert_eq!(program.layer.counted().store_failures, 2, "which is not tried again");
}

#[test]
fn the_program_changes_nothing_of_the_bundle() {
    let mut program = Program::new(None);
    let read_only = Errno::ROFS.answer();
    for path in [&b"/gateway"[..], b"/etc/passwd", b"/etc/new", b"/new", b"/dev/new"] {
        assert_eq!(program.open(path, CREATE | 0o1000), read_only, "{path:?}");
    }
    let path = program.path(b"/etc/passwd");
    assert_eq!(program.call(87, &[path]), read_only);
    assert_eq!(program.call(90, &[path, 0o777]), read_only);
    assert_eq!(program.call(76, &[path, 0]), read_only);
    assert_eq!(program.rename(b"/etc/passwd", b"/tmp/x"), read_only);
    let fd = program.file(b"/tmp/gateway", b"another");
    assert_eq!(program.rename(b"/tmp/gateway", b"/gateway"), read_only);
    assert_eq!(program.rename(b"/tmp", b"/state/tmp"), read_only);
    assert!(fd > 0);
    assert_eq!(program.content(b"/etc/passwd"), Some(b"root".to_vec()));
}

#[test]
fn the_owner_replaces_the_configuration() {
    let mut program = Program::new(None);
    assert_eq!(program.content(b"/etc/gateway.toml"), Some(b"old".to_vec()));
    assert_eq!(program.layer.put_file(b"/etc/gateway.toml", b"newer", NOW), Ok(()));
    assert_eq!(program.layer.put_file(b"/etc/more/file", b"x", NOW), Ok(()));
    program.start();
    assert_eq!(program.content(b"/etc/gateway.toml"), Some(b"newer".to_vec()));
    assert_eq!(program.content(b"/etc/more/file"), Some(b"x".to_vec()));
    assert_eq!(program.open(b"/etc/more/file", 1), Errno::ROFS.answer());
    assert_eq!(program.layer.put_file(b"/etc", b"x", NOW), Err(Errno::ISDIR));
}

#[test]
fn the_control_stream_is_bounded_both_ways() {
    let mut program = Program::new(None);
    let mut out = [0; 100];
    assert!(program.layer.send_control(b"order"));
    assert_eq!(program.call(45, &[3, program.buffer, 100, 0, 0, 0]), 5);
    assert_eq!(program.write(3, b"report"), 6);
    assert_eq!((program.layer.receive_control(&mut out), &out[..6]), (6, &b"report"[..]));
    assert_eq!(program.layer.receive_control(&mut out), 0);
    let mut sent = 0;
    while program.layer.send_control(&[0; 4096]) {
        sent += 4096;
    }
    assert_eq!(sent, crate::pair::CAPACITY);
    let flags = program.call(72, &[3, 3, 0]).cast_unsigned();
    program.call(72, &[3, 4, flags | 0o4000]);
    (0..16).for_each(|_| assert_eq!(program.call(1, &[3, program.buffer, 4096]), 4096));
    assert_eq!(program.call(1, &[3, program.buffer, 1]), Errno::AGAIN.answer());
    program.call(3, &[3]);
    assert!(!program.layer.send_control(b"x"), "nobody hears");
    assert_eq!(program.layer.receive_control(&mut out), 100, "what was said is heard");
    program.start();
    assert_eq!(program.layer.receive_control(&mut out), 0, "but not from another life");
}

#[test]
fn a_call_that_waits_is_asked_again() {
    let mut program = Program::new(None);
    let read = [3, program.buffer, 10];
    assert_eq!(program.ask(0, &read, NOW), Outcome::Wait { until_us: None });
    assert!(program.layer.send_control(b"now"));
    assert_eq!(program.ask(0, &read, NOW), Outcome::Return(3));
    let set = program.call(291, &[0]).cast_unsigned();
    let wait = [set, program.buffer, 10, 10];
    let until = Outcome::Wait { until_us: Some(NOW.us + 10_000) };
    let later = |us| Now { us: NOW.us + us, ..NOW };
    assert_eq!(program.ask(232, &wait, NOW), until);
    assert_eq!(program.ask(232, &wait, later(6000)), until, "the time does not begin anew");
    assert_eq!(program.ask(232, &wait, later(10_000)), Outcome::Return(0));
    assert_eq!(program.ask(232, &wait, later(10_000)), Outcome::Wait { until_us: Some(NOW.us + 20_000) });
    let counted = program.layer.counted().calls;
    assert_eq!(program.ask(39, &[], later(11_000)), Outcome::Return(100), "another call");
    assert_eq!(program.layer.counted().calls, counted + 1);
}

#[test]
fn what_ends_the_program_says_how() {
    let mut program = Program::new(None);
    assert_eq!(program.ask(231, &[7], NOW), Outcome::Exit(7));
    assert_eq!(program.ask(60, &[0x1FF], NOW), Outcome::Exit(0xFF));
    assert_eq!(program.ask(234, &[100, 100, 6], NOW), Outcome::Exit(134), "abort");
    let handler = [0x1234_u64, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    program.layer.processor.write(program.buffer, &handler).expect("mapped");
    assert_eq!(program.call(13, &[11, program.buffer, 0, 8]), 0);
    assert_eq!(program.ask(62, &[100, 11], NOW), Outcome::Exit(139), "its handler is not run");
    program.layer.processor.write(program.buffer, &[0; 4]).expect("mapped");
    assert_eq!(
        program.ask(202, &[program.buffer, 0x80, 0, 0], NOW),
        Outcome::Exit(134),
        "waiting for itself"
    );
}

#[test]
fn unknown_calls_are_counted_by_number() {
    let mut program = Program::new(None);
    for number in [1000, 1001, 1000].into_iter().chain(2000..2100) {
        assert_eq!(program.call(number, &[]), Errno::NOSYS.answer());
    }
    let counted = program.layer.counted();
    assert_eq!(counted.unknown_calls()[..3], [(1000, 2), (1001, 1), (2000, 1)]);
    assert_eq!((counted.unknown_calls().len(), counted.unknown_others), (32, 70));
    let mut told = vec![];
    program.layer.tell_counters(&mut |name, value| told.push((name.to_owned(), value)));
    assert!(told.contains(&("calls-unknown".to_owned(), 103)));
}

#[test]
fn what_fails_for_want_of_room_is_counted() {
    let mut program = Program::new(None);
    let before = program.layer.processor.left();
    let at = program.call(9, &[0, 4 * PAGE, 3, 0x22, u64::MAX, 0]).cast_unsigned();
    assert_eq!(program.call(11, &[at, 4 * PAGE]), 0);
    let counted = program.layer.counted();
    assert!(counted.memory_least.is_some_and(|least| least <= before - 4 * PAGE), "{counted:?}");
    assert_eq!(counted.memory_refusals, 0);
    assert_eq!(program.call(9, &[0, 1 << 40, 3, 0x22, u64::MAX, 0]), Errno::NOMEM.answer());
    assert_eq!(program.layer.counted().memory_refusals, 1);
}

#[test]
fn nothing_that_was_writable_becomes_code() {
    let mut program = Program::new(None);
    let refused = Errno::ACCES.answer();
    let code = program.layer.processor.started.expect("started").0 & !(PAGE - 1);
    assert_eq!(program.call(9, &[0, PAGE, 7, 0x22, u64::MAX, 0]), refused);
    assert_eq!(program.call(9, &[0, PAGE, 5, 0x22, u64::MAX, 0]), refused);
    assert_eq!(program.call(10, &[program.buffer, PAGE, 5]), refused);
    assert_eq!(program.call(10, &[program.buffer, PAGE, 7]), refused);
    assert_eq!(program.call(10, &[code, PAGE, 5]), 0, "it is code already");
    assert_eq!(program.call(10, &[code, 2 * PAGE, 5]), refused, "and so is not what comes behind");
    assert_eq!(program.call(10, &[code, PAGE, 7]), refused);
    assert_eq!(program.call(10, &[code, PAGE, 3]), 0);
    assert_eq!(program.layer.processor.access(code), Some(Access::Write));
    assert_eq!(program.call(10, &[code, PAGE, 5]), refused, "not any more");
    assert_eq!(program.call(25, &[code, PAGE, 2 * PAGE, 1]).signum(), 1);
}

#[test]
fn memory_is_given_back_and_never_too_much() {
    let mut program = Program::new(None);
    let before = program.layer.processor.left();
    assert_eq!(program.call(9, &[0, before + PAGE, 3, 0x22, u64::MAX, 0]), Errno::NOMEM.answer());
    assert_eq!(program.layer.processor.left(), before);
    let at = program.call(9, &[0, before, 3, 0x22, u64::MAX, 0]).cast_unsigned();
    assert_eq!(program.layer.processor.left(), 0);
    assert_eq!(program.call(25, &[at, before, before + PAGE, 1]), Errno::NOMEM.answer());
    let heap = program.call(12, &[0]);
    assert_eq!(program.call(12, &[heap.cast_unsigned() + PAGE]), heap);
    assert_eq!(program.call(11, &[at, before]), 0);
    assert_eq!(program.layer.processor.left(), before);
}

#[test]
fn descriptors_files_and_sets_are_bounded() {
    let mut program = Program::new(None);
    let before = program.layer.files.count();
    let made = (0..200).filter(|i| program.open(std::format!("/tmp/{i}").as_bytes(), CREATE) >= 0).count();
    assert_eq!((before + made, program.layer.files.count()), (100, 100));
    let sets = (0..100).filter(|_| program.call(291, &[0]) >= 0).count();
    assert_eq!(sets, MOST_EPOLLS);
    let mut last = 0;
    while last >= 0 {
        last = program.call(290, &[0, 0]);
    }
    assert_eq!(last, Errno::MFILE.answer());
    assert_eq!(program.layer.descriptors.numbers().len(), crate::descriptors::MOST);
    for number in [32, 41, 291, 293] {
        let result = program.call(number, &[2, 1, 0]);
        assert!(result < 0, "{number}: {result}");
    }
    let opened =
        (0..).map_while(|_| program.layer.sockets.open(crate::sockets::SocketKind::Stream).ok()).count();
    program.layer.end_program();
    let all =
        (0..).map_while(|_| program.layer.sockets.open(crate::sockets::SocketKind::Stream).ok()).count();
    assert_eq!(opened, all, "nothing is left of what found no number");
}

/// A segment of a client over IPv6, to port 443 of somebody far away.
fn segment((flags, sequence, acknowledgement): (u8, u32, u32)) -> Vec<u8> {
    let tcp =
        Tcp { source_port: 999, destination_port: 443, sequence, acknowledgement, flags, window: 60_000 };
    let tcp = tcp.emit(packet::checksum::pseudo_v6(CLIENT_V6, FAR_V6, 6, 20));
    let ip = Ipv6 { source: CLIENT_V6, destination: FAR_V6, hop_limit: 64, next: 6, payload_len: 20 };
    [&first_hop::address::OUR_MAC[..], &CLIENT_MAC, &[0x86, 0xdd], &ip.emit(), &tcp].concat()
}

#[test]
fn a_connection_over_ipv6_is_the_clients_and_says_where_it_wanted_to_go() {
    let mut program = Program::new(None);
    let end = End::default();
    let client = control::message::Client {
        name: "work".try_into().unwrap(),
        mac: CLIENT_MAC,
        v4: [10, 137, 0, 6].into(),
        v4_gateway: [10, 137, 0, 5].into(),
        v4_prefix: 30,
        v6_prefix: Some(Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 1, 0, 0, 0, 0)),
        mtu: 1500,
    };
    assert!(program.layer.sockets.set_client(3, &client) && program.layer.sockets.attach(3, end.clone()));
    let listener = program.call(41, &[2, 0o4001, 0]).cast_unsigned();
    let at = program.buffer + 256;
    program
        .layer
        .processor
        .write(at, &[2, 0, 0x23, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .expect("mapped");
    assert_eq!((program.call(49, &[listener, at, 16]), program.call(50, &[listener, 8])), (0, 0));
    let told = |program: &mut Program, frame| {
        end.give(frame);
        program.layer.sockets.poll(NOW.us);
        end.told()
    };
    let answers = told(&mut program, segment((2, 1, 0)));
    let answer = answers.iter().find(|frame| frame[20] == 6).expect("a SYN in answer");
    let theirs = u32::from_be_bytes(answer[58..62].try_into().unwrap());
    told(&mut program, segment((16, 2, theirs.wrapping_add(1))));
    program.layer.processor.write(at, &28_u32.to_le_bytes()).expect("mapped");
    let accepted = program.call(288, &[listener, at + 8, at, 0]);
    assert!(accepted > 0, "{accepted}");
    let read = |program: &mut Program, len: usize| {
        let mut bytes = vec![0; len];
        program.layer.processor.read(at, &mut bytes).expect("mapped");
        bytes
    };
    assert_eq!(read(&mut program, 16), [16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0xe7, 10, 137, 0, 6]);
    let mut asked = |level, room: u32| {
        program.layer.processor.write(at, &room.to_le_bytes()).expect("mapped");
        let result = program.call(55, &[accepted.cast_unsigned(), level, 80, at + 4, at]);
        (result, read(&mut program, 32))
    };
    assert_eq!(asked(0, 128).0, Errno::NOENT.answer(), "not over IPv4");
    assert_eq!(asked(41, 27).0, Errno::INVAL.answer());
    let (result, bytes) = asked(41, 128);
    let expected = [&[28, 0, 0, 0, 10, 0, 1, 0xbb, 0, 0, 0, 0][..], &FAR_V6.octets(), &[0; 4]].concat();
    assert_eq!((result, bytes), (0, expected));
}

proptest! {
    /// Whatever is stored, taking it back neither panics nor writes anywhere but below `/state`.
    #[test]
    fn any_stored_piece_is_taken_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), sound: bool) {
        let disk = FakeDisk::new(64);
        let mut store = crate::store::Store::new(Some(disk.clone()));
        store.load();
        let mut piece = if sound { b"\x02\x80\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x03\0\0\0/aabc".to_vec() } else { vec![] };
        piece.extend(bytes);
        let _ = store.save(&piece);
        let mut program = Program::new(Some(disk));
        if sound {
            prop_assert_eq!(program.content(b"/state/a"), Some(b"abc".to_vec()));
        }
        prop_assert_eq!(program.content(b"/etc/passwd"), Some(b"root".to_vec()));
    }
}
