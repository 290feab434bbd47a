//! What is known of one domain while the daemon runs.

use super::budget::Budget;
use crate::control_link::ControlLink;
use crate::protocol::Phase;
use crate::vmm::Vmm;
use control::message::Uplink;
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::time::Instant;

/// One domain's process and history.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    /// Counts processes; what an earlier one says late is told apart by it.
    pub(super) run: u64,
    /// What the domain is doing.
    pub(super) state: State,
    /// Its process.
    pub(super) vmm: Option<Vmm>,
    /// Its control link (driver domains), while that is up.
    pub(super) control: Option<ControlLink>,
    /// When its process was started.
    pub(super) started: Option<Instant>,
    /// Whether this run was ever ready.
    pub(super) was_ready: bool,
    /// Restarts since it was brought up.
    pub(super) restarts: u32,
    pub(super) budget: Budget,
    /// Why it last ended by itself.
    pub(super) reason: Option<String>,
    /// Whether its process has an interface that can be linked.
    pub(super) has_vif: bool,
    /// Pings that show that everything said before was heard: number, and whether it was answered.
    pub(super) fences: BTreeMap<u64, Fence>,
    /// The stream over which an AppVM's agent was asked to power off; open until it has.
    pub(super) farewell: Option<OwnedFd>,
    /// What it said of itself (driver domains).
    pub(super) hello: Option<String>,
    /// What netvm last said of the uplink.
    pub(super) uplink: Option<Uplink>,
    /// Last sign of life over the control link.
    pub(super) heard: Option<Instant>,
    /// When it was last asked for one.
    pub(super) asked: Option<Instant>,
}

/// A ping that shows that everything said before it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// On its way.
    Sent,
    /// Answered.
    Passed,
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// No process.
    #[default]
    Stopped,
    /// A process whose machine is not built yet.
    Starting,
    /// A machine whose processors run.
    Running,
    /// Killed for a fault; its death is not known yet.
    Condemned,
    /// Asked to end; killed at the time given.
    Stopping(Instant),
    /// Ended by itself; started again at the time given.
    Restarting(Instant),
    /// Ended by itself, stays down.
    Failed,
}

impl State {
    /// Whether there is a process, or will be by itself.
    pub(super) const fn is_active(self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed)
    }

    /// As the user sees it. `ready`: see [`super::Supervisor::is_ready`].
    pub(super) const fn phase(self, ready: Readiness) -> Phase {
        match (self, ready) {
            (Self::Stopped, _) => Phase::Stopped,
            (Self::Running, Readiness::Ready) => Phase::Running,
            (Self::Starting | Self::Running, _) => Phase::Starting,
            (Self::Condemned | Self::Stopping(_), _) => Phase::Stopping,
            (Self::Restarting(_), _) => Phase::Restarting,
            (Self::Failed, _) => Phase::Failed,
        }
    }
}

/// Whether a domain does what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It does.
    Ready,
    /// Not yet.
    NotYet,
}
