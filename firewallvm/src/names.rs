//! Names in rules: which addresses a client was told for them.
//!
//! A rule with a host name matches the addresses that this client itself learned for the name: from an answer of the
//! firewall's name servers to a question that the client asked. Nothing is resolved here and nobody else's answer
//! counts, so that what the rule allows is what the client means. Each such address is *pinned* to the name for as
//! long as the answer holds.
//!
//! Here: the questions under way (`questions`), the reading of answers ([`wire`], [`answer`]), what may not be
//! pinned ([`rebinding`]), the pins (`pins`) of the names in a client's program (`wanted`). Not here: rules.
//! DNS over TCP and truncated answers are not read; a name that is only answered so matches nothing. Nothing that
//! happens to one name opens or closes another one's rules.

pub mod answer;
mod packets;
mod pins;
mod questions;
pub mod rebinding;
mod wanted;
pub mod wire;

use crate::{
    flows::PORTS,
    hash::{Key, Random},
};
use alloc::collections::TryReserveError;
use core::net::IpAddr;
pub use packets::{saw_answer, saw_question};
use pins::Pins;
use questions::{Open, Questions};
use wanted::Wanted;
use wire::{Header, Malformed, Question};

/// Names that one address is known under at most; of more, those that the client was told last.
pub const MAX_NUMBERS: usize = 16;
/// Shortest life of a pin in seconds: also after an answer that may not be kept the client has to be able to connect,
/// and applications keep addresses for about a minute whatever they are told.
const MIN_LIFE: u32 = 60;
/// Longest life of a pin in seconds: a day, after which resolvers ask again too. An address that has long become
/// someone else's must not stay open.
const MAX_LIFE: u32 = 86_400;

/// Numbers of names.
pub type Numbers = heapless::Vec<u16, MAX_NUMBERS>;

/// Between whom questions and answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The client's port.
    pub port: u16,
    /// The virtual name server's address.
    pub server: IpAddr,
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident = $counter:literal,)+) => {
        /// What happened to answers. Each has a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($(#[doc = $doc])+ $name,)+ }

        impl Count {
            /// The counters' names, in order.
            const NAMES: &'static [&'static str] = &[$($counter,)+];
        }
    };
}

counts! {
    /// An answer to a client's question about a name of its program was read.
    Read = "names_answers",
    /// An address was pinned, anew or for longer.
    Pinned = "names_pinned",
    /// An address was not pinned, as it is not one of the Internet's.
    Rebinding = "names_rebinding",
    /// An answer about a name of the program that nobody asked for, or with another question than was asked.
    Unasked = "names_unasked",
    /// A truncated answer, or one that says that there is none.
    Failed = "names_failed",
    /// An answer that could not be read.
    Malformed = "names_malformed",
}

/// What is known of one client's names.
#[derive(Debug)]
struct Watch {
    wanted: Wanted,
    questions: Questions,
    pins: Pins,
}

/// What is known of all clients' names.
#[derive(Debug)]
pub struct Names {
    key: Key,
    watches: [Option<Watch>; PORTS],
    /// Our addresses on the uplink.
    own: [Option<IpAddr>; 2],
    counts: [u64; Count::NAMES.len()],
}

