//! Questions and answers, built by a library that is not ours.

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, CNAME, RData},
};
use std::net::IpAddr;

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) kind: TYPE,
}

impl Asked {
    pub(crate) fn a(id: u16, name: &str) -> Self {
        Self { id, name: name.to_owned(), kind: TYPE::A }
    }

    pub(crate) fn aaaa(id: u16, name: &str) -> Self {
        Self { kind: TYPE::AAAA, ..Self::a(id, name) }
    }

    fn section(&self) -> Question<'_> {
        Question::new(
            Name::new_unchecked(&self.name),
            QTYPE::TYPE(self.kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        )
    }

    /// The question's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(self.section());
        packet.build_bytes_vec().unwrap()
    }

    /// An answer's bytes, compressed.
    pub(crate) fn answer(&self, records: &[Said]) -> Vec<u8> {
        self.reply(records, RCODE::NoError).build_bytes_vec_compressed().unwrap()
    }

    /// An answer, for tests that change it.
    pub(crate) fn reply<'a>(&'a self, records: &'a [Said], code: RCODE) -> Packet<'a> {
        let mut packet = Packet::new_reply(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        *packet.rcode_mut() = code;
        packet.questions.push(self.section());
        packet.answers.extend(records.iter().map(Said::record));
        packet
    }
}

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    owner: String,
    ttl: u32,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Is(IpAddr),
    Alias(String),
}

impl Said {
    /// Owner and target, of an alias.
    pub(crate) fn alias(&self) -> Option<(&str, &str)> {
        match &self.data {
            Data::Alias(target) => Some((&self.owner, target)),
            Data::Is(_) => None,
        }
    }

    /// Owner and address, of an address.
    pub(crate) fn address(&self) -> Option<(&str, IpAddr)> {
        match self.data {
            Data::Is(address) => Some((&self.owner, address)),
            Data::Alias(_) => None,
        }
    }

    fn record(&self) -> ResourceRecord<'_> {
        let data = match &self.data {
            Data::Is(IpAddr::V4(address)) => RData::A(A::from(*address)),
            Data::Is(IpAddr::V6(address)) => RData::AAAA(AAAA::from(*address)),
            Data::Alias(name) => RData::CNAME(CNAME(Name::new_unchecked(name))),
        };
        ResourceRecord::new(Name::new_unchecked(&self.owner), CLASS::IN, self.ttl, data)
    }
}

/// `owner` has this address.
pub(crate) fn is(owner: &str, address: &str, ttl: u32) -> Said {
    Said { owner: owner.to_owned(), ttl, data: Data::Is(address.parse().unwrap()) }
}

/// `owner` is another name of `target`.
pub(crate) fn alias(owner: &str, target: &str, ttl: u32) -> Said {
    Said { owner: owner.to_owned(), ttl, data: Data::Alias(target.to_owned()) }
}
