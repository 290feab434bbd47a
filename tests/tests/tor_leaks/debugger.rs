//! Stops the emulated processor at some moment and lets the program die there, through QEMU's debugger interface: the
//! layer has no part in its program's death.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Numbers of registers (gdb's `i386/64bit-core.xml`).
const RAX: u8 = 0;
const RCX: u8 = 2;
const RIP: u8 = 16;
const CS: u8 = 18;
/// The kernel's half of the address space: no page of it may be reached from ring 3.
const NOWHERE: u64 = 8;
/// Where nothing is at all.
const UNMAPPED: u64 = 0xffff_8000_0000_0000;
/// Between two looks at a processor that is in the kernel.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest way of an answer, on a machine that is busy with other things.
const ANSWER: Duration = Duration::from_secs(60);
/// `syscall`, as memory is told.
const SYSCALL: &str = "0f05";

/// QEMU's debugger interface; the machine runs except within methods, and while there is a [`Held`].
pub(crate) struct Debugger(UnixStream);

/// A machine that stands where a call of its program has just arrived in the kernel.
pub(crate) struct Held<'d> {
    debugger: &'d mut Debugger,
    arrival: u64,
    /// Number of the call.
    pub(crate) call: u64,
    /// It does not go on.
    stays: bool,
}

impl Debugger {
    /// Connects, which stops the machine, and lets it run on.
    pub(crate) fn attach(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        let mut debugger = Self(stream);
        debugger.send("?");
        debugger.stopped();
        // Single registers are for debuggers that know which there are.
        debugger.ask("qXfer:features:read:target.xml:0,ffb");
        debugger.resume();
        debugger
    }

    /// Makes the program fault at the next moment at which it is found at work; whether it was, within `limit`.
    pub(crate) fn fault(&mut self, limit: Duration) -> bool {
        let found = self.stop_in_program(limit);
        if found {
            self.set(RIP, NOWHERE);
            self.resume();
        }
        found
    }

    /// Stops the machine when the program makes a call that is `wanted`, if it does within `limit`. Calls arrive at
    /// `arrival` in the kernel.
    pub(crate) fn hold(
        &mut self,
        arrival: u64,
        wanted: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> Option<Held<'_>> {
        let begun = Instant::now();
        self.stop();
        assert_eq!(self.ask(&format!("Z0,{arrival:x},1")), "OK");
        while let Some(left) = limit.checked_sub(begun.elapsed()) {
            self.resume();
            if !self.stops_within(left) {
                break;
            }
            let call = self.register(RAX);
            if wanted(call) {
                // SYSCALL leaves in RCX where the program is to go on.
                let from = self.register(RCX) - 2;
                assert_eq!(self.ask(&format!("m{from:x},2")), SYSCALL, "calls arrive at {arrival:#x}");
                return Some(Held { debugger: self, arrival, call, stays: false });
            }
            // From where a breakpoint is the machine does not come away but by a step.
            self.send("s");
            self.stopped();
        }
        self.forget(arrival);
        None
    }

    /// Takes a breakpoint away, and lets the machine run.
    fn forget(&mut self, arrival: u64) {
        assert_eq!(self.ask(&format!("z0,{arrival:x},1")), "OK");
        self.resume();
    }

    fn stop_in_program(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            self.stop();
            if self.register(CS) & 3 == 3 {
                return true;
            }
            self.resume();
            std::thread::sleep(PAUSE);
        }
        false
    }

    fn register(&mut self, number: u8) -> u64 {
        let text = self.ask(&format!("p{number:x}"));
        let byte = |at: usize| text.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map_while(byte).collect();
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn set(&mut self, number: u8, value: u64) {
        let bytes: String = value.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.ask(&format!("P{number:x}={bytes}")), "OK");
    }

    /// The answer to a question. That the machine has stopped can be said late, and more than once.
    fn ask(&mut self, question: &str) -> String {
        self.send(question);
        loop {
            let answer = self.answer();
            if !answer.starts_with('T') {
                return answer;
            }
        }
    }

    fn stop(&mut self) {
        self.0.write_all(&[3]).unwrap();
        self.stopped();
    }

    fn stopped(&mut self) {
        while !self.answer().starts_with('T') {}
    }

    /// Waits until the machine stops by itself; `false`: it was stopped because it did not.
    fn stops_within(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut first = [0];
        // Signs that what was sent has arrived may come before.
        while first != *b"$" {
            let left = limit.saturating_sub(begun.elapsed()).max(PAUSE);
            self.0.set_read_timeout(Some(left)).unwrap();
            if !matches!(self.0.read(&mut first), Ok(1)) {
                break;
            }
        }
        self.0.set_read_timeout(Some(ANSWER)).unwrap();
        if first == *b"$" {
            assert!(self.packet().starts_with('T'), "a machine that runs says nothing but that it stops");
            return true;
        }
        self.stop();
        false
    }

    /// A machine that runs answers when it stops.
    fn resume(&mut self) {
        self.send("c");
    }

    fn send(&mut self, text: &str) {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${text}#{sum:02x}").unwrap();
    }

    /// The next packet, acknowledged.
    fn answer(&mut self) -> String {
        while self.byte() != b'$' {}
        self.packet()
    }

    /// What follows the beginning of a packet.
    fn packet(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.byte() {
                b'#' => break,
                byte => text.push(char::from(byte)),
            }
        }
        let _sum = [self.byte(), self.byte()];
        self.0.write_all(b"+").unwrap();
        text
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).expect("QEMU's debugger interface answers");
        byte[0]
    }
}

impl Held<'_> {
    /// Lets the call happen, and the program die when it returns: it goes on where it may not.
    pub(crate) fn die_at_return(self) {
        self.debugger.set(RCX, NOWHERE);
    }

    /// Goes on by so many instructions, but not beyond the call; by how many.
    pub(crate) fn walk(&mut self, steps: u64) -> u64 {
        let mut walked = 0;
        while walked < steps && self.debugger.register(CS) & 3 != 3 {
            self.debugger.send("s");
            self.debugger.stopped();
            walked += 1;
        }
        walked
    }

    /// Leaves the machine as it stands, for ever.
    pub(crate) fn stay(mut self) {
        self.stays = true;
    }

    /// Makes the kernel itself fault in the call.
    pub(crate) fn die_with_kernel(self) {
        self.debugger.set(RIP, UNMAPPED);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.stays && !std::thread::panicking() {
            self.debugger.forget(self.arrival);
        }
    }
}
