//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// What is counted since the program's start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl Counters {
            /// Names and values.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// Streams that were opened.
    opened = "streams opened",
    /// Streams that could not be opened.
    refused = "streams refused",
    /// Streams that ended before their end.
    broken = "streams broken",
    /// Connections beyond a limit.
    too_many = "connections beyond limits",
    /// Requests that were not understood.
    bad_requests = "requests malformed",
    /// Bytes from clients.
    from_clients = "bytes from clients",
    /// Bytes to clients.
    to_clients = "bytes to clients",
    /// Questions about names.
    questions = "questions",
    /// Questions that were answered with an address or a name.
    answered = "questions answered",
    /// Questions beyond a limit.
    questions_too_many = "questions beyond limits",
    /// Datagrams that are no question.
    bad_questions = "questions malformed",
    /// Reports to dom0 that found no room.
    reports_lost = "reports lost",
    /// Frames from dom0 that were not understood.
    bad_commands = "commands malformed",
}

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
