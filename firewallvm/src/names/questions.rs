//! Questions that a client asked and that nobody answered yet.

use super::Conversation;
use alloc::{collections::TryReserveError, vec::Vec};

/// Questions that one client may have open; a further one takes the oldest one's place.
pub(super) const OPEN: usize = 64;
/// Of those, questions for the same thing, likewise: several programs may ask at a time, but who floods us with forged
/// answers to a question that the client repeats through many ports shall not have many ports to hit.
pub(super) const OPEN_ALIKE: usize = 4;
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
    places: Vec<Option<Place>>,
    /// Questions noted so far.
    noted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    open: Open,
    /// Second in which it was asked last.
    since: u32,
    /// How many had been noted before.
    order: u64,
}

impl Questions {
    /// None, and room for [`OPEN`].
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut places = Vec::new();
        places.try_reserve_exact(OPEN)?;
        places.resize(OPEN, None);
        Ok(Self { places, noted: 0 })
    }

    /// Notes a question, once however often it is repeated.
    pub(super) fn note(&mut self, open: Open, now: u32) {
        let alike = |old: &Open| (old.name, old.kind) == (open.name, open.kind);
        let crowded = self.places.iter().flatten().filter(|place| alike(&place.open)).count() >= OPEN_ALIKE;
        // The same one again; or of those alike, if there are enough of them, or of all the oldest, a free place being
        // older than any.
        let rank = |place: &Option<Place>| match place {
            Some(place) if place.open == open => (0, 0),
            Some(place) if crowded && !alike(&place.open) => (2, place.order),
            Some(place) => (1, place.order + 1),
            None if crowded => (2, 0),
            None => (1, 0),
        };
        if let Some(place) = self.places.iter_mut().min_by_key(|place| rank(place)) {
            self.noted += 1;
            *place = Some(Place { open, since: now, order: self.noted });
        }
    }

    /// Takes a question away, as it was answered; `false` when it was not asked.
    pub(super) fn take(&mut self, answered: Open, now: u32) -> bool {
        let asked = |place: &&mut Option<Place>| {
            place.is_some_and(|place| place.open == answered && now.saturating_sub(place.since) <= PATIENCE)
        };
        self.places.iter_mut().find(asked).and_then(Option::take).is_some()
    }

    /// Whether a question of this number is open in a conversation.
    #[must_use]
    pub(super) fn has(&self, conversation: Conversation, id: u16) -> bool {
        let is_it = |place: &Place| place.open.conversation == conversation && place.open.id == id;
        self.places.iter().flatten().any(is_it)
    }

    /// Gives the names their numbers in another program; questions about those that it does not have are forgotten.
    pub(super) fn renumber(&mut self, number: impl Fn(u16) -> Option<u16>) {
        for place in &mut self.places {
            *place = place.and_then(|place| {
                let open = Open { name: number(place.open.name)?, ..place.open };
                Some(Place { open, ..place })
            });
        }
    }
}
