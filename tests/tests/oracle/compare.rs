//! One set of rules in three places, the same packets through all of them.

use crate::oracle::{
    cases::{Case, Client, Shape, Spec},
    engine::{self, Engine},
    known,
    namespace::Router,
    outcome::{Outcome, Tag, outcome},
    reference::Reference,
};
use rules_compiler::nft::export::{Place, export};
use rules_program::policy::Policy;
use std::fmt::Write as _;

/// What became of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub case: Case,
    /// Linux's outcome with the exported rules.
    pub linux: Outcome,
    /// What the rules say, where nothing else is to be asked.
    pub rules: Option<Outcome>,
    /// The engine's outcome.
    pub ours: Outcome,
}

impl Judged {
    /// Whether it needs an explanation that nobody has: the rules have no exceptions, the engine has those in `known`.
    pub(crate) fn is_wrong(&self) -> bool {
        self.rules.is_some_and(|rules| rules != self.linux)
            || (self.ours != self.linux && known::explain(&self.case, self.linux, self.ours).is_empty())
    }
}

/// The router, and clients enough for every round to have one of its own: nothing of a round is left to the next.
pub(crate) struct Bench {
    pub router: Router,
    next: u16,
    /// The last round's table.
    table: Option<String>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), next: 0, table: None }
    }

    /// A client that nobody was before.
    pub(crate) fn client(&mut self) -> (String, Client) {
        let number = self.next;
        self.next += 1;
        (format!("c{number}"), Client::number(number))
    }

    /// Sends packets of a client with these rules.
    pub(crate) fn judge(&mut self, policy: &Policy, packets: &[(Tag, Spec)]) -> Vec<Judged> {
        self.judge_with(policy, policy, packets)
    }

    /// The same, with rules for Linux that need not be ours.
    pub(crate) fn judge_with(
        &mut self,
        linux: &Policy,
        ours: &Policy,
        packets: &[(Tag, Spec)],
    ) -> Vec<Judged> {
        let (name, client) = self.client();
        self.router.load(&export(linux, &place(&name, &client)).to_json().unwrap());
        let before = self.table.replace(format!("bulkhead-{name}"));
        self.router.admit(client.v4, client.v6, before.as_deref());
        let mut engine = Engine::new();
        engine.add(engine::CLIENT, "work", &client, ours);
        let mut reference = Reference::new(ours);
        let cases = packets.iter().filter_map(|(tag, spec)| spec.clone().build(*tag, &client));
        let judged = cases.map(|case| {
            let linux = self.through_linux(&case);
            let rules = case.plain.as_ref().map(|plain| reference.outcome(plain));
            let ours = through_engine(&mut engine, &case);
            Judged { case, linux, rules, ours }
        });
        judged.collect()
    }

    /// What becomes of a case in Linux.
    pub(crate) fn through_linux(&self, case: &Case) -> Outcome {
        self.router.uplink.drain();
        self.router.client.drain();
        case.frames.iter().for_each(|frame| self.router.client.send(frame));
        outcome(case.tag, &self.router.uplink.drain(), &self.router.client.drain())
    }

    /// The fewest rules that still show what is wrong with the last packet.
    pub(crate) fn fewest(&mut self, policy: &Policy, packets: &[(Tag, Spec)]) -> Policy {
        let mut policy = policy.clone();
        let mut n = 0;
        while n < policy.rules.len() {
            let mut fewer = policy.clone();
            fewer.rules.remove(n);
            if self.judge(&fewer, packets).last().is_some_and(Judged::is_wrong) {
                policy = fewer;
            } else {
                n += 1;
            }
        }
        policy
    }
}

fn through_engine(engine: &mut Engine, case: &Case) -> Outcome {
    let out = engine.send_frames(engine::CLIENT, &case.frames);
    if matches!(case.spec.shape, Shape::Pieces(cut) if cut.leaves_rest()) {
        engine.forget_pieces();
    }
    outcome(case.tag, &out.net, &out.client)
}

/// Where a client's table is in force.
pub(crate) fn place(name: &str, client: &Client) -> Place {
    Place {
        name: name.to_owned(),
        addresses: vec![client.v4.into(), client.v6.into()],
        interface: None,
        uplink: Some("up0".to_owned()),
        inside: vec!["10.137.0.0/16".parse().unwrap(), "fd09:24ef:4179::/48".parse().unwrap()],
        name_servers: vec!["10.139.1.1".parse().unwrap(), "10.139.1.2".parse().unwrap()],
    }
}

/// What is wrong, so that it can be tried again by hand.
pub(crate) fn report(judged: &Judged, policy: &Policy) -> String {
    let Judged { case, linux, rules, ours } = judged;
    let mut text = format!("Linux {linux:?}, the rules {rules:?}, ours {ours:?}\n  {:?}\n", case.spec);
    let _ = writeln!(text, "  odd: {:?}", case.odd);
    for (number, rule) in policy.rules.iter().enumerate() {
        let _ = writeln!(text, "  rule {number}: {rule:?}");
    }
    for frame in &case.frames {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "  frame {hex}");
    }
    text
}
