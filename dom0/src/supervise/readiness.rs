//! Whether domains do what they are for.

use super::Supervisor;
use super::runtime::{Readiness, State};
use crate::name::Name;

impl Supervisor {
    /// Whether a domain does what it is for: its machine runs, its links to running domains are up, and a
    /// driver domain has said hello.
    pub(super) fn is_ready(&self, name: &Name) -> Readiness {
        let (Some(runtime), Some(machine)) = (self.runtimes.get(name), self.plan.machine(name)) else {
            return Readiness::NotYet;
        };
        let spoke = !machine.kind.is_driver() || runtime.hello.is_some();
        if runtime.state == State::Running && spoke && self.links_up(name) {
            Readiness::Ready
        } else {
            Readiness::NotYet
        }
    }

    pub(super) fn note_ready(&mut self) {
        let fresh: Vec<Name> = self
            .runtimes
            .iter()
            .filter(|(_, r)| r.state == State::Running && !r.was_ready)
            .map(|(n, _)| n.clone())
            .collect();
        for name in fresh {
            if self.is_ready(&name) == Readiness::Ready
                && let Some(runtime) = self.runtimes.get_mut(&name)
            {
                runtime.was_ready = true;
                tracing::info!(%name, "ready");
            }
        }
    }
}
