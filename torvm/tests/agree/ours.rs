//! The layer on memory that is not there. Waiting takes no time.

use crate::kernel::Machine;
use torvm::calls::Outcome;
use torvm::fake::{FakeDisk, FakeProcessor, FakeSockets, bundle};
use torvm::files::Limits;
use torvm::layer::{Layer, Parts};
use torvm::loader::Invocation;
use torvm::memory::UserMemory;
use torvm::processor::Call;
use torvm::time::Now;

pub(crate) struct Ours {
    layer: Layer<FakeProcessor, FakeSockets, FakeDisk>,
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
        let mut layer = Layer::new(Parts {
            processor: FakeProcessor::new(64 << 20),
            sockets: FakeSockets::default(),
            disk: Some(FakeDisk::new(4096)),
            bundle: archive.leak(),
            random,
            limits: Limits { bytes: 64 << 20, ..Limits::default() },
        })
        .expect("a sound bundle");
        let invocation = Invocation { path: b"/gateway", arguments: &[b"gateway"], environment: &[] };
        layer.start_program(&invocation).expect("a sound program");
        Self { layer, now: Now { us: 1_000_000, wall_ns: 1_800_000_000_000_000_000 } }
    }
}

impl Machine for Ours {
    fn call(&mut self, number: i64, arguments: [u64; 6]) -> i64 {
        let call = Call { number: number.cast_unsigned(), arguments };
        loop {
            match self.layer.answer_to(&call, self.now) {
                Outcome::Return(value) => return value,
                Outcome::Exit(status) => panic!("the program ended with {status}"),
                Outcome::Wait { until_us: None } => panic!("call {number} waits for ever"),
                Outcome::Wait { until_us: Some(until) } => {
                    assert!(until > self.now.us, "waits for what has been");
                    self.now.wall_ns += (until - self.now.us) * 1000;
                    self.now.us = until;
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
}
