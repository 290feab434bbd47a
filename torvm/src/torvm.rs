//! The domain as a whole: the link to dom0, the networks, and the program between them.
//!
//! One loop: what dom0 says, what came over the networks, a slice of the program, what the program says, and again until
//! everybody waits. Nothing that the program or a client does stops the loop: slices are bounded, a program that breaks
//! off is started again, one that hangs is ended.

mod messages;

use crate::calls::Outcome;
use crate::control_plane::Dom0;
use crate::control_plane::relay::Relay;
use crate::frames::PortFault;
use crate::guest::{Guest, Network, Why};
use crate::life::{Due, HANG_US, Lacks, Life};
use crate::processor::{Call, Fault, Trap};
use crate::time::Now;
use alloc::{boxed::Box, vec::Vec};
use control::message::FromDomain;
use control::tor::{Isolation, cut};
use core::fmt::Write as _;
use link::Doorbell;
use messages::Counters;

/// Longest slice of the program (microseconds), after which the networks have their turn.
const SLICE_US: u64 = 1_000;
/// Calls in one slice at most.
const CALLS: u32 = 1_024;

/// What to do after [`Torvm::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again at once.
    Busy,
    /// Every doorbell is armed: call again when one rings, or at this time (microseconds) if there is one.
    Idle {
        /// When something will be due.
        until_us: Option<u64>,
    },
    /// dom0 asked for an orderly end.
    Stop,
}

/// Who says what the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// dom0, over its link: nothing runs before it has said so.
    Dom0,
    /// Nobody: the configuration of the bundle counts, and `main` describes the networks.
    Nobody,
}

/// What the domain begins with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Who is in charge.
    pub manager: Manager,
    /// The time now.
    pub now: Now,
}

/// The domain.
#[derive(Debug)]
pub struct Torvm<G, D: Doorbell> {
    guest: G,
    dom0: Option<Dom0<D>>,
    /// The configuration that the program was started with, or was told of otherwise and will be started with.
    in_force: Option<Vec<u8>>,
    takeover: Takeover,
    has_uplink: bool,
    life: Life,
    relay: Relay,
    messages: Counters,
    stop: bool,
    manager: Manager,
    /// The wall clock at boot, as far as known.
    wall_at_boot_ns: u64,
    /// The call that the program waits for, and until when.
    waiting: Option<(Call, Option<u64>)>,
}

/// Whether the program that runs goes by the configuration that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Takeover {
    /// It was started with it, or has said that it keeps streams apart as it was told.
    Done,
    /// It was told nothing of it.
    Owed,
    /// It was told to keep streams apart so, and has not said that it does.
    Told(Box<Isolation>),
}

/// How far a slice of the program went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slice {
    /// It could go on.
    Unfinished,
    /// It waits, or there is none; until this time (microseconds) if there is one.
    Over(Option<u64>),
}

impl<G: Guest, D: Doorbell> Torvm<G, D> {
    /// The domain without links, its program not started.
    pub fn new(guest: G, setup: Setup) -> Self {
        Self {
            guest,
            dom0: None,
            in_force: None,
            takeover: Takeover::Done,
            has_uplink: false,
            life: Life::default(),
            relay: Relay::default(),
            messages: Counters::default(),
            stop: false,
            manager: setup.manager,
            wall_at_boot_ns: setup.now.wall_ns.saturating_sub(setup.now.us.saturating_mul(1000)),
            waiting: None,
        }
    }

    /// The program in its layer, and the networks.
    pub const fn guest(&mut self) -> &mut G {
        &mut self.guest
    }

    /// Puts a port that is not dom0's in place.
    pub fn attach(&mut self, port: u8, frames: <G::Network as Network>::Port) {
        self.guest.network().attach(port, frames);
    }

    /// Takes a port that is not dom0's away.
    pub fn detach(&mut self, port: u8) {
        self.guest.network().detach(port);
    }

    /// Does everything that can be done now. `us` tells the time in microseconds since boot.
    pub fn poll(&mut self, us: impl Fn() -> u64) -> Next {
        let mut worked = self.take_orders(us());
        if self.stop {
            self.end_program();
            self.send_off();
            return Next::Stop;
        }
        worked |= self.poll_network(us());
        let slice = self.run_program(&us);
        worked |= slice == Slice::Unfinished;
        worked |= self.take_reports(us());
        // What the program sent leaves before anybody sleeps.
        worked |= self.poll_network(us());
        self.send_off();
        let Slice::Over(due) = slice else { return Next::Busy };
        if worked { Next::Busy } else { self.sleep(us(), due) }
    }

    fn poll_network(&mut self, now_us: u64) -> bool {
        let now = self.now(now_us);
        let worked = self.guest.network().poll(now);
        while let Some((port, PortFault(what))) = self.guest.network().take_fault() {
            log::warn!("port {port}: {what}");
            if let Some(dom0) = &mut self.dom0 {
                dom0.tell(&FromDomain::PeerFault { port, what: cut(what) });
            }
        }
        worked
    }

    /// Shows dom0 what was staged for it.
    fn send_off(&mut self) {
        if let Some(dom0) = &mut self.dom0 {
            dom0.flush();
        }
    }

