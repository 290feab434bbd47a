//! What is asked of the machine to run the program: start it, let it run until it stops, answer its call.

use crate::memory::UserMemory;

/// A system call that the program made: the number in RAX; arguments in RDI, RSI, RDX, R10, R8, R9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Something the program must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exception number (Intel SDM vol. 3A §6.15).
    pub vector: u8,
    /// Error code, or 0.
    pub error: u64,
    /// Address that was accessed, for page faults.
    pub address: u64,
    /// Where the program was.
    pub at: u64,
}

/// Why the program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// It made a call; it goes on behind it once it was [answered](Processor::answer).
    Call(Call),
    /// An interrupt came: the layer has to look at its devices. The program goes on where it was.
    Interrupt,
    /// It did what it must not do.
    Fault(Fault),
}

/// The processor in user mode, with the memory of the one program.
pub trait Processor: UserMemory {
    /// Sets the program up to begin at `entry` with stack pointer `stack`, every other register zero and floating
    /// point as the processor starts with it.
    fn start(&mut self, entry: u64, stack: u64);

    /// Runs the program until it stops.
    fn run(&mut self) -> Trap;

    /// Puts the answer of the last call into RAX.
    fn answer(&mut self, value: i64);

    /// Sets the base of segment FS.
    fn set_fs_base(&mut self, at: u64);
}
