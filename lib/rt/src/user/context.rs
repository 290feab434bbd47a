//! A program on the processor: its registers while it does not run, and what made it stop.

use super::entry::{self, State};
use super::{END, processor};
use crate::interrupts;
use crate::timer::{self, Clock};
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Why a program does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// It made a call (SYSCALL), which wants an [`answer`](Context::answer).
    Call {
        /// RAX.
        number: u64,
        /// RDI, RSI, RDX, R10, R8, R9.
        args: [u64; 6],
    },
    /// An interrupt came, or had come before; the program goes on as if nothing had been.
    Interrupt,
    /// It did what it may not; it would do the same again.
    Fault {
        /// Number of the exception (Intel SDM vol. 3A §6.3.1).
        vector: u8,
        /// Error code, or 0.
        error: u64,
        /// The address that was accessed, for page faults (vector 14); else 0.
        address: u64,
        /// Where the program was.
        rip: u64,
    },
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { number, .. } => write!(f, "call {number}"),
            Self::Interrupt => f.write_str("interrupt"),
            Self::Fault { vector: 14, error, address, rip } => {
                write!(f, "page fault at address {address:#x} (error {error:#x}) at {rip:#x}")
            }
            Self::Fault { vector, error, rip, .. } => {
                write!(f, "exception {vector} (error {error:#x}) at {rip:#x}")
            }
        }
    }
}

/// The address is not one that a program may have in its FS register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBase;

impl fmt::Display for BadBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address of a program")
    }
}

impl core::error::Error for BadBase {}

/// Interrupts on; bit 1 is always set.
const ALWAYS: u64 = 1 << 9 | 1 << 1;
/// Flags that are the program's own: arithmetic, TF, DF, NT, RF, AC, ID. Not: IF, IOPL, VM, virtual interrupts.
const OWN: u64 = 0x0025_4DD5;
/// How long a program runs (microseconds) while an interrupt waits to be looked at.
const SHORT_US: u64 = 100;
/// General protection.
const PROTECTION: u8 = 13;

/// A program's registers.
#[derive(Debug)]
pub struct Context {
    state: Box<State>,
    fs_base: u64,
    /// Tells contexts apart.
    number: u64,
    /// It is in a call, so that RCX and R11 need not be restored.
    in_call: bool,
    /// It did not run last time, because an interrupt had come before.
    deferred: bool,
}

/// The context that ran last, whose segments are in the processor; 0 for none.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Context {
    /// A program that begins at `entry` with its stack pointer at `stack`, and with every other register clear.
    #[must_use]
    pub fn new(entry: u64, stack: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        processor::start(entry::call as *const () as u64);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            state: Box::new(State::new(entry, stack, ALWAYS)),
            fs_base: 0,
            number,
            in_call: false,
            deferred: false,
        }
    }

    /// Sets the base of the FS segment (thread-local storage).
    ///
    /// # Errors
    /// [`BadBase`] beyond the program's half of the address space.
    pub fn set_fs_base(&mut self, base: u64) -> Result<(), BadBase> {
        if base >= END {
            return Err(BadBase);
        }
        self.fs_base = base;
        if LAST.load(Ordering::Relaxed) == self.number {
            processor::set_fs_base(base);
        }
        Ok(())
    }

    /// The base of the FS segment.
    #[must_use]
    pub fn fs_base(&self) -> u64 {
        self.fs_base
    }

    /// Where the program goes on.
    #[must_use]
    pub fn rip(&self) -> u64 {
        self.state.rip
    }

    /// Answers the call that [`run`](Self::run) came back with (RAX).
    pub fn answer(&mut self, value: i64) {
        self.state.rax = value.cast_unsigned();
    }

    /// Runs the program until it makes a call, faults, or an interrupt comes, which happens at `until_us` of
    /// [`Clock`](crate::Clock) at the latest. The caller then looks at what interrupts announce.
    ///
    /// An interrupt that came since the run loop's step began is one that came now; but not twice in a row, so that
    /// the program gets on however many there are: then it runs for a short while.
    pub fn run(&mut self, until_us: u64) -> Trap {
        let were_on = interrupts::disable();
        let woken = interrupts::woken();
        let trap = if woken && !self.deferred {
            self.deferred = true;
            Trap::Interrupt
        } else {
            self.deferred = false;
            timer::set_alarm(if woken { until_us.min(Clock.us() + SHORT_US) } else { until_us });
            self.run_masked()
        };
        interrupts::restore(were_on);
        trap
    }

    /// Enters the program, with interrupts off.
    fn run_masked(&mut self) -> Trap {
        // Going on at an address that is not canonical would fault in ring 0.
        if self.state.rip >= END {
            return Trap::Fault { vector: PROTECTION, error: 0, address: 0, rip: self.state.rip };
        }
        if LAST.swap(self.number, Ordering::Relaxed) != self.number {
            processor::load_segments(self.fs_base);
        }
        self.state.rflags = self.state.rflags & OWN | ALWAYS;
        let how = if self.in_call { entry::BY_CALL_RETURN } else { entry::BY_INTERRUPT_RETURN };
        // SAFETY: interrupts are off; `new` prepared the processor and made the state, which only the processor
        // changes but for RAX and RFLAGS; RIP was checked and RFLAGS masked just now.
        let left = unsafe { entry::enter(&raw mut *self.state, how) };
        self.in_call = left == entry::CALL;
        if self.in_call { self.call() } else { self.interruption() }
    }

    fn call(&self) -> Trap {
        let State { rax, rdi, rsi, rdx, r10, r8, r9, .. } = *self.state;
        Trap::Call { number: rax, args: [rdi, rsi, rdx, r10, r8, r9] }
    }

    fn interruption(&self) -> Trap {
        let State { mark, error, rip, .. } = *self.state;
        match interrupts::from_program(mark, rip) {
            None => Trap::Interrupt,
            Some(vector) => {
                let page_fault = vector == interrupts::PAGE_FAULT;
                let address = if page_fault { x86_64::registers::control::Cr2::read_raw() } else { 0 };
                Trap::Fault { vector, error, address, rip }
            }
        }
    }
}
