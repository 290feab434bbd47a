//! Calls on the process: there is one, with one thread, of user 0, and nothing sends it signals.

use super::arguments::length;
use super::{Arguments, Done, Stop, numbers};
use crate::descriptors::MOST;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::loader::STACK;
use crate::memory::{TOP, read_array, read_u32};
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::collections::BTreeMap;

/// Number of the process, and of its thread.
const PID: u64 = 100;
const SIGNALS: u32 = 64;
const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;
/// Signals that nobody dies from: CHLD, CONT, URG, WINCH.
const IGNORED: [u32; 4] = [17, 18, 23, 28];
const SIG_IGN: u64 = 1;
const ARCH_SET_FS: u32 = 0x1002;
const ARCH_GET_FS: u32 = 0x1003;

/// What a process has.
#[derive(Debug, Default)]
pub(crate) struct ProgramState {
    /// Where its heap begins.
    pub(super) heap_start: u64,
    /// Where its heap ends.
    pub(super) heap_end: u64,
    /// Permissions that new files do not get.
    pub(super) umask: u32,
    fs_base: u64,
    blocked: [u8; 8],
    stack: [u8; 24],
    actions: BTreeMap<u32, [u8; 32]>,
}

impl ProgramState {
    /// A process that has just begun.
    pub(crate) fn new(heap: u64) -> Self {
        let stack = core::array::from_fn(|at| if at == 8 { 2 } else { 0 });
        Self { heap_start: heap, heap_end: heap, umask: 0o22, stack, ..Self::default() }
    }
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// The calls on the process.
    pub(super) fn process_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        Some(match number {
            numbers::ARCH_PRCTL => self.arch_prctl(a.low(0), a.word(1)),
            numbers::EXIT | numbers::EXIT_GROUP => Err(Stop::Exit(a.int(0) & 0xFF)),
            numbers::RT_SIGACTION => self.signal_action(a),
            numbers::RT_SIGPROCMASK => self.signal_mask(a),
            numbers::SIGALTSTACK => self.signal_stack(a.word(0), a.word(1)),
            numbers::KILL | numbers::TKILL => self.signal(a.int(0), a.low(1)),
            numbers::TGKILL => self.signal(a.int(1), a.low(2)),
            numbers::GETPID | numbers::GETTID | numbers::GETPGRP | numbers::SET_TID_ADDRESS => Ok(PID),
            numbers::GETPPID => Ok(1),
            numbers::GETUID | numbers::GETGID | numbers::GETEUID | numbers::GETEGID => Ok(0),
            numbers::GETRESUID | numbers::GETRESGID => self.identities(a),
            numbers::GETGROUPS => self.groups(a.int(0), a.word(1)),
            numbers::UMASK => Ok(u64::from(core::mem::replace(&mut self.program.umask, a.low(0) & 0o777))),
            numbers::GETRLIMIT => self.limits(a.low(0), 0, a.word(1)),
            numbers::PRLIMIT64 => self.limits(a.low(1), a.word(2), a.word(3)),
            numbers::SCHED_YIELD => Ok(0),
            numbers::SCHED_GETAFFINITY => self.affinity(a.word(1), a.word(2)),
            numbers::UNAME => self.name(a.word(0)),
            numbers::GETRANDOM => self.getrandom(a.word(0), a.word(1), a.low(2)),
            numbers::PRCTL => Err(Errno::INVAL.into()),
            // The C library does without these.
            numbers::SET_ROBUST_LIST | numbers::RSEQ => Err(Errno::NOSYS.into()),
            _ => return None,
        })
    }

    fn arch_prctl(&mut self, what: u32, value: u64) -> Done {
        match what {
            ARCH_SET_FS if value >= TOP => Err(Errno::PERM.into()),
            ARCH_SET_FS => {
                self.program.fs_base = value;
                self.processor.set_fs_base(value);
                Ok(0)
            }
            ARCH_GET_FS => {
                let base = self.program.fs_base;
                self.memory().write(value, &base.to_le_bytes())?;
                Ok(0)
            }
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Remembers what to do with a signal; it never comes.
    fn signal_action(&mut self, a: Arguments) -> Done {
        let (signal, new, old, size) = (a.low(0), a.word(1), a.word(2), a.word(3));
        if size != 8 || !(1..=SIGNALS).contains(&signal) {
            return Err(Errno::INVAL.into());
        }
        if new != 0 && matches!(signal, SIGKILL | SIGSTOP) {
            return Err(Errno::INVAL.into());
        }
        let action = if new == 0 { None } else { Some(read_array(self.memory(), new)?) };
        if old != 0 {
            let before = self.program.actions.get(&signal).copied().unwrap_or([0; 32]);
            self.memory().write(old, &before)?;
        }
        if let Some(action) = action {
            self.program.actions.insert(signal, action);
        }
        Ok(0)
    }

    fn signal_mask(&mut self, a: Arguments) -> Done {
        let (how, new, old, size) = (a.low(0), a.word(1), a.word(2), a.word(3));
        if size != 8 {
            return Err(Errno::INVAL.into());
        }
        let before = u64::from_le_bytes(self.program.blocked);
        if new != 0 {
            let set = u64::from_le_bytes(read_array(self.memory(), new)?);
            let after = match how {
                0 => before | set,
                1 => before & !set,
                2 => set,
                _ => return Err(Errno::INVAL.into()),
            };
            let never = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1);
            self.program.blocked = (after & !never).to_le_bytes();
        }
        if old != 0 {
            self.memory().write(old, &before.to_le_bytes())?;
        }
        Ok(0)
    }

    fn signal_stack(&mut self, new: u64, old: u64) -> Done {
        let before = self.program.stack;
        if new != 0 {
            self.program.stack = read_array(self.memory(), new)?;
        }
        if old != 0 {
            self.memory().write(old, &before)?;
        }
        Ok(0)
    }

    /// A signal that the program sends itself: ignored if it said so, else its end. No handler is ever run.
    fn signal(&mut self, to: i32, signal: u32) -> Done {
        if signal > SIGNALS {
            return Err(Errno::INVAL.into());
        }
        if !matches!(u64::try_from(to), Ok(0 | PID)) {
            return Err(Errno::SRCH.into());
        }
        let action = self.program.actions.get(&signal);
        let handler = action.and_then(|action| action.first_chunk()).map_or(0, |h| u64::from_le_bytes(*h));
        if signal == 0 || handler == SIG_IGN || handler == 0 && IGNORED.contains(&signal) {
            return Ok(0);
        }
        Err(Stop::Exit(128 + signal.cast_signed()))
    }

    fn identities(&mut self, a: Arguments) -> Done {
        for at in [a.word(0), a.word(1), a.word(2)] {
            self.memory().write(at, &[0; 4])?;
        }
        Ok(0)
    }

    /// One group: 0.
    fn groups(&mut self, room: i32, out: u64) -> Done {
        match room {
            ..0 => return Err(Errno::INVAL.into()),
            0 => {}
            _ => self.memory().write(out, &[0; 4])?,
        }
        Ok(1)
    }

    fn limits(&mut self, which: u32, new: u64, old: u64) -> Done {
        const STACK_SIZE: u32 = 3;
        const OPEN_FILES: u32 = 7;
        const KINDS: u32 = 16;
        let limit = match which {
            STACK_SIZE => STACK,
            OPEN_FILES => MOST as u64,
            ..KINDS => u64::MAX,
            _ => return Err(Errno::INVAL.into()),
        };
        if new != 0 {
            read_array::<16>(self.memory(), new)?;
        }
        if old != 0 {
            self.memory().write(old, &limit.to_le_bytes())?;
            self.memory().write(old.checked_add(8).ok_or(Errno::FAULT)?, &limit.to_le_bytes())?;
        }
        Ok(0)
    }

    /// One processor.
    fn affinity(&mut self, len: u64, out: u64) -> Done {
        if len < 8 || !len.is_multiple_of(8) {
            return Err(Errno::INVAL.into());
        }
        self.memory().write(out, &1_u64.to_le_bytes())?;
        Ok(8)
    }

    fn name(&mut self, out: u64) -> Done {
        const FIELD: usize = 65;
        let mut bytes = [0; 6 * FIELD];
        let names: [&[u8]; 6] = [b"Linux", b"torvm", b"6.1.0", b"#1", b"x86_64", b"(none)"];
        for (field, name) in bytes.chunks_exact_mut(FIELD).zip(names) {
            field.iter_mut().zip(name).for_each(|(to, byte)| *to = *byte);
        }
        self.memory().write(out, &bytes)?;
        Ok(0)
    }

    fn getrandom(&mut self, out: u64, len: u64, how: u32) -> Done {
        if how & !7 != 0 {
            return Err(Errno::INVAL.into());
        }
        let len = length(len);
        self.with_scratch(|layer, buffer| {
            let mut done = 0;
            while done < len {
                let here = (len - done).min(buffer.len());
                let piece = buffer.get_mut(..here).ok_or(Errno::INVAL)?;
                (layer.random)(piece);
                let at = out.checked_add(done as u64).ok_or(Errno::FAULT)?;
                if layer.memory().write(at, piece).is_err() {
                    return if done > 0 { Ok(done as u64) } else { Err(Errno::FAULT.into()) };
                }
                done += here;
            }
            Ok(done as u64)
        })
    }

    /// `futex`: nobody else could wake or be woken.
    pub(super) fn futex(&mut self, a: Arguments) -> Done {
        const PRIVATE_AND_CLOCK: u32 = 0x180;
        const WAIT: u32 = 0;
        const WAKE: u32 = 1;
        const WAIT_BITSET: u32 = 9;
        const WAKE_BITSET: u32 = 10;
        const REALTIME: u32 = 0x100;
        let (word, operation, expected, timeout) = (a.word(0), a.low(1), a.low(2), a.word(3));
        match operation & !PRIVATE_AND_CLOCK {
            WAKE | WAKE_BITSET => Ok(0),
            wait @ (WAIT | WAIT_BITSET) => {
                if read_u32(self.memory(), word)? != expected {
                    return Err(Errno::AGAIN.into());
                }
                if timeout == 0 {
                    log::error!("the program waits for itself");
                    return Err(Stop::Exit(DEADLOCK));
                }
                let time = super::time::duration(self.memory(), timeout)?;
                let left = match wait {
                    WAIT => time,
                    _ if operation & REALTIME != 0 => time.saturating_sub(self.now.wall_ns / 1000),
                    _ => time.saturating_sub(self.now.us),
                };
                self.wait(Some(left))?;
                Err(Errno::TIMEDOUT.into())
            }
            _ => Err(Errno::NOSYS.into()),
        }
    }
}

/// Status of a program that ended because it waited for itself, as if by SIGABRT.
const DEADLOCK: i32 = 128 + 6;
