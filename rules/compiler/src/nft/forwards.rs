//! Port forwards: what came to the uplink's own address gets the client's address before it is routed.
//!
//! The filter's chains then ask the same rules again, by the ports that the packet had when it came.

use super::{
    conditions::{self, All, Any, Class, NamedSet, PortsOf},
    export::Place,
    expressions::{Family, Stmt, conntrack, family_is, has, is, is_local, meta, word},
};
use nftables::{
    expr::{Expression, MetaKey},
    stmt::{NAT, NATFamily, Statement},
};
use rules_program::policy::{Action, Direction, Policy, Rule};

/// Whether there are forwards.
pub(super) fn any(policy: &Policy) -> bool {
    policy.rules.iter().any(is_forward)
}

pub(super) const fn is_forward(rule: &Rule) -> bool {
    matches!((rule.direction, rule.action), (Direction::Inward, Action::Forward { .. }))
}

/// Its address was replaced when it came.
pub(super) fn was_forwarded() -> Stmt {
    has(conntrack("status", None), word("dnat"))
}

/// The rules that give packets the client's address: number and statements. A rule that accepts without forwarding
/// ends the search for a forward, as it does in the policy; one that drops needs not: the filter drops as well.
pub(super) fn translations(
    policy: &Policy,
    place: &Place,
    sets: &mut Vec<NamedSet>,
    limits: impl Fn(&Rule) -> All,
) -> Vec<(usize, All)> {
    let Some(last) = policy.rules.iter().rposition(is_forward) else { return Vec::new() };
    let mut all = Vec::new();
    for (number, rule) in policy.rules.iter().enumerate().take(last + 1) {
        let (Direction::Inward, Action::Accept | Action::Forward { .. }) = (rule.direction, rule.action)
        else {
            continue;
        };
        let target = conditions::target(policy, number, Class::Network, sets);
        let asked = conditions::both(&conditions::transport(rule, PortsOf::Packet), &target);
        for verdict in verdicts(rule, place) {
            all.extend(
                asked_at(&asked, place)
                    .map(|asked| (number, [asked, limits(rule), verdict.clone()].concat())),
            );
        }
    }
    all
}

/// The conditions, of packets that come from the uplink to one of its addresses.
fn asked_at<'a>(asked: &'a Any, place: &'a Place) -> impl Iterator<Item = All> + use<'a> {
    asked.iter().map(|asked| {
        let mut all = vec![is_local()];
        if let Some(uplink) = &place.uplink {
            all.insert(0, is(meta(MetaKey::Iifname), word(uplink.clone())));
        }
        all.extend(asked.iter().cloned());
        all
    })
}

fn verdicts(rule: &Rule, place: &Place) -> Vec<All> {
    let Action::Forward { to_port } = rule.action else { return vec![vec![Statement::Accept(None)]] };
    let addresses = Family::BOTH.into_iter().filter_map(|family| {
        place.addresses.iter().find(|address| Family::of(address) == family).map(|address| (family, address))
    });
    addresses
        .map(|(family, address)| {
            let nat = NAT {
                addr: Some(word(address.to_string())),
                family: Some(if family == Family::V4 { NATFamily::IP } else { NATFamily::IP6 }),
                port: to_port.map(|port| Expression::Number(port.into())),
                flags: None,
            };
            vec![family_is(family), Statement::DNAT(Some(nat))]
        })
        .collect()
}
