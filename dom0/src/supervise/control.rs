//! What is said over control links: who the clients are, how the NIC gets its addresses, signs of life.

use super::Supervisor;
use super::rules::Page;
use super::runtime::{Fence, Runtime, State};
use crate::control_link::Report;
use crate::domain::Kind;
use crate::name::Name;
use crate::plan::{Link, Party};
use crate::vmm::clean;
use control::message::{FromDomain, ToFirewall, ToNet, ToTor};
use std::time::Instant;

impl Supervisor {
    /// Something came over a control link; ignored unless it is the present incarnation, and one that was not ended for
    /// a fault: what was queued behind the fault is not to be acted upon.
    pub(super) fn report(&mut self, name: &Name, epoch: u64, report: Report) {
        let current = self
            .wires
            .iter()
            .any(|w| w.link.upper == Party::Dom0 && w.link.touches(name) && w.epoch == epoch);
        let heard = |r: &Runtime| r.control.is_some() && r.state != State::Condemned;
        if !current || !self.runtimes.get(name).is_some_and(heard) {
            return;
        }
        match report {
            Report::Message(message) => self.message(name, *message),
            Report::Fault(why) => self.fault(name, &format!("it broke the control link's protocol: {why}")),
        }
    }

    fn message(&mut self, name: &Name, message: FromDomain) {
        let Some(kind) = self.plan.machine(name).map(|m| m.kind) else { return };
        let Some(runtime) = self.runtimes.get_mut(name) else { return };
        runtime.heard = Some(Instant::now());
        match message {
            FromDomain::Hello { kind: said, version } if said == kind.word() => {
                runtime.hello = Some(clean(&version));
            }
            FromDomain::Hello { kind: said, .. } => {
                let why = format!("its image says that it is a {}, not a {kind}", clean(&said));
                self.fault(name, &why);
            }
            FromDomain::Uplink(uplink) if kind == Kind::Netvm => {
                tracing::info!(%name, link_up = uplink.link_up, v4 = ?uplink.v4, v6 = ?uplink.v6, "uplink");
                runtime.uplink = Some(uplink);
            }
            FromDomain::Uplink(_) => self.fault(name, "it reported an uplink that it cannot have"),
            FromDomain::Counters { counters, more } => {
                let counters: Vec<_> = counters.iter().map(|(n, v)| (clean(n), *v)).collect();
                self.counters_from_guest(name, &counters, more);
            }
            FromDomain::Rules { .. } | FromDomain::Decision(_) | FromDomain::RuleCounters { .. }
                if kind != Kind::Firewallvm =>
            {
                self.fault(name, "it reported on rules that it cannot have");
            }
            FromDomain::Rules { port, generation, refused } => {
                self.rules_answered(name, port, generation, refused.map(|why| clean(&why)));
            }
            FromDomain::Decision(decision) => self.rules_decided(name, &decision),
            FromDomain::RuleCounters { port, generation, first, hits, no_rule, more } => {
                let page = Page { generation, first, hits: &hits, no_rule, more };
                self.rules_counted(name, port, &page);
            }
            FromDomain::Program(_) | FromDomain::Gateway(_) if kind != Kind::Torvm => {
                self.fault(name, "it reported on a gateway program that it cannot have");
            }
            FromDomain::Program(program) => self.tor_program(name, program),
            FromDomain::Gateway(report) => self.tor_report(name, report),
            FromDomain::Pong { nonce } if nonce == runtime.run => {}
            FromDomain::Pong { nonce } if runtime.fences.contains_key(&nonce) => {
                runtime.fences.insert(nonce, Fence::Passed);
            }
            FromDomain::Pong { .. } => self.fault(name, "it answered a ping that was not sent"),
            FromDomain::PeerFault { port, what } => self.accused(name, port, &clean(&what)),
        }
    }

    /// First words to a driver domain after its control link came up.
    pub(super) fn greet(&mut self, name: &Name) {
        let Some(machine) = self.plan.machine(name) else { return };
        if let (Some(nic), Some(control)) =
            (&machine.nic, self.runtimes.get(name).and_then(|r| r.control.as_ref()))
        {
            control.send(&ToNet::Nic(nic.clone()));
        }
        if machine.kind == Kind::Torvm {
            self.greet_tor(name);
        }
        let begun: Vec<Link> = self.wires.iter().filter(|w| w.is_begun()).map(|w| w.link.clone()).collect();
        for link in begun {
            if matches!(&link.upper, Party::Domain(n, _) if n == name) {
                self.introduce(&link);
            }
        }
    }

