//! The arguments of a call.

/// The arguments, as the registers have them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments(pub(crate) [u64; 6]);

impl Arguments {
    /// All of a register.
    pub(crate) fn word(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// The lower half, which is all that an `unsigned` takes.
    pub(crate) fn low(self, index: usize) -> u32 {
        u32::try_from(self.word(index) & 0xFFFF_FFFF).unwrap_or(0)
    }

    /// The lower half, which is all that an `int` takes.
    pub(crate) fn int(self, index: usize) -> i32 {
        self.low(index).cast_signed()
    }
}

/// A length for a call that copies at most so many bytes at once (`MAX_RW_COUNT`).
pub(crate) fn length(len: u64) -> usize {
    usize::try_from(len.min(0x7FFF_F000)).unwrap_or(0)
}
