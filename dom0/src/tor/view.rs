//! What users are shown of torvms: texts, cleaned; sent to the command line as enclosed JSON.

use crate::domain::tor::Isolation;
use crate::name::Name;
use crate::protocol::Phase;
pub use control::tor::Validity;
use serde::{Deserialize, Serialize};

/// How a torvm is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TorStatus {
    /// The torvm.
    pub domain: Name,
    /// What the domain is doing.
    pub state: Phase,
    /// What its gateway program does.
    pub program: Program,
    /// How often the program was started since the domain was.
    pub runs: u32,
    /// Version of the program, as it says.
    pub version: Option<String>,
    /// Why its configuration is not what the domain file says.
    pub problem: Option<String>,
    /// How far the way into the network is.
    pub bootstrap: Option<Bootstrap>,
    /// Entry guards in their order of preference.
    pub guards: Vec<Guard>,
    /// Whether it enters the network through bridges only.
    pub bridges: bool,
    /// The AppVMs behind it.
    pub clients: Vec<Name>,
    /// Times of streams that were opened lately.
    pub streams: Option<Streams>,
    /// What it may reach through the firewall.
    pub relays: Relays,
}

/// What a gateway program does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Nothing was heard of it.
    #[default]
    Unknown,
    /// It runs.
    Running,
    /// It ended, and is started again.
    Ended(String),
    /// It cannot be started.
    Refused(String),
}

/// How far the way into the Tor network is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Per cent.
    pub percent: u8,
    /// Whether streams can be opened at once.
    pub ready: bool,
    /// Why nothing moves.
    pub blocked: Option<String>,
    /// What is wrong with the clock, as the program says.
    pub clock: Option<String>,
    /// How far its clock is from this machine's when it spoke, in seconds.
    pub clock_ahead_s: i64,
    /// Seconds since it said so.
    pub age_s: u64,
    /// When its consensus counts.
    pub consensus: Option<Validity>,
    /// Open streams.
    pub streams: u32,
}

/// A relay, or a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// RSA identity in hexadecimal, otherwise `ed25519:` and that one.
    pub identity: Option<String>,
    /// Address and port.
    pub address: Option<String>,
}

/// An entry guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Which relay.
    pub relay: Relay,
    /// Whether a circuit was ever built through it.
    pub confirmed: bool,
}

/// Times of streams that were opened lately, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// How many of them.
    pub count: u32,
    /// Until data could leave, median.
    pub opened_ms: u32,
    /// To its first byte, median.
    pub first_byte_ms: u32,
}

/// What a torvm may reach through the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relays {
    /// Addresses with their ports.
    pub allowed: u32,
    /// Until when the verified consensus counts that they are from; `None`: only what the configuration names.
    pub verified_until: Option<u64>,
    /// Why the documents that it handed over last were not believed.
    pub problem: Option<String>,
}

/// A circuit that carries streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// The AppVM, or its address where that is nobody's.
    pub client: String,
    /// Its name in the program's log.
    pub id: String,
    /// How often the client had taken a new identity.
    pub identity: u32,
    /// From the guard on; `None`: a hop that is not a relay.
    pub hops: Vec<Option<Relay>>,
    /// Streams on it.
    pub streams: u32,
}

/// What came of a new identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIdentity {
    /// Streams that were cut.
    pub closed: u32,
}

/// The bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridges {
    /// The torvm.
    pub domain: Name,
    /// As they stand in its file.
    pub bridges: Vec<String>,
}

/// What streams are kept apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolated {
    /// The torvm.
    pub domain: Name,
    /// As its file says.
    pub isolation: Isolation,
}

/// A line of a torvm's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// `error`, `warning`, `info`.
    pub level: String,
    /// What happened.
    pub text: String,
    /// Lines before it that were not written, for there were too many.
    pub suppressed: u32,
}
