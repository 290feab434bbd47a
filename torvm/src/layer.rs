//! The layer: one program, its memory, descriptors, files and sockets; and what its owner (`main`) does with it.
//!
//! The owner runs the program (`processor()`), brings its calls to [`Layer::answer_to`], polls the network (`sockets()`) and
//! carries what is said over descriptor 3.

pub mod console;
pub mod counters;
mod guest;
mod readiness;
mod start;
mod state;
#[cfg(test)]
mod tests;

use crate::calls::{Outcome, Stop};
use crate::descriptors::{Descriptors, Serial};
use crate::disk::Disk;
use crate::epoll::Epoll;
use crate::files::{Files, Limits};
use crate::memory::UserMemory;
use crate::memory::areas::Areas;
use crate::pair::{Pair, Side};
use crate::processor::{Call, Processor};
use crate::sockets::Sockets;
use crate::store::Store;
use crate::time::Now;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use console::Console;
use counters::Counters;
pub use start::BundleFault;

/// Most sets to wait for.
pub(crate) const MOST_EPOLLS: usize = 8;
/// Most streams that stay in the machine.
pub(crate) const MOST_PAIRS: usize = 8;
/// Bytes that one step of a call copies.
pub(crate) const SCRATCH: usize = 64 * 1024;
/// The stream behind descriptor 3.
const CONTROL: u32 = 0;

/// What a layer is made of.
pub struct Parts<P, S, D> {
    /// Runs the program and has its memory.
    pub processor: P,
    /// The network.
    pub sockets: S,
    /// What lasts; without it nothing does.
    pub disk: Option<D>,
    /// The program and its first files: a newc cpio archive.
    pub bundle: &'static [u8],
    /// Fills with random bytes fit for keys.
    pub random: fn(&mut [u8]),
    /// How much the files may take.
    pub limits: Limits,
}

/// The layer.
pub struct Layer<P, S, D> {
    pub(crate) processor: P,
    pub(crate) sockets: S,
    pub(crate) store: Store<D>,
    pub(crate) random: fn(&mut [u8]),
    pub(crate) files: Files,
    pub(crate) descriptors: Descriptors,
    pub(crate) epolls: BTreeMap<Serial, Epoll>,
    pub(crate) pairs: BTreeMap<u32, Pair>,
    pub(crate) next_pair: u32,
    pub(crate) locks: crate::calls::Locks,
    pub(crate) areas: Areas,
    pub(crate) program: crate::calls::ProgramState,
    pub(crate) console: Console,
    pub(crate) counters: Counters,
    pub(crate) scratch: Vec<u8>,
    pub(crate) saving: state::Saving,
    /// The time of the call that is being done.
    pub(crate) now: Now,
    /// A call that waits, and until when (microseconds).
    pub(crate) waiting: Option<(Call, Option<u64>)>,
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// Answers a call of the program, or says how long to wait before asking again. What is returned is not yet put into
    /// the program's registers: [`Processor::answer`].
    pub fn answer_to(&mut self, call: &Call, now: Now) -> Outcome {
        if self.waiting.is_some_and(|(waiting, _)| waiting != *call) {
            self.waiting = None;
        }
        self.now = now;
        let save_us = self.save_if_time();
        let done = self.dispatch(call);
        self.counters.measure(self.processor.left(), self.files.bytes() as u64);
        if let Err(Stop::Wait(until_us)) = done {
            self.waiting = Some((*call, until_us));
            return Outcome::Wait { until_us: [until_us, save_us].into_iter().flatten().min() };
        }
        self.waiting = None;
        match done {
            Ok(value) => Outcome::Return(value.cast_signed()),
            Err(Stop::Errno(errno)) => {
                self.counters.failed(errno);
                Outcome::Return(errno.answer())
            }
            Err(Stop::Exit(status)) => {
                self.console.flush(self.now);
                Outcome::Exit(status)
            }
            Err(Stop::Wait(until_us)) => Outcome::Wait { until_us },
        }
    }

    /// The processor with the program.
    pub fn processor(&mut self) -> &mut P {
        &mut self.processor
    }

    /// The network.
    pub fn sockets(&mut self) -> &mut S {
        &mut self.sockets
    }

    /// What was counted.
    pub fn counted(&self) -> &Counters {
        &self.counters
    }

    /// Tells every counter by its name.
    pub fn tell_counters(&self, tell: &mut dyn FnMut(&str, u64)) {
        self.counters.tell(tell);
        tell("file-bytes", self.files.bytes() as u64);
        tell("files", self.files.count() as u64);
        tell("program-memory-left", self.processor.left());
    }

    /// Sends to the program over descriptor 3: all of it or, with `false`, nothing, because the program does not read or
    /// has closed it.
    pub fn send_control(&mut self, bytes: &[u8]) -> bool {
        match self.pairs.get_mut(&CONTROL) {
            Some(pair) if pair.room(Side::Right) >= bytes.len() => {
                pair.send(Side::Right, bytes) == Ok(bytes.len())
            }
            _ => false,
        }
    }

    /// Receives what the program said over descriptor 3; 0 when there is nothing.
    pub fn receive_control(&mut self, out: &mut [u8]) -> usize {
        self.pairs.get_mut(&CONTROL).and_then(|pair| pair.receive(Side::Right, out).ok()).unwrap_or(0)
    }

    /// Ends the program: nothing of it is left but its files. Its connections are reset.
    pub fn end_program(&mut self) {
        self.save();
        // Before the descriptors, each of which every set would have to forget.
        self.epolls.clear();
        for fd in self.descriptors.numbers() {
            self.release(fd);
        }
        self.descriptors = Descriptors::default();
        self.pairs.clear();
        self.locks.clear();
        self.sockets.end_program();
        self.processor.clear();
        self.areas = Areas::default();
        self.waiting = None;
    }

    /// Runs `f` with a buffer of 64 KiB.
    pub(crate) fn with_scratch<R>(&mut self, f: impl FnOnce(&mut Self, &mut [u8]) -> R) -> R {
        let mut scratch = core::mem::take(&mut self.scratch);
        if scratch.len() < SCRATCH {
            scratch.resize(SCRATCH, 0);
        }
        let result = f(self, &mut scratch);
        self.scratch = scratch;
        result
    }
}

impl<P: UserMemory, S, D> Layer<P, S, D> {
    /// Memory of the program.
    pub(crate) fn memory(&mut self) -> &mut P {
        &mut self.processor
    }
}
