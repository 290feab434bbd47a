//! What dom0 and torvm's gateway program say to each other.
//!
//! The program speaks on a stream socket; there every message is a little-endian `u16`, its length, and then that many
//! bytes of postcard, at most [`codec::MAX_LEN`](crate::codec::MAX_LEN). Torvm passes them on between that socket and
//! dom0, decoding and encoding each: neither end sees bytes that the other made. Destinations that a client asks
//! for are in none of these messages.

use crate::pieces::pieces;
use core::net::{IpAddr, Ipv4Addr};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Longest piece of a document in bytes.
pub const DOCUMENT_PIECE: usize = 3840;
/// Largest document in bytes: a sender sends none that is longer, a receiver refuses one that claims to be.
pub const DOCUMENT_MAX: u32 = 16 << 20;
/// Relays that a circuit can be reported with.
pub const HOPS: usize = 8;
/// Circuits in one report.
pub const CIRCUITS_PER_REPORT: usize = 4;
/// Guards in one report.
pub const GUARDS: usize = 8;
/// Bridges in one report.
pub const BRIDGES_PER_REPORT: usize = 8;
/// A sentence for a person, in bytes.
pub type Text = String<240>;

/// From dom0 to the gateway program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one message at a time, on the stack: boxes save nothing")]
pub enum GatewayCommand {
    /// From now on streams of this client share no circuit with its earlier ones. Answered by
    /// [`GatewayReport::NewIdentity`].
    NewIdentity {
        /// The client's address; `None`: every client.
        client: Option<Ipv4Addr>,
        /// What becomes of the streams that are open.
        streams: OldStreams,
    },
    /// Asks for [`GatewayReport::Status`].
    GetStatus,
    /// Asks for [`GatewayReport::Circuits`].
    GetCircuits,
    /// Asks for [`GatewayReport::Bridges`].
    GetBridges,
    /// Asks for [`GatewayReport::Isolation`].
    GetIsolation,
    /// Replaces what streams are kept apart by; for streams that are opened from now on. Answered by
    /// [`GatewayReport::Isolation`].
    SetIsolation(Isolation),
    /// Asks for the documents in use once more, as [`GatewayReport::Document`].
    GetDocuments,
    /// Asks for [`GatewayReport::Counters`].
    GetCounters,
}

/// What a new identity does to the client's open streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OldStreams {
    /// They go on over their circuits until they end.
    Keep,
    /// They are cut.
    Close,
}

/// What streams are kept apart by, beyond the client that they come from: that one always counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Different destination addresses or host names: different circuits.
    pub by_destination_address: bool,
    /// Different destination ports: different circuits.
    pub by_destination_port: bool,
    /// Different SOCKS (or proxy) user names or passwords: different circuits.
    pub by_socks_credentials: bool,
    /// Ports of one class may share a circuit, but not with ports of another class or of none.
    pub port_classes: PortClasses,
}

/// Destination ports that belong together.
pub type PortClass = Vec<u16, 16>;
/// Classes of destination ports.
pub type PortClasses = Vec<PortClass, 8>;

/// From the gateway program to dom0. Everything in it is an allegation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one message at a time, on the stack: boxes save nothing")]
pub enum GatewayReport {
    /// First message after every start.
    Started {
        /// Version of the program.
        version: String<31>,
    },
    /// How far the way into the Tor network is; on change and on demand.
    Status(Status),
    /// Circuits that carry streams of clients, page after page.
    Circuits {
        /// The circuits of this page.
        circuits: Vec<Circuit, CIRCUITS_PER_REPORT>,
        /// Whether another page follows.
        more: bool,
    },
    /// The configured bridges, page after page.
    Bridges {
        /// Whether bridges are used at all.
        used: bool,
        /// As in the configuration: address and identities; what goes beyond the room is cut.
        bridges: Vec<String<200>, BRIDGES_PER_REPORT>,
        /// Whether another page follows.
        more: bool,
    },
    /// What streams are kept apart by.
    Isolation(Isolation),
    /// A new identity was made.
    NewIdentity {
        /// Whose; `None`: every client's.
        client: Option<Ipv4Addr>,
        /// How many streams were cut.
        closed: u32,
    },
    /// How long a stream of a client took to open. At most a few a second are told.
    FirstByte(FirstByte),
    /// A piece of a document that is in use. The pieces of one come in order, without gaps; one at offset 0 begins
    /// anew. Whenever a consensus comes into use the certificates are sent, then it, with the same generation.
    Document {
        /// Which document.
        kind: DocumentKind,
        /// Names the pair of documents; counts up from the program's start.
        generation: u32,
        /// Length of the whole in bytes.
        total: u32,
        /// Where this piece belongs.
        offset: u32,
        /// The piece.
        bytes: Vec<u8, DOCUMENT_PIECE>,
    },
    /// Some of the counters; `more` when another message follows.
    Counters {
        /// Name and value.
        counters: Vec<(String<40>, u64), 32>,
        /// Whether another message follows.
        more: bool,
    },
    /// A line for the log.
    Log {
        /// How bad it is.
        level: Level,
        /// What happened.
        text: Text,
    },
}

