//! A policy as a table of nftables: `inet bulkhead-NAME`.
//!
//! The base chain hands the domain's packets to the chain `outward` or `inward` and leaves all others alone. Each of
//! the two lets known connections pass, hands what concerns another domain to a chain of its own, and asks the rules
//! in order; the last one drops. A rule with alternatives that `nft` cannot say at once has a chain `rule-N` for
//! them, and a chain `rule-N-verdict` so that its limits are asked once. Sets named `name4.HOST`, `domain6.NAME` and so on
//! are empty: whoever resolves the names fills them, and until then they match nothing.

use super::{
    conditions::{self, All, Any, Class, NamedSet, PortsOf, domain_set, name_set, server_set},
    expressions::{
        End, Family, Stmt, address, any_of, conntrack, family_is, goto, has, is, is_not, jump, meta, network,
        protocols, word,
    },
    forwards, limits,
};
use ipnet::IpNet;
use nftables::{
    expr::{Expression, MetaKey},
    schema::{
        Chain, NfCmd, NfListObject, NfObject, Nftables, Rule as NftRule, Set, SetFlag, SetType, SetTypeValue,
        Table,
    },
    stmt::{AnonymousCounter, Counter, Log, Reject, RejectType, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode},
};
use rules_program::policy::{Action, Direction, Policy, Protocols, Rule};
use std::{collections::HashSet, net::IpAddr};

/// Where a policy is to be in force: what the rules do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The domain's name: the table is called `bulkhead-NAME`.
    pub name: String,
    /// The domain's addresses. Packets from and to them are its packets, unless there is an interface; forwards lead to
    /// the first one of each family.
    pub addresses: Vec<IpAddr>,
    /// The interface behind which nothing but the domain is.
    pub interface: Option<String>,
    /// The interface that forwards come in by; `None`: any.
    pub uplink: Option<String>,
    /// The networks in which the domains' addresses are: nothing in them is reached but by naming the domain.
    pub inside: Vec<IpNet>,
    /// The name servers' virtual addresses.
    pub name_servers: Vec<IpAddr>,
}

/// A policy as nftables has it.
#[derive(Clone, Debug)]
pub struct Export {
    /// What `nft -j -f` reads. It replaces a table of the same name, whole.
    pub ruleset: Nftables<'static>,
    /// What nftables cannot say exactly, or only with somebody's help.
    pub notes: Vec<String>,
}

impl Export {
    /// As JSON.
    ///
    /// # Errors
    /// None that is known of: every part has a JSON form.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.ruleset)
    }
}

/// Says a policy in nftables' terms.
#[must_use]
pub fn export(policy: &Policy, place: &Place) -> Export {
    let mut table = Builder::new(policy, place);
    table.fixed_sets();
    table.base();
    for direction in [Direction::Outward, Direction::Inward] {
        table.direction(direction);
    }
    table.forwards();
    table.finish()
}

