//! The state of every domain, as told to users.

use super::Supervisor;
use super::runtime::Runtime;
use crate::domain::Kind;
use crate::plan::Machine;
use crate::protocol::DomainStatus;

impl Supervisor {
    /// Every domain in start order.
    pub(super) fn status(&self) -> Vec<DomainStatus> {
        let known = self.plan.machines.iter();
        known.filter_map(|m| Some(self.domain_status(m, self.runtimes.get(&m.name)?))).collect()
    }

    fn domain_status(&self, machine: &Machine, runtime: &Runtime) -> DomainStatus {
        DomainStatus {
            name: machine.name.clone(),
            label: machine.label,
            kind: machine.kind,
            state: runtime.state.phase(self.is_ready(&machine.name)),
            reason: runtime.reason.clone(),
            memory_mib: machine.memory_mib,
            vcpus: machine.vcpus,
            netvm: machine.netvm.clone(),
            addresses: addresses(machine, runtime),
            uptime_s: runtime.vmm.as_ref().and(runtime.started).map(|t| t.elapsed().as_secs()),
            restarts: runtime.restarts,
            version: runtime.hello.clone(),
            rules: self
                .rules_problem(&machine.name, self.settings.times.rules)
                .or_else(|| self.relays_problem(&machine.name)),
            tor: (machine.kind == Kind::Torvm && runtime.vmm.is_some())
                .then(|| self.tor_obstacle(&machine.name))
                .flatten(),
        }
    }
}

fn addresses(machine: &Machine, runtime: &Runtime) -> Vec<String> {
    if machine.kind == Kind::Netvm {
        let Some(uplink) = &runtime.uplink else { return Vec::new() };
        let v4 = uplink.v4.as_ref().map(|v4| format!("{}/{}", v4.address, v4.prefix));
        let v6 = uplink.v6.as_ref().map(|v6| format!("{}/{}", v6.address, v6.prefix));
        return v4.into_iter().chain(v6).collect();
    }
    machine.client.iter().map(|(_, client)| client.v4.to_string()).collect()
}
