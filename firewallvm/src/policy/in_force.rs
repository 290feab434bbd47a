//! The rules of one client: what they decide, how often each did, and who the domains are that they name.

use super::{Connection, Far, Occasion, limits, limits::Limits, reports::Log};
use crate::flows::PORTS;
use alloc::{boxed::Box, vec::Vec};
use first_hop::Client;
use packet::{icmp, icmpv6, ipv4, ipv6};
use rules_program::{
    Program,
    question::{Judgement, Peer, Question, Transport},
};

/// A program in force.
#[derive(Debug)]
pub struct InForce {
    program: Program,
    generation: u32,
    hits: Vec<u64>,
    no_rule: u64,
    limits: Limits,
    pub(super) log: Log,
    /// The number that the program has for the client on each port.
    domains: [Option<u16>; PORTS],
    /// The engine's generation with which it came into force.
    since: u16,
    /// Whether every flow of this client has been judged by it.
    settled: bool,
}

impl InForce {
    /// Puts a program in the place of `old`; `None` when there is no memory for its counters.
    #[must_use]
    pub fn new(program: Program, generation: u32, old: Option<&Self>) -> Option<Self> {
        let mut hits = Vec::new();
        hits.try_reserve_exact(program.len()).ok()?;
        hits.resize(program.len(), 0);
        let limits = Limits::new(&program, old.map(|old| &old.limits))?;
        let (log, domains) = (Log::default(), [None; PORTS]);
        Some(Self {
            program,
            generation,
            hits,
            no_rule: 0,
            limits,
            log,
            domains,
            since: 0,
            settled: old.is_none(),
        })
    }

    /// Which set of rules this is, as dom0 named it.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The program.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// How often each rule decided.
    #[must_use]
    pub fn hits(&self) -> &[u64] {
        &self.hits
    }

    /// How often none did.
    #[must_use]
    pub const fn no_rule(&self) -> u64 {
        self.no_rule
    }

    /// Connections alive that a rule with a limit allowed.
    #[must_use]
    pub fn live(&self, rule: u16) -> Option<u32> {
        self.limits.live(rule)
    }

    /// Notes when it came into force.
    pub(super) const fn begin(&mut self, generation: u16) {
        self.since = generation;
    }

    /// Notes that every flow has been judged by it.
    pub(super) const fn settle(&mut self) {
        self.settled = true;
    }

    /// Whether every flow has been judged by it.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Finds the domains that the program names among the clients.
    pub(super) fn meet(&mut self, clients: &[Option<Box<Client>>; PORTS]) {
        for (number, client) in self.domains.iter_mut().zip(clients) {
            *number = client.as_deref().and_then(|client| {
                let place = self.program.domains().position(|name| name == client.name.as_str())?;
                u16::try_from(place).ok()
            });
        }
    }

    /// Whether a flow of this generation was judged by the previous program. Generations are close to each other as
    /// long as there are such flows, see [`crate::rejudge`].
    pub(super) const fn is_before(&self, generation: u16) -> bool {
        !self.settled && generation.wrapping_sub(self.since) > u16::MAX / 2
    }

    /// A connection that a rule allowed begins.
    #[inline]
    pub(super) fn opened(&mut self, rule: u16) {
        self.limits.opened(rule);
    }

    /// A connection is over that was judged in this generation.
    pub(super) fn closed(&mut self, rule: u16, generation: u16) {
        if self.is_before(generation) { self.limits.closed_before(rule) } else { self.limits.closed(rule) }
    }

    /// Judges a connection; what is not only a second look is counted.
    pub(super) fn judge(
        &mut self,
        connection: &Connection,
        names: &[u16],
        (occasion, now_us): (Occasion, u64),
    ) -> Judgement {
        let Some(transport) = connection.transport() else { return Judgement::NO_RULE };
        let question = Question {
            direction: connection.direction,
            peer: match connection.far {
                Far::Net => Peer::Net,
                Far::Dns => Peer::Dns,
                Far::Client(port) => Peer::Domain(self.domains.get(usize::from(port)).copied().flatten()),
            },
            remote: connection.remote,
            names,
            transport,
        };
        let mut gate = limits::Turnstile { limits: &mut self.limits, occasion, now_us };
        let judgement = self.program.judge(&question, &mut gate);
        if occasion.is_decided_by(judgement.action) {
            match judgement.rule.and_then(|rule| self.hits.get_mut(usize::from(rule))) {
                Some(hits) => *hits += 1,
                None => self.no_rule += 1,
            }
        }
        judgement
    }
}

impl Connection {
    /// What rules may ask of its first packet; ICMP opens one only with an echo request.
    fn transport(&self) -> Option<Transport> {
        let (source, destination) = match self.direction {
            rules_program::policy::Direction::Outward => (self.local_port, self.remote_port),
            rules_program::policy::Direction::Inward => (self.remote_port, self.local_port),
        };
        Some(match self.protocol {
            ipv4::TCP => Transport::Tcp { source, destination },
            ipv4::UDP => Transport::Udp { source, destination },
            ipv4::ICMP => Transport::Icmp { kind: icmp::ECHO_REQUEST },
            ipv6::ICMPV6 => Transport::Icmpv6 { kind: icmpv6::ECHO_REQUEST },
            _ => return None,
        })
    }

    /// Its ICMP type, if it has one.
    pub(super) fn icmp_type(&self) -> Option<u8> {
        match self.transport() {
            Some(Transport::Icmp { kind } | Transport::Icmpv6 { kind }) => Some(kind),
            _ => None,
        }
    }
}