struct Builder<'a> {
    policy: &'a Policy,
    place: &'a Place,
    table: String,
    sets: Vec<NamedSet>,
    chains: Vec<Chain<'static>>,
    rules: Vec<NftRule<'static>>,
    notes: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(policy: &'a Policy, place: &'a Place) -> Self {
        let table = format!("bulkhead-{}", place.name);
        Self { policy, place, table, sets: vec![], chains: vec![], rules: vec![], notes: vec![] }
    }

    fn set(&mut self, name: String, family: Family, elements: Vec<IpNet>) {
        self.sets.push(NamedSet { name, family, elements });
    }

    fn chain(&mut self, name: &str) {
        let chain = Chain {
            family: NfFamily::INet,
            table: self.table.clone().into(),
            name: name.to_owned().into(),
            ..Chain::default()
        };
        self.chains.push(chain);
    }

    fn base_chain(&mut self, name: &str, (kind, hook, prio): (NfChainType, NfHook, i32)) {
        self.chain(name);
        if let Some(chain) = self.chains.last_mut() {
            chain._type = Some(kind);
            chain.hook = Some(hook);
            chain.prio = Some(prio);
            chain.policy = Some(NfChainPolicy::Accept);
        }
    }

    fn rule(&mut self, chain: &str, expr: All, comment: Option<String>) {
        let rule = NftRule {
            family: NfFamily::INet,
            table: self.table.clone().into(),
            chain: chain.to_owned().into(),
            expr: expr.into(),
            comment: comment.map(Into::into),
            ..NftRule::default()
        };
        self.rules.push(rule);
    }

    fn fixed_sets(&mut self) {
        for family in Family::BOTH {
            let inside = |net: &&IpNet| Family::of(&net.network()) == family;
            let nets: Vec<_> = self.place.inside.iter().filter(inside).copied().collect();
            self.set(inside_set(family), family, IpNet::aggregate(&nets));
            let servers = self.place.name_servers.iter().filter(|server| Family::of(server) == family);
            self.set(server_set(family), family, servers.map(|server| IpNet::from(*server)).collect());
            for number in 0..=u16::MAX {
                let Some(name) = name_set(self.policy, number, family) else { break };
                self.set(name, family, vec![]);
            }
            for number in 0..=u16::MAX {
                let Some(name) = domain_set(self.policy, number, family) else { break };
                self.set(name, family, vec![]);
            }
        }
        if !self.policy.names.is_empty() {
            let hosts = self.policy.names.join(", ");
            self.notes.push(format!(
                "the sets of these host names are empty until something resolves them: {hosts}"
            ));
        }
        if !self.policy.domains.is_empty() {
            let domains = self.policy.domains.join(", ");
            self.notes
                .push(format!("the sets of these domains are empty until something fills them: {domains}"));
        }
    }

    /// Whose packets they are.
    fn base(&mut self) {
        self.base_chain("forward", (NfChainType::Filter, NfHook::Forward, 0));
        let sides =
            [("outward", End::Source, MetaKey::Iifname), ("inward", End::Destination, MetaKey::Oifname)];
        for (chain, end, key) in sides {
            if let Some(interface) = &self.place.interface {
                self.rule("forward", vec![is(meta(key), word(interface.clone())), goto(chain)], None);
                continue;
            }
            for family in Family::BOTH {
                let own = self.place.addresses.iter().filter(|address| Family::of(address) == family);
                let own: Vec<_> = own.map(|address| network(IpNet::from(*address))).collect();
                if !own.is_empty() {
                    self.rule("forward", vec![is(address(family, end), any_of(own)), goto(chain)], None);
                }
            }
        }
    }

    fn direction(&mut self, direction: Direction) {
        let (chain, domains, end) = match direction {
            Direction::Outward => ("outward", "outward-domains", End::Destination),
            Direction::Inward => ("inward", "inward-domains", End::Source),
        };
        self.chain(chain);
        self.chain(domains);
        let states = Expression::List(["established", "related"].map(word).into());
        self.rule(chain, vec![has(conntrack("state", None), states), accept()], None);
        self.rule(chain, vec![has(conntrack("state", None), word("invalid")), drop()], None);
        for (family, icmp) in [(Family::V4, Protocols::ICMP), (Family::V6, Protocols::ICMPV6)] {
            let known = protocols(icmp.and(Protocols::TCP).and(Protocols::UDP));
            let other = is_not(meta(MetaKey::L4proto), known);
            self.rule(chain, vec![family_is(family), other, drop()], None);
        }
        for family in Family::BOTH {
            let inside = is(address(family, end), word(format!("@{}", inside_set(family))));
            self.rule(chain, vec![inside, goto(domains)], None);
        }
        for number in 0..self.policy.rules.len() {
            self.policy_rule(number, direction, (chain, domains));
        }
        for chain in [chain, domains] {
            self.rule(chain, vec![counter(), drop()], Some("no rule matched".to_owned()));
        }
    }

    /// One rule of the policy, in the chains of its direction.
    fn policy_rule(&mut self, number: usize, direction: Direction, (chain, domains): (&str, &str)) {
        let policy = self.policy;
        let Some(rule) = policy.rules.get(number).filter(|rule| rule.direction == direction) else { return };
        let of = match direction {
            Direction::Inward if forwards::any(policy) => PortsOf::Original,
            _ => PortsOf::Packet,
        };
        let transport = conditions::transport(rule, of);
        let mut asked = |class| {
            let target = conditions::target(policy, number, class, &mut self.sets);
            conditions::both(&transport, &target)
        };
        let network = asked(Class::Network);
        // What comes from another domain is no concern of a forward.
        let domain = if forwards::is_forward(rule) { Any::new() } else { asked(Class::Domain) };
        let verdict = self.verdict(number, rule);
        let comment = comment(number, rule);
        if network.len() + domain.len() == 1 {
            let chain = if network.is_empty() { domains } else { chain };
            let asked = network.into_iter().chain(domain).flatten();
            return self.rule(chain, asked.chain(verdict).collect(), Some(comment));
        }
        if network.len() + domain.len() > 1 {
            let end = format!("rule-{number}-verdict");
            self.chain(&end);
            self.alternatives(chain, &network, (format!("rule-{number}"), &end));
            self.alternatives(domains, &domain, (format!("rule-{number}-domains"), &end));
            self.rule(&end, verdict, Some(comment));
        }
    }

    /// The first alternative that holds leads to the verdict; if the verdict has limits and they are exceeded, the
    /// next rule is asked.
    fn alternatives(&mut self, from: &str, asked: &Any, (chain, verdict): (String, &str)) {
        if let [only] = &asked[..] {
            return self.rule(from, only.iter().cloned().chain([jump(verdict)]).collect(), None);
        }
        if asked.is_empty() {
            return;
        }
        self.chain(&chain);
        self.rule(from, vec![jump(&chain)], None);
        for one in asked {
            self.rule(&chain, one.iter().cloned().chain([goto(verdict)]).collect(), None);
        }
    }

    /// What is done with what a rule matches: limits first, for they are conditions.
    fn verdict(&mut self, number: usize, rule: &Rule) -> All {
        let mut all = if forwards::is_forward(rule) {
            vec![forwards::was_forwarded()]
        } else {
            self.limits(number, rule)
        };
        all.push(counter());
        if rule.log {
            let prefix = format!("{} rule {number}: ", self.table);
            all.push(Statement::Log(Some(Log { prefix: Some(prefix.into()), ..Log::new(None) })));
        }
        all.push(match rule.action {
            Action::Accept | Action::Forward { .. } => accept(),
            Action::Drop => drop(),
            Action::Reject => Statement::Reject(Some(Reject::new(
                Some(RejectType::ICMPX),
                Some(RejectCode::AdminProhibited),
            ))),
        });
        all
    }

    fn limits(&mut self, number: usize, rule: &Rule) -> All {
        let (limits, exact) = limits::of(rule);
        if !exact {
            self.notes.push(format!("rule {number}: the rate is rounded to what nft can say"));
        }
        limits
    }

    fn forwards(&mut self) {
        if !forwards::any(self.policy) {
            return;
        }
        self.base_chain("translate", (NfChainType::NAT, NfHook::Prerouting, -100));
        let all = forwards::translations(self.policy, self.place, &mut self.sets, |rule| limits::of(rule).0);
        for (number, expr) in all {
            let comment = self.policy.rules.get(number).map(|rule| comment(number, rule));
            self.rule("translate", expr, comment);
        }
        if self.place.addresses.is_empty() {
            self.notes.push("forwards lead nowhere: the domain's addresses are not known".to_owned());
        }
        let limited =
            |rule: &&Rule| forwards::is_forward(rule) && (rule.rate.is_some() || rule.connections.is_some());
        let forwards = self.policy.rules.iter().filter(|rule| forwards::is_forward(rule)).count();
        if forwards > 1 && self.policy.rules.iter().any(|rule| limited(&rule)) {
            let note =
                "a forward over its limit gives way to the next forward, but no longer to rules in between";
            self.notes.push(note.to_owned());
        }
    }

    fn finish(self) -> Export {
        let table = || {
            NfListObject::Table(Table {
                family: NfFamily::INet,
                name: self.table.clone().into(),
                handle: None,
            })
        };
        // Deleting takes a table that is there: the three commands replace one that may be there.
        let mut commands = vec![NfCmd::Add(table()), NfCmd::Delete(table()), NfCmd::Add(table())];
        let sets = self.sets.iter().map(|set| NfListObject::Set(Box::new(declared(set, &self.table))));
        commands.extend(sets.map(NfCmd::Add));
        commands.extend(self.chains.into_iter().map(|chain| NfCmd::Add(NfListObject::Chain(chain))));
        commands.extend(self.rules.into_iter().map(|rule| NfCmd::Add(NfListObject::Rule(rule))));
        let objects: Vec<_> = commands.into_iter().map(NfObject::CmdObject).collect();
        Export { ruleset: Nftables { objects: objects.into() }, notes: self.notes }
    }
}

fn inside_set(family: Family) -> String {
    format!("inside{}", family.digit())
}

fn declared(set: &NamedSet, table: &str) -> Set<'static> {
    let elements: Vec<_> = set.elements.iter().map(|net| network(*net)).collect();
    Set {
        family: NfFamily::INet,
        table: table.to_owned().into(),
        name: set.name.clone().into(),
        set_type: SetTypeValue::Single(match set.family {
            Family::V4 => SetType::Ipv4Addr,
            Family::V6 => SetType::Ipv6Addr,
        }),
        flags: Some(HashSet::from([SetFlag::Interval])),
        elem: (!elements.is_empty()).then(|| elements.into()),
        ..Set::default()
    }
}

fn comment(number: usize, rule: &Rule) -> String {
    match rule.line {
        0 => format!("rule {number}"),
        line => format!("rule {number}, line {line}"),
    }
}

const fn accept() -> Stmt {
    Statement::Accept(None)
}

const fn drop() -> Stmt {
    Statement::Drop(None)
}

const fn counter() -> Stmt {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter { packets: Some(0), bytes: Some(0) })))
}

#[cfg(test)]
pub(in crate::nft) mod tests;
