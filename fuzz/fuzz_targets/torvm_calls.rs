//! A program that makes any calls with any arguments, and puts anything into its memory. The layer must not panic, must
//! not let it take more than it may, must let nothing writable become code, and must be able to start it again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use torvm::calls::Outcome;
use torvm::fake::mirror::{End, Mirror};
use torvm::fake::{FakeDisk, FakeProcessor, bundle};
use torvm::files::Limits;
use torvm::layer::{Layer, Parts};
use torvm::loader::Invocation;
use torvm::memory::{Access, LOWEST, TOP, UserMemory};
use torvm::net::Net;
use torvm::processor::Call;
use torvm::time::Now;

const MEMORY: usize = 8 << 20;
const LIMITS: Limits = Limits { bytes: 1 << 20, nodes: 64 };
const BUFFER: u64 = 64 << 10;
const CALLS: usize = 200;
const INVOCATION: Invocation<'_> =
    Invocation { path: b"/gateway", arguments: &[b"gateway"], environment: &[] };

static BUNDLE: LazyLock<&'static [u8]> = LazyLock::new(|| {
    let program = bundle::program(&bundle::headers());
    bundle::archive(&[("gateway", &program), ("etc/passwd", b"root:x:0:0::/:\n")]).leak()
});

/// Numbers that the layer knows, so that most calls mean something.
const NUMBERS: [u16; 112] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 24, 25, 26, 28, 32, 33, 35, 39,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 62, 63, 72, 73, 74, 75, 76, 77, 79, 82, 83,
    84, 87, 89, 90, 91, 92, 93, 94, 95, 96, 97, 102, 104, 107, 108, 110, 111, 115, 118, 120, 131, 157, 158,
    186, 200, 201, 202, 204, 213, 217, 218, 221, 228, 229, 230, 232, 233, 234, 257, 258, 260, 262, 263, 264,
    267, 268, 269, 271, 273, 280, 281, 284, 285, 288, 290, 291, 292,
];
const MORE: [u16; 6] = [302, 316, 318, 332, 334, 439];
const PATHS: [&[u8]; 10] = [
    b"/state/a",
    b"/state/b",
    b"/state",
    b"/tmp/x",
    b"/tmp",
    b"/etc/passwd",
    b"/dev/urandom",
    b"/dev/random",
    b"..",
    b"a",
];

/// The fuzzer's bytes, in order.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    /// An argument: a small number, a place in the buffer, a flag, something else.
    fn argument(&mut self, buffer: u64) -> Option<u64> {
        let kind = self.byte()?;
        Some(match kind % 12 {
            0..=3 => u64::from(kind / 12),
            4..=6 => buffer + u64::from(self.byte()?) * 16,
            7 => buffer + BUFFER - u64::from(self.byte()?),
            8 => 1 << (self.byte()? % 64),
            9 => u64::from(self.byte()?) * 4096,
            10 => [0, u64::MAX, LOWEST, TOP, TOP - 4096, u64::MAX - 99, 1 << 63, i64::MAX as u64]
                [usize::from(kind / 12) % 8],
            _ => self.word()?,
        })
    }
}

type Fuzzed = Layer<FakeProcessor, Net<End>, FakeDisk>;

fn random(out: &mut [u8]) {
    out.iter_mut().zip(7..=u8::MAX).for_each(|(to, byte)| *to = byte);
}

/// Starts the program; returns where its buffer is.
fn start(layer: &mut Fuzzed) -> u64 {
    layer.start_program(&INVOCATION).expect("the program is sound");
    let call = Call { number: 9, arguments: [0, BUFFER, 3, 0x22, u64::MAX, 0] };
    let Outcome::Return(at @ 1..) = layer.answer_to(&call, Now::default()) else { panic!("no buffer") };
    let at = at.cast_unsigned();
    for (place, path) in (at..).step_by(16).zip(PATHS) {
        layer.processor().write(place, path).expect("the buffer");
    }
    // An address to listen at and to connect to: it is the program itself that answers.
    let address = [2, 0, 0x23, 0x5A, 10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    layer.processor().write(at + 16 * PATHS.len() as u64, &address).expect("the buffer");
    at
}

fn check(layer: &mut Fuzzed, code: u64) {
    assert!(layer.processor().backed() * 4096 <= MEMORY, "too much memory");
    let mut counted = [0; 2];
    layer.tell_counters(&mut |name, value| match name {
        "file-bytes" => counted[0] = value,
        "files" => counted[1] = value,
        _ => {}
    });
    assert!(
        counted[0] <= LIMITS.bytes as u64 && counted[1] <= LIMITS.nodes as u64,
        "too many files: {counted:?}"
    );
    let executable = layer.processor().pages().filter(|(_, access)| *access == Access::Execute);
    assert!(executable.into_iter().all(|(at, _)| at == code), "something became code");
}

fuzz_target!(|data: &[u8]| {
    let (mirror, net) = Mirror::new();
    let parts = Parts {
        processor: FakeProcessor::new(MEMORY),
        sockets: net,
        disk: Some(FakeDisk::new(256)),
        bundle: *BUNDLE,
        random,
        limits: LIMITS,
    };
    let mut layer = Layer::new(parts).expect("the bundle is sound");
    let mut buffer = start(&mut layer);
    let code = layer.processor().started.expect("started").0 & !0xFFF;
    let mut now = Now { us: 1, wall_ns: 1_800_000_000_000_000_000 };
    let mut input = Input(data);
    for _ in 0..CALLS {
        let Some(kind) = input.byte() else { break };
        let number = match kind {
            0..112 => NUMBERS[usize::from(kind)],
            112..200 => MORE[usize::from(kind) % MORE.len()],
            200..210 => {
                let (Some(at), Some(word)) = (input.byte(), input.word()) else { break };
                let _ = layer.processor().write(buffer + u64::from(at) * 8, &word.to_le_bytes());
                continue;
            }
            210..220 => {
                let sent = layer.send_control(&data[..data.len().min(100)]);
                let got = layer.receive_control(&mut [0; 64]);
                assert!(got <= 64 && (sent || !data.is_empty()));
                continue;
            }
            _ => u16::from(kind) * 2,
        };
        let mut arguments = [0; 6];
        let all = arguments.iter_mut().try_for_each(|a| input.argument(buffer).map(|word| *a = word));
        if all.is_none() {
            break;
        }
        let call = Call { number: u64::from(number), arguments };
        match layer.answer_to(&call, now) {
            Outcome::Return(_) => {}
            Outcome::Wait { until_us } => {
                // Time passes, and it is asked again; then it is given up.
                mirror.settle(layer.sockets(), now.us);
                now.us = until_us.filter(|until| *until < 1 << 40).unwrap_or(now.us + 1).max(now.us);
                let _ = layer.answer_to(&call, now);
            }
            Outcome::Exit(_) => {
                layer.end_program();
                assert_eq!(layer.processor().backed(), 0, "something is left");
                buffer = start(&mut layer);
            }
        }
        mirror.settle(layer.sockets(), now.us);
        check(&mut layer, code);
    }
    layer.end_program();
    assert_eq!(layer.processor().backed(), 0, "something is left");
    start(&mut layer);
});
