//! The layer on memory that is not there. Waiting takes no time.

use crate::kernel::Machine;
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

pub(crate) struct Ours {
    layer: Layer<FakeProcessor, Net<End>, FakeDisk>,
    mirror: Mirror,
    now: Now,
}

/// Random enough here: different bytes at each call.
fn random(out: &mut [u8]) {
    use std::hash::{BuildHasher, Hasher, RandomState};
    for chunk in out.chunks_mut(8) {
        let bytes = RandomState::new().build_hasher().finish().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

impl Ours {
    pub(crate) fn new() -> Self {
        let program = bundle::program(&bundle::headers());
        let archive = bundle::archive(&[("gateway", &program), ("etc/", b""), ("etc/passwd", b"root\n")]);
        let (mirror, net) = Mirror::new();
        let mut layer = Layer::new(Parts {
            processor: FakeProcessor::new(64 << 20),
            sockets: net,
            disk: Some(FakeDisk::new(4096)),
            bundle: archive.leak(),
            random,
            limits: Limits { bytes: 64 << 20, ..Limits::default() },
        })
        .expect("a sound bundle");
        let invocation = Invocation { path: b"/gateway", arguments: &[b"gateway"], environment: &[] };
        layer.start_program(&invocation).expect("a sound program");
        Self { layer, mirror, now: Now { us: 1_000_000, wall_ns: 1_800_000_000_000_000_000 } }
    }
}

impl Ours {
    fn pass(&mut self, until_us: u64) {
        self.now.wall_ns += (until_us - self.now.us) * 1000;
        self.now.us = until_us;
        self.settle();
    }
}

impl Machine for Ours {
    fn call(&mut self, number: i64, arguments: [u64; 6]) -> i64 {
        let call = Call { number: number.cast_unsigned(), arguments };
        let mut idle = 0;
        loop {
            match self.layer.answer_to(&call, self.now) {
                Outcome::Return(value) => return value,
                Outcome::Exit(status) => panic!("the program ended with {status}"),
                Outcome::Wait { until_us } => {
                    self.settle();
                    idle += 1;
                    if idle == 1 {
                        // Perhaps what it waits for was under way.
                        continue;
                    }
                    let due = [until_us, self.layer.sockets().poll_at()].into_iter().flatten().min();
                    let due = due.unwrap_or_else(|| panic!("call {number} waits for ever"));
                    self.pass(due.max(self.now.us + 1));
                }
            }
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.layer.processor().write(at, bytes).expect("memory of the case");
    }

    fn get(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.layer.processor().read(at, &mut out).expect("memory of the case");
        out
    }

    fn directory(&self) -> String {
        "/tmp".to_owned()
    }

    fn far(&self) -> [u8; 4] {
        FAR.octets()
    }

    fn port(&self, number: u16) -> u16 {
        10_000 + number
    }

    fn settle(&mut self) {
        self.mirror.settle(self.layer.sockets(), self.now.us);
    }
}
