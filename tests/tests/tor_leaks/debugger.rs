//! Stops the emulated processor at some moment and makes the program in ring 3 fault there, through QEMU's debugger
//! interface: the layer has no part in its program's death.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Numbers of registers (gdb's `i386/64bit-core.xml`).
const RIP: u8 = 16;
const CS: u8 = 18;
/// The kernel's half of the address space: no page of it may be reached from ring 3.
const NOWHERE: u64 = 8;
/// Between two looks at a processor that is in the kernel.
const PAUSE: Duration = Duration::from_millis(2);

/// QEMU's debugger interface; the machine runs except within [`Debugger::fault`].
pub(crate) struct Debugger(UnixStream);

impl Debugger {
    /// Connects, which stops the machine, and lets it run on.
    pub(crate) fn attach(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
        let begun = Instant::now();
        while begun.elapsed() < limit {
            self.0.write_all(&[3]).unwrap();
            self.stopped();
            let in_program = self.register(CS) & 3 == 3;
            if in_program {
                let bytes: String = NOWHERE.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(self.ask(&format!("P{RIP:x}={bytes}")), "OK");
            }
            self.resume();
            if in_program {
                return true;
            }
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

    fn stopped(&mut self) {
        while !self.answer().starts_with('T') {}
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
