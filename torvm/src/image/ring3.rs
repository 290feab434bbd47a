//! The processor and the program's memory, as the layer asks for them, on the runtime's user mode.

use rt::Clock;
use rt::user::{self, Context, Space};
use torvm::memory::{Access, BadAddress, OutOfMemory, Range, UserMemory};
use torvm::processor::{Call, Fault, Processor, Trap};

/// Longest time in ring 3 without a look at anything else; interrupts end it earlier.
const SLICE_US: u64 = 5_000;

/// Ring 3.
pub(crate) struct Ring3 {
    space: Space,
    context: Option<Context>,
}

impl Ring3 {
    pub(crate) fn new(space: Space) -> Self {
        Self { space, context: None }
    }
}

fn pages(range: Range) -> rt::ram::Range {
    rt::ram::Range { start: range.start, end: range.end }
}

const fn rights(access: Access) -> user::Access {
    match access {
        Access::None => user::Access::None,
        Access::Read => user::Access::Read,
        Access::Write => user::Access::Write,
        Access::Execute => user::Access::Execute,
    }
}

impl UserMemory for Ring3 {
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), BadAddress> {
        self.space.read(at, out).map_err(|user::BadAddress| BadAddress)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        self.space.write(at, bytes).map_err(|user::BadAddress| BadAddress)
    }

    fn load(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        self.space.load(at, bytes).map_err(|user::BadAddress| BadAddress)
    }

    fn map(&mut self, range: Range, access: Access) -> Result<(), OutOfMemory> {
        self.unmap(range);
        self.space.map(pages(range), rights(access)).map_err(|_| OutOfMemory)
    }

    fn protect(&mut self, range: Range, access: Access) -> Result<(), BadAddress> {
        self.space.protect(pages(range), rights(access)).map_err(|_| BadAddress)
    }

    fn unmap(&mut self, range: Range) {
        // Refused alone for ranges that a program cannot have, where nothing is mapped.
        let _ = self.space.unmap(pages(range));
    }

    fn relocate(&mut self, from: Range, to: u64) -> bool {
        self.space.relocate(pages(from), to).is_ok()
    }

    fn clear(&mut self) {
        self.context = None;
        self.space.clear();
    }

    fn left(&self) -> u64 {
        self.space.left()
    }
}

impl Processor for Ring3 {
    fn start(&mut self, entry: u64, stack: u64) {
        self.context = Some(Context::new(entry, stack));
    }

    fn run(&mut self) -> Trap {
        let Some(context) = &mut self.context else { return Trap::Interrupt };
        match context.run(Clock.us() + SLICE_US) {
            user::Trap::Call { number, args } => Trap::Call(Call { number, arguments: args }),
            user::Trap::Interrupt => Trap::Interrupt,
            user::Trap::Fault { vector, error, address, rip } => {
                Trap::Fault(Fault { vector, error, address, at: rip })
            }
        }
    }

    fn answer(&mut self, value: i64) {
        if let Some(context) = &mut self.context {
            context.answer(value);
        }
    }

    fn set_fs_base(&mut self, at: u64) {
        // The layer has checked the address; one that no program can have changes nothing.
        let _ = self.context.as_mut().map(|context| context.set_fs_base(at));
    }
}