/// How far the way into the Tor network is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Share of the way to being ready, 0 to 100.
    pub percent: u8,
    /// Whether streams can be opened at once.
    pub ready: bool,
    /// Why nothing moves, as far as known.
    pub blocked: Option<Text>,
    /// What is known to be wrong with the clock.
    pub clock: Option<Text>,
    /// The program's wall clock, in seconds of Unix time.
    pub now: u64,
    /// When the consensus in use counts, if there is one.
    pub consensus: Option<Validity>,
    /// Entry guards in their order of preference.
    pub guards: Vec<Guard, GUARDS>,
    /// Open streams of clients.
    pub streams: u32,
}

/// When a consensus counts; seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// From then on.
    pub valid_after: u64,
    /// Until then it is the newest.
    pub fresh_until: u64,
    /// Until then.
    pub valid_until: u64,
}

/// An entry guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Who it is.
    pub relay: Relay,
    /// Whether a circuit was ever built through it.
    pub confirmed: bool,
}

/// A relay, or a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Ed25519 identity.
    pub ed25519: Option<[u8; 32]>,
    /// RSA identity.
    pub rsa: Option<[u8; 20]>,
    /// Where it was reached, or can be.
    pub address: Option<(IpAddr, u16)>,
}

/// A circuit with streams of a client on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// The client whose streams these are.
    pub client: Ipv4Addr,
    /// Names the circuit, as in the program's log.
    pub id: String<24>,
    /// Number of the client's identity; a new one has a larger number.
    pub identity: u32,
    /// From the guard on; `None`: a hop that is not a relay (the far half of a way to an onion service).
    pub hops: Vec<Option<Relay>, HOPS>,
    /// How many streams.
    pub streams: u32,
}

/// How long a stream took to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstByte {
    /// Whose stream.
    pub client: Ipv4Addr,
    /// From the client's request until its data could leave, in milliseconds.
    pub opened_ms: u32,
    /// From the client's request to the first byte of the far end, in milliseconds.
    pub first_byte_ms: u32,
    /// Streams since the last report of this kind that were not told.
    pub suppressed: u32,
}

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DocumentKind {
    /// The network consensus, flavour `microdesc`, as the authorities signed it.
    Consensus,
    /// The authorities' key certificates, one after the other.
    AuthorityCertificates,
}

/// How bad a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing can work.
    Error,
    /// Something does not.
    Warning,
    /// For the record.
    Info,
}

impl GatewayReport {
    /// The messages that bring a document, in order; none for one that is longer than [`DOCUMENT_MAX`].
    pub fn document(kind: DocumentKind, generation: u32, document: &[u8]) -> impl Iterator<Item = Self> {
        let total = u32::try_from(document.len()).unwrap_or(u32::MAX);
        let document = if total > DOCUMENT_MAX { &[] } else { document };
        pieces(document).map(move |(offset, bytes)| Self::Document { kind, generation, total, offset, bytes })
    }
}

/// As much of `text` as there is room for.
#[must_use]
pub fn cut<const N: usize>(text: &str) -> String<N> {
    let mut out = String::new();
    // `push` fails for good with the first character that does not fit.
    text.chars().take_while(|c| out.push(*c).is_ok()).for_each(drop);
    out
}

#[cfg(test)]
mod tests;
