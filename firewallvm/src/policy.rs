//! The rules in force: one verified program per client, and the pieces of the next one.
//!
//! This is the only place that is asked whether a new flow may be. A client without a program has no flows: until
//! dom0 has installed its rules, nothing of it passes. Between two clients the rules of both are asked.

pub mod assembly;
pub mod bucket;
pub mod forwards;
mod in_force;
mod limits;
pub mod reports;

use crate::{
    address::Address,
    flows::{Flow, PORTS, UPLINK},
};
use alloc::{boxed::Box, vec::Vec};
use assembly::{Assembly, NO_CLIENT, NO_MEMORY, Piece, Refused};
use core::net::IpAddr;
use first_hop::Client;
use forwards::Forwards;
pub use in_force::InForce;
use reports::{Reports, Told};
use rules_program::{
    Program,
    policy::{Action, Direction},
    question::Judgement,
};

/// Bytes of memory that must be left beside all programs: for clients to come, and what is told.
const REST: usize = 512 << 10;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// A host in the network.
    Net,
    /// A virtual name server.
    Dns,
    /// The client on this port.
    Client(u8),
}

/// A connection as the rules of one client see it.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The client whose rules are asked.
    pub link: u8,
    /// Which way the first packet goes.
    pub direction: Direction,
    /// Who is at the other end.
    pub far: Far,
    /// This end's address; of a forwarded port the uplink's.
    pub local: IpAddr,
    /// The other end's address; of a name server its virtual address.
    pub remote: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// This end's port; of a forwarded port the uplink's.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
}

/// Why rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The first packet of a connection.
    Opening,
    /// A segment of a connection that is not known: it cannot pass, but what its sender is told depends on the rules.
    Stray,
    /// A known connection, under new rules.
    Again,
}

impl Occasion {
    /// Whether this action decides what becomes of a packet, and so counts.
    const fn is_decided_by(self, action: Action) -> bool {
        match self {
            Self::Opening => true,
            Self::Stray => matches!(action, Action::Drop | Action::Reject),
            Self::Again => false,
        }
    }
}

/// A program that is ready to come into force.
#[derive(Debug)]
pub struct Prepared {
    rules: Box<InForce>,
    forwards: Forwards,
}

impl Prepared {
    /// The program.
    #[must_use]
    pub const fn program(&self) -> &Program {
        self.rules.program()
    }
}

/// The programs of all clients.
#[derive(Debug)]
pub struct Policy {
    clients: [Option<Box<InForce>>; PORTS],
    assembly: Assembly,
    /// The forwarded ports of all programs.
    pub forwards: Forwards,
    /// Decisions that dom0 is to hear of.
    pub reports: Reports,
}

