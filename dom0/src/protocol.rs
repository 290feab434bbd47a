//! What the command line and the daemon say to each other.
//!
//! A `SOCK_SEQPACKET` Unix socket, one JSON document per packet (`vmm_api::wire`: bounded, with descriptors).
//! One request per connection, then any number of [`Answer::Progress`] and one last answer. Streams (console,
//! run, logs) are descriptors beside the last answer, so that the daemon never touches their bytes.

use crate::domain::edit::TorChange;
use crate::domain::{Kind, Label};
use crate::name::{Bdf, Name};
use crate::problem::Problems;
use crate::rules::Version;
use serde::{Deserialize, Serialize};

/// From the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Starts domains and everything above them; all of them when none is named.
    Up {
        /// The domains.
        domains: Vec<Name>,
    },
    /// Stops domains; all of them when none is named.
    Down {
        /// The domains.
        domains: Vec<Name>,
        /// What to do when others still use them.
        users: Users,
    },
    /// Asks for [`Outcome::Status`].
    Status,
    /// Asks for a stream to a domain's serial console.
    Console {
        /// The domain.
        domain: Name,
    },
    /// Asks for a domain's log, as a file opened for reading.
    Logs {
        /// The domain.
        domain: Name,
    },
    /// Asks for a stream to the agent in an AppVM.
    Run {
        /// The domain.
        domain: Name,
    },
    /// Asks for [`Outcome::Counters`].
    Counters {
        /// The domain.
        domain: Name,
    },
    /// Asks for [`Outcome::Rules`].
    RulesRead {
        /// The AppVM.
        domain: Name,
    },
    /// Replaces a domain's rules by the text enclosed (see [`crate::enclosed`]) and waits until they are in force.
    RulesInstall {
        /// The AppVM.
        domain: Name,
        /// The version that the text was made from.
        expected: Version,
    },
    /// Asks how often each rule of a domain decided; answered by [`RuleHits`] as enclosed JSON.
    RulesCounters {
        /// The AppVM.
        domain: Name,
    },
    /// Asks for the decisions of a domain's rules that say `log`, as a file opened for reading.
    RulesLog {
        /// The AppVM.
        domain: Name,
    },
    /// Asks how a torvm is: a [`TorStatus`](crate::tor::view::TorStatus) as enclosed JSON, like the answers to the next
    /// requests. Where no torvm is named there must be just one.
    TorStatus {
        /// The torvm.
        torvm: Option<Name>,
    },
    /// Gives an AppVM a new identity, or all that are behind a torvm: circuits of before are not used any more.
    TorNewIdentity {
        /// The torvm.
        torvm: Option<Name>,
        /// The AppVM; then the torvm is the one above it.
        client: Option<Name>,
        /// What becomes of streams that are open.
        streams: OldStreams,
    },
    /// Asks for a torvm's circuits.
    TorCircuits {
        /// The torvm.
        torvm: Option<Name>,
    },
    /// Asks for a torvm's bridges.
    TorBridges {
        /// The torvm.
        torvm: Option<Name>,
    },
    /// Asks what a torvm keeps streams apart by.
    TorIsolation {
        /// The torvm.
        torvm: Option<Name>,
    },
    /// Changes a torvm's file and has its program start with it.
    TorChange {
        /// The torvm.
        torvm: Option<Name>,
        /// What.
        change: TorChange,
    },
    /// Asks for what a torvm's program reported, as a file opened for reading.
    TorLog {
        /// The torvm.
        torvm: Option<Name>,
    },
    /// Puts another domain above an AppVM, or none.
    Route {
        /// The AppVM.
        domain: Name,
        /// The firewallvm or torvm.
        via: Option<Name>,
    },
    /// Gives a network card to a domain.
    NicAssign {
        /// The card.
        bdf: Bdf,
        /// The domain.
        domain: Name,
        /// What the user accepts.
        accept: Accept,
    },
    /// Gives a network card back to this machine.
    NicUnassign {
        /// The card.
        bdf: Bdf,
    },
}

/// What becomes of streams that are open when their AppVM gets a new identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldStreams {
    /// They go on over their circuits until they end.
    #[default]
    Keep,
    /// They are cut.
    Close,
}

/// What happens to those that use a domain which is to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Users {
    /// Refuse while there are any.
    #[default]
    Refuse,
    /// Leave them running, offline.
    LeaveOffline,
}

/// What a user accepts when assigning a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accept {
    /// That a device in use is taken away.
    pub busy: bool,
    /// That a device which cannot be reset from outside keeps what its last owner left in it.
    pub no_reset: bool,
}

/// From the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A step of a longer job.
    Progress {
        /// In words.
        text: String,
    },
    /// It is done; the last answer.
    Done(Outcome),
    /// It is not done, and nothing was left half-done; the last answer.
    Failed(Problems),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was asked for.
    Done,
    /// Every domain.
    Status(Vec<DomainStatus>),
    /// Counters by name.
    Counters(Vec<(String, u64)>),
    /// The descriptor beside this answer.
    Stream,
    /// A domain's rules; their text is enclosed.
    Rules(RulesState),
    /// Rules are saved and, unless it is said otherwise, in force.
    Installed {
        /// Number of the set of rules in force; `None`: nobody enforces it now.
        generation: Option<u32>,
        /// What the user should know.
        notes: Vec<String>,
    },
    /// Nothing was installed: the rules are no longer those that the text was made from.
    Changed,
}

/// Where a domain's rules stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesState {
    /// Their file.
    pub file: String,
    /// Version of the file's text.
    pub version: Version,
    /// The rules in force: their number, and whether they are what the file says. `None`: nobody enforces any now.
    pub in_force: Option<(u32, Agreement)>,
    /// Why what the file says is not in force.
    pub problem: Option<String>,
}

/// Whether what is in force is what the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It is.
    Same,
    /// It is not.
    Different,
}

/// How often a rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHit {
    /// Its line in the file.
    pub line: u32,
    /// Decisions.
    pub hits: u64,
}

/// How often each rule decided since it was put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// Number of the set of rules.
    pub generation: u32,
    /// Per rule of the file, in order.
    pub rules: Vec<RuleHit>,
    /// What no rule matched and was dropped.
    pub no_rule: u64,
}

/// State of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStatus {
    /// Name.
    pub name: Name,
    /// Trust colour.
    pub label: Label,
    /// What it is for.
    pub kind: Kind,
    /// What it is doing.
    pub state: Phase,
    /// Why it last ended by itself, since it was brought up; it may run again.
    pub reason: Option<String>,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub vcpus: u8,
    /// The domain above.
    pub netvm: Option<Name>,
    /// Its addresses: of the uplink (netvm) or on its link (AppVM).
    pub addresses: Vec<String>,
    /// Seconds since its start, when it runs.
    pub uptime_s: Option<u64>,
    /// Times that it was replaced since it was last brought up.
    pub restarts: u32,
    /// Version of its image, as it says.
    pub version: Option<String>,
    /// What is wrong with its firewall rules.
    pub rules: Option<String>,
    /// Why connections cannot go through the Tor network yet (torvm).
    #[serde(default)]
    pub tor: Option<String>,
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No process.
    Stopped,
    /// A process, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Asked to end.
    Stopping,
    /// It ended by itself and waits to be replaced.
    Restarting,
    /// It ended by itself and stays down.
    Failed,
}

impl Phase {
    /// The word shown to users.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
        }
    }
}
