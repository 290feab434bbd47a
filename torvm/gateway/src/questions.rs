//! How many unanswered questions about names each client has.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The clients' unanswered questions.
#[derive(Default)]
pub struct Questions {
    asked: Mutex<HashMap<Ipv4Addr, u32>>,
    most: u32,
    most_per_client: u32,
}

impl Questions {
    /// None yet; with these limits.
    #[must_use]
    pub fn new(most: u32, most_per_client: u32) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), most, most_per_client })
    }

    /// Room for one more question of `client`, unless it (or everybody together) has too many.
    pub fn admit(self: &Arc<Self>, client: Ipv4Addr) -> Option<Question> {
        let mut asked = self.lock();
        let total: u32 = asked.values().sum();
        if total >= self.most {
            return None;
        }
        let count = asked.entry(client).or_default();
        if *count >= self.most_per_client {
            return None;
        }
        *count += 1;
        Some(Question { questions: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, u32>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question's place; given back when it is dropped.
pub struct Question {
    questions: Arc<Questions>,
    client: Ipv4Addr,
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut asked = self.questions.lock();
        if let Some(count) = asked.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                asked.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let questions = Questions::new(3, 2);
        let one = Ipv4Addr::new(10, 137, 0, 1);
        let two = Ipv4Addr::new(10, 137, 0, 2);
        let held: Vec<Question> = std::iter::from_fn(|| questions.admit(one)).collect();
        assert_eq!(held.len(), 2);
        let other = questions.admit(two).expect("room");
        assert!(questions.admit(two).is_none(), "everybody together");
        drop(held);
        assert!(questions.admit(two).is_some());
        drop(other);
        assert!(questions.lock().is_empty());
    }
}