impl Policy {
    /// No rules for anybody; `None` when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {
            clients: [const { None }; PORTS],
            assembly: Assembly::default(),
            forwards: Forwards::default(),
            reports: Reports::new()?,
        })
    }

    /// Judges a connection by the rules of one client; `names` are those that this client knows the other end by.
    pub fn judge(
        &mut self,
        connection: &Connection,
        names: &[u16],
        (occasion, now_us): (Occasion, u64),
    ) -> Judgement {
        let rules = self.clients.get_mut(usize::from(connection.link)).and_then(Option::as_deref_mut);
        let Some(rules) = rules else { return Judgement::NO_RULE };
        let judgement = rules.judge(connection, names, (occasion, now_us));
        if judgement.log && occasion.is_decided_by(judgement.action) {
            let told = Told { connection, judgement, icmp_type: connection.icmp_type() };
            let generation = rules.generation();
            self.reports.note(&mut rules.log, generation, &told, now_us);
        }
        judgement
    }

    /// The rules of the client on `link`, once it has any.
    #[must_use]
    pub fn of(&self, link: u8) -> Option<&InForce> {
        self.clients.get(usize::from(link)).and_then(Option::as_deref)
    }

    fn of_mut(&mut self, link: u8) -> Option<&mut InForce> {
        self.clients.get_mut(usize::from(link)).and_then(Option::as_deref_mut)
    }

    /// A flow that rules of its clients allowed begins.
    #[inline]
    pub fn opened<A: Address>(&mut self, flow: &Flow<A>) {
        let [near, far] = flow.rules();
        let mut count = |by: Option<(u8, u16)>| {
            if let Some((link, rule)) = by
                && let Some(rules) = self.of_mut(link)
            {
                rules.opened(rule);
            }
        };
        count(near);
        count(far);
    }

    /// A flow is over, or about to be judged again.
    pub fn closed<A: Address>(&mut self, flow: &Flow<A>) {
        for (link, rule) in flow.rules().into_iter().flatten() {
            self.of_mut(link).into_iter().for_each(|rules| rules.closed(rule, flow.generation));
        }
    }

    /// Whether a flow was judged by a program of the client on `link` that is not in force any more.
    #[must_use]
    pub fn is_before<A>(&self, link: u8, flow: &Flow<A>) -> bool {
        self.of(link).is_none_or(|rules| rules.is_before(flow.generation))
    }

    /// Takes a piece of a client's next program; gives the program, verified, with the last one.
    ///
    /// # Errors
    /// [`Refused`]: the rules in force stay.
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<Option<Program>, Refused> {
        let Some(bytes) = self.assembly.add(piece)? else { return Ok(None) };
        Program::load(&bytes).map(Some).map_err(|refusal| Refused::Answer(refusal.as_str()))
    }

    /// Forgets what has come of a program: whoever sent it will not go on.
    pub fn interrupt(&mut self) {
        self.assembly = Assembly::default();
    }

    /// Whether all flows of the client on `link` have been judged by its program.
    #[must_use]
    pub fn is_settled(&self, link: u8) -> bool {
        self.of(link).is_none_or(InForce::is_settled)
    }

    /// Every flow has been judged by the rules in force.
    pub fn settle(&mut self) {
        self.clients.iter_mut().flatten().for_each(|rules| rules.settle());
    }

    /// Makes a program ready to come into force.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn prepare(&self, link: u8, number: u32, program: Program) -> Result<Prepared, Refused> {
        if usize::from(link) >= PORTS {
            return Err(NO_CLIENT);
        }
        let forwards = self.forwards.with(link, &program)?;
        let rules = InForce::new(program, number, self.of(link)).ok_or(NO_MEMORY)?;
        // Long rules may not take what the rest of the firewall lives on.
        let mut rest: Vec<u8> = Vec::new();
        rest.try_reserve_exact(REST).map_err(|_| NO_MEMORY)?;
        Ok(Prepared { rules: Box::new(rules), forwards })
    }

    /// Puts a program in force, as of `generation` of the engine; all flows of its client must have been judged by
    /// the one before.
    pub fn install(
        &mut self,
        link: u8,
        prepared: Prepared,
        generation: u16,
        clients: &[Option<Box<Client>>; PORTS],
    ) {
        let Prepared { mut rules, forwards } = prepared;
        rules.begin(generation);
        rules.meet(clients);
        if let Some(place) = self.clients.get_mut(usize::from(link)) {
            *place = Some(rules);
            self.forwards = forwards;
        }
    }

    /// Finds the domains that rules name among the clients, after these have changed.
    pub fn meet(&mut self, clients: &[Option<Box<Client>>; PORTS]) {
        self.clients.iter_mut().flatten().for_each(|rules| rules.meet(clients));
    }

    /// Forgets the rules of the client on `link`, and what has come of the next ones.
    pub fn forget(&mut self, link: u8) {
        if let Some(place) = self.clients.get_mut(usize::from(link)) {
            *place = None;
        }
        self.assembly.forget(link);
        self.forwards.forget(link);
    }
}

const _: () = assert!(UPLINK == 0, "no client is on the uplink's port");
