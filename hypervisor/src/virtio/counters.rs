//! Counters that any thread may bump and the control thread reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn bump(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a total that is kept elsewhere.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of a machine by name, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<(String, Counter)>>>);

impl Registry {
    /// Makes a counter called `prefix.name`.
    #[must_use]
    pub fn counter(&self, prefix: &str, name: &str) -> Counter {
        let counter = Counter::default();
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((format!("{prefix}.{name}"), counter.clone()));
        counter
    }

    /// Names and values.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().map(|(name, counter)| (name.clone(), counter.get())).collect()
    }
}
