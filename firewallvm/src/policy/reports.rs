//! Decisions that dom0 is to hear of, until they are sent.

use super::{Connection, bucket::Bucket};
use alloc::collections::VecDeque;
use control::message::{Decision, Fate};
use rules_program::{
    policy::{Action, Direction, Rate},
    question::Judgement,
};

/// Decisions that wait at most.
const WAITING: usize = 64;
/// How often a client's rules may report.
const RATE: Rate = Rate { count: 50, per_seconds: 1, burst: 50 };

/// What one client's rules may still report.
#[derive(Debug)]
pub(super) struct Log {
    bucket: Bucket,
    suppressed: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { bucket: Bucket::new(RATE), suppressed: 0 }
    }
}

/// Decisions in order.
#[derive(Debug, Default)]
pub struct Reports(VecDeque<Decision>);

impl Reports {
    /// Room for all that may wait; `None` when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut waiting = VecDeque::new();
        waiting.try_reserve_exact(WAITING).ok()?;
        Some(Self(waiting))
    }

    /// The decision that waits longest.
    #[must_use]
    pub fn first(&self) -> Option<&Decision> {
        self.0.front()
    }

    /// It has been sent.
    pub fn sent(&mut self) {
        self.0.pop_front();
    }

    /// Notes a decision, or that it was one too many.
    pub(super) fn note(&mut self, log: &mut Log, generation: u32, told: &Told<'_>, now_us: u64) {
        let Told { connection, judgement, .. } = told;
        let Some(rule) = judgement.rule.filter(|_| judgement.log) else { return };
        if self.0.len() >= self.0.capacity().min(WAITING) || !log.bucket.take(now_us) {
            log.suppressed = log.suppressed.saturating_add(1);
            return;
        }
        let inward = connection.direction == Direction::Inward;
        let far = (connection.remote, connection.remote_port);
        let near = (connection.local, connection.local_port);
        let (source, (address, port)) = if inward { (far, near) } else { (near, far) };
        self.0.push_back(Decision {
            port: connection.link,
            generation,
            rule,
            fate: match judgement.action {
                Action::Accept | Action::Forward { .. } => Fate::Accepted,
                Action::Drop => Fate::Dropped,
                Action::Reject => Fate::Rejected,
            },
            inward,
            protocol: connection.protocol,
            source: if told.icmp_type.is_some() { (source.0, 0) } else { source },
            destination: (address, told.icmp_type.map_or(port, u16::from)),
            suppressed: core::mem::take(&mut log.suppressed),
        });
    }
}

/// A decision to be told of.
pub(super) struct Told<'c> {
    pub(super) connection: &'c Connection,
    pub(super) judgement: Judgement,
    pub(super) icmp_type: Option<u8>,
}
