//! The system calls: which ones there are, and what becomes of one.

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
