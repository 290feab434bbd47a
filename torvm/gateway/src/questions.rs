//! How many unanswered questions about names each client has.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Unanswered questions to which a client has a right, however many others have.
const RIGHT: u32 = 8;

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

    /// Room for one more question of `client`, unless it has too many, or everybody together has and it has its right.
    pub fn admit(self: &Arc<Self>, client: Ipv4Addr) -> Option<Question> {
        let mut asked = self.lock();
        let total: u32 = asked.values().sum();
        let count = asked.get(&client).copied().unwrap_or(0);
        if count >= self.most_per_client || total >= self.most && count >= RIGHT {
            return None;
        }
        asked.insert(client, count + 1);
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
        let questions = Questions::new(20, 16);
        let client = |n| Ipv4Addr::new(10, 137, 0, n);
        let ask = |n| std::iter::from_fn(|| questions.admit(client(n))).collect::<Vec<Question>>();
        let (first, second) = (ask(1), ask(2));
        assert_eq!((first.len(), second.len()), (16, 8), "its share; what is left, or its right");
        let third = ask(3);
        assert_eq!(third.len(), 8, "no other takes its right");
        drop((first, third));
        assert_eq!(ask(2).len(), 8, "its share, with those it has");
        drop(second);
        assert!(questions.lock().is_empty());
    }
}
