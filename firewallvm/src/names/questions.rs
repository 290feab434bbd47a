//! Questions that a client asked and that nobody answered yet.

use super::Conversation;
use alloc::{collections::TryReserveError, vec::Vec};

/// Questions that one client may have open; a further one takes the oldest one's place.
pub(super) const OPEN: usize = 64;
/// Seconds for which a question waits: as long as its flow lives without a packet.
const PATIENCE: u32 = 30;

/// A question that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Between whom.
    pub(super) conversation: Conversation,
    /// Its number.
    pub(super) id: u16,
    /// Which name, by its number in the client's program.
    pub(super) name: u16,
    /// Which type of record.
    pub(super) kind: u16,
}

/// A client's open questions.
#[derive(Debug)]
pub(super) struct Questions {
    /// With the second in which each was asked.
    ring: Vec<Option<(Open, u32)>>,
    next: usize,
}

impl Questions {
    /// None, and room for [`OPEN`].
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut ring = Vec::new();
        ring.try_reserve_exact(OPEN)?;
        ring.resize(OPEN, None);
        Ok(Self { ring, next: 0 })
    }

    /// Notes a question, once however often it is repeated.
    pub(super) fn note(&mut self, open: Open, now: u32) {
        let same = self.ring.iter().position(|place| place.is_some_and(|(old, _)| old == open));
        let at = same.unwrap_or_else(|| {
            let at = self.next;
            self.next = (self.next + 1) % OPEN;
            at
        });
        if let Some(place) = self.ring.get_mut(at) {
            *place = Some((open, now));
        }
    }

    /// Takes a question away, as it was answered; `false` when it was not asked.
    pub(super) fn take(&mut self, answered: Open, now: u32) -> bool {
        let asked = |place: &&mut Option<(Open, u32)>| {
            place.is_some_and(|(open, since)| open == answered && now.saturating_sub(since) <= PATIENCE)
        };
        self.ring.iter_mut().find(asked).and_then(Option::take).is_some()
    }

    /// Whether a question of this number is open in a conversation.
    #[must_use]
    pub(super) fn has(&self, conversation: Conversation, id: u16) -> bool {
        self.ring.iter().flatten().any(|(open, _)| open.conversation == conversation && open.id == id)
    }

    /// Gives the names their numbers in another program; questions about those that it does not have are forgotten.
    pub(super) fn renumber(&mut self, number: impl Fn(u16) -> Option<u16>) {
        for place in &mut self.ring {
            *place = place.and_then(|(open, since)| Some((Open { name: number(open.name)?, ..open }, since)));
        }
    }
}