    /// Tells a firewallvm or torvm who stands behind a link, if it is a client's; to a firewallvm right behind that the
    /// client's rules.
    pub(super) fn introduce(&mut self, link: &Link) {
        let (Party::Domain(above, _), Party::Domain(name, _)) = (&link.upper, &link.lower) else { return };
        let client = self.plan.machine(name).and_then(|m| m.client.clone());
        let kind = self.plan.machine(above).map(|m| m.kind);
        let control = self.runtimes.get(above).and_then(|r| r.control.as_ref());
        match (client, control, kind) {
            (Some((port, client)), Some(control), Some(Kind::Firewallvm)) => {
                control.send(&ToFirewall::Client { port, client });
                self.rules_at_introduction(name);
            }
            (Some((port, client)), Some(control), Some(Kind::Torvm)) => {
                control.send(&ToTor::Client { port, client });
            }
            _ => {}
        }
    }

    /// Tells a firewallvm or torvm that a client is gone for good.
    pub(super) fn forget_client(&mut self, name: &Name) {
        self.rules.forget(name);
        let Some(machine) = self.plan.machine(name) else { return };
        let (Some(above), Some((port, _))) = (&machine.netvm, &machine.client) else { return };
        self.say_forget(above, *port);
    }

    /// Tells a domain that the client on a port is gone for good.
    pub(super) fn say_forget(&self, above: &Name, port: u8) {
        let control = self.runtimes.get(above).and_then(|r| r.control.as_ref());
        match (control, self.plan.machine(above).map(|m| m.kind)) {
            (Some(control), Some(Kind::Firewallvm)) => control.send(&ToFirewall::ForgetClient { port }),
            (Some(control), Some(Kind::Torvm)) => control.send(&ToTor::ForgetClient { port }),
            _ => {}
        }
    }

    /// Asks a driver domain for a sign of life.
    pub(super) fn say_ping(&self, name: &Name, nonce: u64) {
        let control = self.runtimes.get(name).and_then(|r| r.control.as_ref());
        match (control, self.plan.machine(name).map(|m| m.kind)) {
            (Some(control), Some(Kind::Netvm)) => control.send(&ToNet::Ping { nonce }),
            (Some(control), Some(Kind::Firewallvm)) => control.send(&ToFirewall::Ping { nonce }),
            (Some(control), Some(Kind::Torvm)) => control.send(&ToTor::Ping { nonce }),
            _ => {}
        }
    }

    /// Holds nobody's silence against it while this very process did not get to listen: signs of life may be behind what is
    /// worked off next.
    pub(super) fn forgive(&mut self, now: Instant) {
        let away = now.duration_since(std::mem::replace(&mut self.looked, now));
        if away > self.settings.times.silence / 2 {
            for runtime in self.runtimes.values_mut().filter(|runtime| runtime.heard.is_some()) {
                runtime.heard = Some(now);
            }
        }
    }

    /// Asks driver domains for signs of life and ends those that give none.
    pub(super) fn ping_due(&mut self, now: Instant) {
        let times = self.settings.times;
        let (mut silent, mut asked) = (Vec::new(), Vec::new());
        for (name, runtime) in &mut self.runtimes {
            let (Some(_), Some(_)) = (&runtime.control, &runtime.hello) else { continue };
            if runtime.heard.is_some_and(|at| now.duration_since(at) > times.silence) {
                silent.push(name.clone());
            } else if runtime.asked.is_none_or(|at| now.duration_since(at) >= times.ping) {
                runtime.asked = Some(now);
                asked.push((name.clone(), runtime.run));
            }
        }
        for (name, nonce) in asked {
            self.say_ping(&name, nonce);
        }
        for name in silent {
            self.fault(&name, &format!("it gave no sign of life for {} s", times.silence.as_secs()));
        }
    }

    /// Asks a driver domain for its counters; `false` when it cannot be asked.
    pub(super) fn ask_guest_counters(&self, name: &Name) -> bool {
        let control = self.runtimes.get(name).and_then(|r| r.control.as_ref());
        match (control, self.plan.machine(name).map(|m| m.kind)) {
            (Some(control), Some(Kind::Netvm)) => control.send(&ToNet::GetCounters),
            (Some(control), Some(Kind::Firewallvm)) => control.send(&ToFirewall::GetCounters),
            (Some(control), Some(Kind::Torvm)) => control.send(&ToTor::GetCounters),
            _ => return false,
        }
        true
    }

    /// Asks a driver domain for an orderly end.
    pub(super) fn say_stop(&self, name: &Name, kind: Kind) {
        let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) else { return };
        match kind {
            Kind::Netvm => control.send(&ToNet::Stop),
            Kind::Firewallvm => control.send(&ToFirewall::Stop),
            Kind::Torvm => control.send(&ToTor::Stop),
            Kind::Appvm => {}
        }
    }
}
