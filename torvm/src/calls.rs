//! The system calls: which ones there are, and what becomes of one.
//!
//! Numbers and layouts are those of Linux on x86-64. What a call does not know it refuses with the error that Linux has
//! for that; a call that is not here is `ENOSYS`, counted, and said once in the log.

mod arguments;
mod descriptors;
mod directories;
mod events;
mod files;
mod io;
mod locks;
mod memory;
mod numbers;
mod process;
mod sockets;
mod stat;
mod time;
mod vectors;

pub(crate) use arguments::Arguments;
pub(crate) use locks::Locks;
pub(crate) use process::ProgramState;

use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::memory::BadAddress;
use crate::processor::{Call, Processor};
use crate::sockets::Sockets;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call returns this: a result, or a negative error number.
    Return(i64),
    /// Nothing can be returned yet. The call is asked again when something happened, or at this time (microseconds).
    Wait {
        /// When to ask again at the latest.
        until_us: Option<u64>,
    },
    /// The program ended with this status.
    Exit(i32),
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It failed.
    Errno(Errno),
    /// It waits, at most until then (microseconds).
    Wait(Option<u64>),
    /// The program ends.
    Exit(i32),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<BadAddress> for Stop {
    fn from(_: BadAddress) -> Self {
        Self::Errno(Errno::FAULT)
    }
}

impl From<BadAddress> for Errno {
    fn from(_: BadAddress) -> Self {
        Self::FAULT
    }
}

/// The result of a call.
pub(crate) type Done = Result<u64, Stop>;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// Does a call.
    pub(crate) fn dispatch(&mut self, call: &Call) -> Done {
        let a = Arguments(call.arguments);
        if self.waiting.is_none() {
            self.counters.calls += 1;
        }
        let number = call.number;
        self.traffic_call(number, a)
            .or_else(|| self.socket_call(number, a))
            .or_else(|| self.memory_call(number, a))
            .or_else(|| self.descriptor_call(number, a))
            .or_else(|| self.file_call(number, a))
            .or_else(|| self.process_call(number, a))
            .unwrap_or_else(|| {
                if self.counters.unknown_call(number) {
                    log::warn!("the program makes unknown call {number}");
                }
                Err(Errno::NOSYS.into())
            })
    }

    /// The calls of which there are many: data, time and waiting.
    fn traffic_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        Some(match number {
            numbers::READ => self.read(a.int(0), a.word(1), a.word(2), None),
            numbers::WRITE => self.write(a.int(0), a.word(1), a.word(2), None),
            numbers::PREAD64 => self.read(a.int(0), a.word(1), a.word(2), Some(a.word(3))),
            numbers::PWRITE64 => self.write(a.int(0), a.word(1), a.word(2), Some(a.word(3))),
            numbers::READV => self.readv(a.int(0), a.word(1), a.word(2)),
            numbers::WRITEV => self.writev(a.int(0), a.word(1), a.word(2)),
            numbers::RECVFROM => self.recvfrom(a),
            numbers::SENDTO => self.sendto(a),
            numbers::RECVMSG => self.recvmsg(a.int(0), a.word(1), a.low(2)),
            numbers::SENDMSG => self.sendmsg(a.int(0), a.word(1), a.low(2)),
            numbers::EPOLL_WAIT | numbers::EPOLL_PWAIT => self.epoll_wait(a),
            numbers::POLL => self.poll(a.word(0), a.word(1), time::from_ms(a.int(2))),
            numbers::PPOLL => self.ppoll(a),
            numbers::CLOCK_GETTIME => self.clock_gettime(a.low(0), a.word(1)),
            numbers::GETTIMEOFDAY => self.gettimeofday(a.word(0), a.word(1)),
            numbers::TIME => self.time(a.word(0)),
            numbers::CLOCK_GETRES => self.clock_getres(a.low(0), a.word(1)),
            numbers::NANOSLEEP => self.nanosleep(a.word(0)),
            numbers::CLOCK_NANOSLEEP => self.clock_nanosleep(a.low(0), a.low(1), a.word(2)),
            numbers::FUTEX => self.futex(a),
            _ => return None,
        })
    }
}