impl Names {
    /// Nothing is known, and no client's program has names.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        Self {
            key: [random.next_u64(), random.next_u64()],
            watches: [const { None }; PORTS],
            own: [None; 2],
            counts: [0; Count::NAMES.len()],
        }
    }

    /// Puts the names of a client's new program in place of the old one's; a name's place is its number. What was
    /// told about names that are in both stays. When there is no memory nothing changes.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn set_program<'n>(
        &mut self,
        link: u8,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(), TryReserveError> {
        let Some(place) = self.watches.get_mut(usize::from(link)) else { return Ok(()) };
        let wanted = Wanted::new(self.key, names)?;
        if wanted.len() == 0 {
            *place = None;
            return Ok(());
        }
        let mut pins = Pins::new(self.key, wanted.len())?;
        let questions = match place.take() {
            Some(Watch { wanted: old, pins: old_pins, mut questions }) => {
                pins.take_over(&old_pins, |number| wanted.number_of(&old, number));
                questions.renumber(|number| wanted.number_of(&old, number));
                questions
            }
            None => Questions::new()?,
        };
        *place = Some(Watch { wanted, questions, pins });
        Ok(())
    }

    /// Forgets a client.
    pub fn forget(&mut self, link: u8) {
        if let Some(place) = self.watches.get_mut(usize::from(link)) {
            *place = None;
        }
    }

    /// Whether the program of the client on `link` has names.
    #[inline]
    #[must_use]
    pub fn watches(&self, link: u8) -> bool {
        self.watch(link).is_some()
    }

    /// Takes note of our own addresses on the uplink, which are never pinned.
    pub fn set_own(&mut self, v4: Option<IpAddr>, v6: Option<IpAddr>) {
        self.own = [v4, v6];
    }

    /// The numbers of the names that the client on `link` was told this address for, as far as that still holds: for
    /// a connection that is opened at second `now`.
    #[inline]
    #[must_use]
    pub fn of(&self, link: u8, address: IpAddr, now: u32) -> Numbers {
        self.watch(link).map_or_else(Numbers::new, |watch| watch.pins.fresh(address, now))
    }

    /// The same, whether or not it still holds: for a connection that was opened while it did.
    #[inline]
    #[must_use]
    pub fn ever_of(&self, link: u8, address: IpAddr) -> Numbers {
        self.watch(link).map_or_else(Numbers::new, |watch| watch.pins.ever(address))
    }

    /// Takes note of what a client says to a virtual name server.
    pub fn asked(&mut self, link: u8, conversation: Conversation, message: &[u8], now: u32) {
        let Some(watch) = self.watch_mut(link) else { return };
        let Ok(header) = Header::read(message) else { return };
        let Ok(question) = Question::read(message, &header) else { return };
        if header.asks()
            && matches!(question.kind, wire::A | wire::AAAA)
            && let Some(name) = watch.wanted.find(&question.name)
        {
            watch.questions.note(Open { conversation, id: header.id, name, kind: question.kind }, now);
        }
    }

    /// Reads what a name server says to a client.
    pub fn answered(&mut self, link: u8, conversation: Conversation, message: &[u8], now: u32) {
        let (key, own) = (self.key, self.own);
        let Some(watch) = self.watch_mut(link) else { return };
        let (name, mut told) = match watch.read(key, conversation, message, now) {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(why) => return self.count(why, 1),
        };
        let all = told.len();
        told.retain(|(address, _)| !rebinding::is_inside(*address, &own));
        for (_, ttl) in &mut told {
            *ttl = now.saturating_add((*ttl).clamp(MIN_LIFE, MAX_LIFE));
        }
        let pinned = watch.pins.pin(name, &told);
        self.count(Count::Read, 1);
        self.count(Count::Pinned, pinned as u64);
        self.count(Count::Rebinding, (all - told.len()) as u64);
    }

    /// The counters by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Count::NAMES.iter().copied().zip(self.counts)
    }

    /// A counter.
    #[must_use]
    pub fn counter(&self, count: Count) -> u64 {
        self.counts.get(count as usize).copied().unwrap_or(0)
    }

    fn count(&mut self, count: Count, times: u64) {
        if let Some(counter) = self.counts.get_mut(count as usize) {
            *counter += times;
        }
    }

    #[inline]
    fn watch(&self, link: u8) -> Option<&Watch> {
        self.watches.get(usize::from(link)).and_then(Option::as_ref)
    }

    fn watch_mut(&mut self, link: u8) -> Option<&mut Watch> {
        self.watches.get_mut(usize::from(link)).and_then(Option::as_mut)
    }
}

impl Watch {
    /// Reads an answer: the name's number and its addresses; `None` for what is none of our business.
    fn read(
        &mut self,
        key: Key,
        conversation: Conversation,
        message: &[u8],
        now: u32,
    ) -> Result<Option<(u16, answer::Addresses)>, Count> {
        let malformed = |Malformed| Count::Malformed;
        let header = Header::read(message).map_err(malformed)?;
        if !header.replies() {
            return Ok(None);
        }
        let question = Question::read(message, &header).map_err(malformed)?;
        let kind = question.kind;
        let name = self.wanted.find(&question.name).filter(|_| matches!(kind, wire::A | wire::AAAA));
        let open = name.map(|name| Open { conversation, id: header.id, name, kind });
        match open {
            // Answered once, whatever with.
            Some(open) if self.questions.take(open, now) => {}
            // Of something else that the client asked; or not, but that is up to the client.
            None if !self.questions.has(conversation, header.id) => return Ok(None),
            _ => return Err(Count::Unasked),
        }
        if !header.succeeds() {
            return Err(Count::Failed);
        }
        let addresses = answer::addresses(message, &header, &question, key).map_err(malformed)?;
        Ok(name.map(|name| (name, addresses)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