    /// Arms every doorbell and looks once more.
    fn sleep(&mut self, now_us: u64, due: Option<u64>) -> Next {
        if self.dom0.as_mut().is_some_and(|dom0| !dom0.arm()) {
            return Next::Busy;
        }
        if !self.guest.network().arm() {
            return Next::Busy;
        }
        let now = self.now(now_us);
        let network = self.guest.network().poll_at(now);
        Next::Idle { until_us: [due, network].into_iter().flatten().min() }
    }

    fn run_program(&mut self, us: &impl Fn() -> u64) -> Slice {
        match self.life.due(us(), self.lacks()) {
            Due::Nothing(until_us) => return Slice::Over(until_us),
            Due::Start => {
                self.start_program(us());
                return Slice::Unfinished;
            }
            Due::Run => {}
        }
        if let Some((call, _)) = self.waiting.take()
            && let Some(slice) = self.call(call, us())
        {
            return slice;
        }
        let begun = us();
        for _ in 0..CALLS {
            let before = us();
            let trap = self.guest.run();
            let now_us = us();
            match trap {
                Trap::Call(call) => {
                    self.life.called();
                    if let Some(slice) = self.call(call, now_us) {
                        return slice;
                    }
                }
                Trap::Interrupt => {
                    if self.life.ran(now_us.saturating_sub(before)) {
                        let how = why(format_args!("it made no call for {} s", HANG_US / 1_000_000));
                        self.ended(now_us, how);
                    }
                    break;
                }
                Trap::Fault(fault) => {
                    self.ended(now_us, describe(&fault));
                    break;
                }
            }
            if now_us.saturating_sub(begun) >= SLICE_US {
                break;
            }
        }
        Slice::Unfinished
    }

    /// Answers a call; `None`: the program goes on.
    fn call(&mut self, call: Call, now_us: u64) -> Option<Slice> {
        let now = self.now(now_us);
        match self.guest.call(&call, now) {
            Outcome::Return(value) => {
                self.guest.answer(value);
                None
            }
            Outcome::Wait { until_us } => {
                self.waiting = Some((call, until_us));
                Some(Slice::Over(until_us))
            }
            Outcome::Exit(status) => {
                // What it said last is passed on before it is gone.
                self.take_reports(now_us);
                if self.life.is_up() {
                    self.ended(now_us, why(format_args!("it exited with status {status}")));
                }
                Some(Slice::Unfinished)
            }
        }
    }

    fn start_program(&mut self, now_us: u64) {
        let now = self.now(now_us);
        match self.guest.start(now) {
            Ok(()) => {
                self.life.started();
                self.takeover = Takeover::Done;
                log::info!("program started (run {})", self.life.runs());
            }
            Err(why) => {
                log::error!("program refused: {why}");
                self.life.refused(now_us, why);
            }
        }
    }

    /// The program ended, or is ended for what it did.
    fn ended(&mut self, now_us: u64, how: Why) {
        log::warn!("program ended: {how}");
        self.end_program();
        self.life.ended(now_us, how);
    }

    /// Takes away what there is of the program.
    fn end_program(&mut self) {
        if self.life.is_up() {
            self.guest.end();
        }
        self.waiting = None;
        self.relay = Relay::default();
    }

    const fn lacks(&self) -> Lacks {
        match self.manager {
            Manager::Nobody => Lacks::Nothing,
            Manager::Dom0 if self.has_uplink && self.in_force.is_some() => Lacks::Nothing,
            Manager::Dom0 => Lacks::Something,
        }
    }

    const fn now(&self, us: u64) -> Now {
        Now { us, wall_ns: self.wall_at_boot_ns.saturating_add(us.saturating_mul(1000)) }
    }

    fn set_clock(&mut self, now_us: u64, unix_us: u64) {
        self.wall_at_boot_ns = unix_us.saturating_sub(now_us).saturating_mul(1000);
    }
}

/// A reason, cut where there is no more room.
fn why(text: core::fmt::Arguments<'_>) -> Why {
    struct Cut(Why);
    impl core::fmt::Write for Cut {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            s.chars().take_while(|c| self.0.push(*c).is_ok()).for_each(drop);
            Ok(())
        }
    }
    let mut cut = Cut(Why::new());
    // Cutting is no failure.
    let _ = cut.write_fmt(text);
    cut.0
}

/// A fault in words (Intel SDM vol. 3A §6.15).
fn describe(fault: &Fault) -> Why {
    let Fault { vector, error, address, at } = *fault;
    let what = match vector {
        0 => "divided by zero",
        6 => "executed what is no instruction",
        13 => "did what only the kernel may do",
        14 if error & 0x10 != 0 => "executed what is no code",
        14 if error & 2 != 0 => "wrote to memory that it may not write",
        14 => "read memory that it does not have",
        _ => "caused an exception",
    };
    match vector {
        14 => why(format_args!("it {what}: {address:#x} at {at:#x}")),
        _ => why(format_args!("it {what}: vector {vector}, error {error:#x}, at {at:#x}")),
    }
}

#[cfg(test)]
mod tests;
