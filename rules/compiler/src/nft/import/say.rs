//! Atoms in our words: those of one verdict are one rule where that says the same.

use super::atom::{ANY_V4, ANY_V6, Atom, Decided, Far};
use crate::{
    ast::{Host, OtherEnd, Rule, Set},
    import::{Became, Imported},
    span::Spanned,
};
use ipnet::IpNet;
use rules_program::policy::{Action, Direction, Protocols};

/// Networks that are written into a rule at most; more become sets.
const INLINE: usize = 16;
/// Networks in a set at most, so that its line stays short.
const IN_SET: usize = 200;

const BOTH_ICMP: u8 = Protocols::ICMP.bits() | Protocols::ICMPV6.bits();

/// Says a run of atoms that share a verdict.
pub(super) fn say(run: &[Decided], direction: Direction, imported: &mut Imported) {
    let Some(first) = run.first() else { return };
    if let Some(rule) = as_one(run, direction, imported) {
        return imported.push(rule);
    }
    let limited = first.atom.limit.is_some() || first.atom.connections.is_some();
    let opens = !matches!(first.action, Action::Drop | Action::Reject);
    let at = format!("chain {}, rule {}", first.verdict.0, first.verdict.1);
    if limited {
        let became = if opens { Became::LeftOut } else { Became::Wider };
        imported.unsaid(&at, "a limit that several rules of ours would have to share", became);
        if opens {
            return;
        }
    }
    for one in run {
        for mut part in by_family(one) {
            (part.atom.limit, part.atom.connections) = (None, None);
            match as_one(std::slice::from_ref(&part), direction, imported) {
                Some(rule) => imported.push(rule),
                None => imported.unsaid(&at, "there are no words for it", Became::LeftOut),
            }
        }
    }
}

/// An atom's parts of one family each.
fn by_family(one: &Decided) -> Vec<Decided> {
    let (mut v4, mut v6) = (one.clone(), one.clone());
    v4.atom.only_v4();
    v6.atom.only_v6();
    [v4, v6].into_iter().filter(|part| !part.atom.is_empty()).collect()
}

/// One rule that says the same as all of the atoms.
fn as_one(run: &[Decided], direction: Direction, imported: &mut Imported) -> Option<Rule> {
    let first = run.first()?;
    let same = |one: &Decided| {
        let bare = |atom: &Atom| Atom { v4: 0, v6: 0, far: Far::Any, ..atom.clone() };
        bare(&one.atom) == bare(&first.atom) && one.action == first.action
    };
    let limited = first.atom.limit.is_some() || first.atom.connections.is_some();
    let several = first.atom.destination_ports.len() > 1 || first.atom.source_ports.len() > 1;
    if !run.iter().all(same) || (limited && several) {
        return None;
    }
    let (far, protocols) = far_and_protocols(run)?;
    let mut rule = Rule::new(first.action);
    rule.direction = direction;
    rule.protocols = protocols;
    rule.other_end = match far {
        // Inward, only a forward says so without naming who comes.
        Whole::Anyone
            if direction == Direction::Inward && !matches!(first.action, Action::Forward { .. }) =>
        {
            OtherEnd::Hosts(hosts(&[ANY_V4, ANY_V6], vec![], imported))
        }
        Whole::Anyone => OtherEnd::Anyone,
        Whole::NameServers => OtherEnd::NameServers,
        Whole::Domain(name) => OtherEnd::Domain(Spanned::nowhere(name)),
        Whole::Hosts(nets, names) => OtherEnd::Hosts(hosts(&nets, names, imported)),
    };
    rule.destination_ports.clone_from(&first.atom.destination_ports);
    if rule.other_end == OtherEnd::NameServers {
        // That they are asked on port 53 is said by naming them.
        rule.destination_ports.clear();
    }
    rule.source_ports.clone_from(&first.atom.source_ports);
    if !rule.source_ports.is_empty() {
        // The language wants to hear which protocol's.
        rule.protocols = rule.protocols.or(Some(Protocols::TCP.and(Protocols::UDP)));
    }
    rule.icmp_type = first.atom.icmp_type;
    rule.limit = first.atom.limit;
    rule.connections = first.atom.connections;
    rule.log = first.atom.log;
    rule.comment.clone_from(&first.atom.comment);
    can_be_read(&rule).then_some(rule)
}

/// Whether the text of it says the same: inward, the language needs a word that says so.
fn can_be_read(rule: &Rule) -> bool {
    crate::parse_rule(&rule.to_string()).is_ok_and(|read| read == *rule)
}

enum Whole {
    Anyone,
    NameServers,
    Domain(String),
    Hosts(Vec<IpNet>, Vec<String>),
}

/// All other ends, and the protocols that they have in common.
fn far_and_protocols(run: &[Decided]) -> Option<(Whole, Option<Protocols>)> {
    let (mut nets, mut names) = (Vec::new(), Vec::<(String, bool)>::new());
    let (mut domain, mut servers, mut v4, mut v6) = (None, false, None, None);
    for (far, in_v4, in_v6) in united(run) {
        agree(&mut v4, in_v4)?;
        agree(&mut v6, in_v6)?;
        match far {
            Far::Any => {
                nets.extend((in_v4 != 0).then_some(ANY_V4));
                nets.extend((in_v6 != 0).then_some(ANY_V6));
            }
            Far::Nets(more) => nets.extend(more),
            Far::Name(name) => names.push((name.clone(), in_v4 != 0)),
            Far::Domain(name) => {
                if *domain.get_or_insert_with(|| name.clone()) != *name {
                    return None;
                }
            }
            Far::Servers => servers = true,
        }
    }
    let (v4, v6) = (v4.unwrap_or(0), v6.unwrap_or(0));
    let in_family =
        |is_v4: bool| names.iter().filter(move |(_, v4)| *v4 == is_v4).map(|(name, _)| name.clone());
    let by_name = domain.is_some() || servers || !names.is_empty();
    // What goes by a name is of both families, and so are all protocols but ICMPv6.
    let only_icmpv6 = v4 == 0 && v6 == Protocols::ICMPV6.bits();
    if by_name && !only_icmpv6 && (v4 == 0 || v6 == 0 || !in_family(true).eq(in_family(false))) {
        return None;
    }
    let names: Vec<_> = in_family(false).collect();
    let any = [ANY_V4, ANY_V6].iter().all(|net| nets.contains(net));
    let whole = match (domain, servers, nets.is_empty() && names.is_empty()) {
        (Some(domain), false, true) => Whole::Domain(domain),
        (None, true, true) => Whole::NameServers,
        (None, false, false) if any => Whole::Anyone,
        (None, false, false) => Whole::Hosts(nets, names),
        _ => return None,
    };
    if by_name && only_icmpv6 {
        return Some((whole, Some(Protocols::ICMPV6)));
    }
    let dns = matches!(whole, Whole::NameServers);
    Some((whole, words(v4, v6, dns)?))
}

/// The other ends, each with all its protocols in IPv4 and IPv6.
fn united(run: &[Decided]) -> Vec<(&Far, u8, u8)> {
    let mut all: Vec<(&Far, u8, u8)> = Vec::new();
    for Decided { atom, .. } in run {
        let families = |v4: u8, v6: u8| (v4 != 0, v6 != 0);
        let same = |(far, v4, v6): &&mut (&Far, u8, u8)| {
            **far == atom.far && families(*v4, *v6) == families(atom.v4, atom.v6)
        };
        match all.iter_mut().find(same) {
            Some((_, v4, v6)) => (*v4, *v6) = (*v4 | atom.v4, *v6 | atom.v6),
            None => all.push((&atom.far, atom.v4, atom.v6)),
        }
    }
    all
}

/// All other ends of a family have the same protocols.
fn agree(known: &mut Option<u8>, bits: u8) -> Option<()> {
    if bits == 0 {
        return Some(());
    }
    (*known.get_or_insert(bits) == bits).then_some(())
}

/// The protocols in words; `icmp` is ICMP and ICMPv6. Outer `None`: there are no words for it.
fn words(v4: u8, v6: u8, dns: bool) -> Option<Option<Protocols>> {
    let ported = Protocols::TCP.and(Protocols::UDP).bits();
    if (v4 != 0 && v6 != 0) && v4 & ported != v6 & ported {
        return None;
    }
    let has = |bits: u8, one: Protocols| bits & one.bits() != 0;
    let icmp = match (v4, v6) {
        (_, 0) => has(v4, Protocols::ICMP).then_some(BOTH_ICMP),
        (0, _) => has(v6, Protocols::ICMPV6).then_some(BOTH_ICMP),
        _ => match (has(v4, Protocols::ICMP), has(v6, Protocols::ICMPV6)) {
            (true, true) => Some(BOTH_ICMP),
            (false, true) => Some(Protocols::ICMPV6.bits()),
            (false, false) => None,
            (true, false) => return None,
        },
    };
    let set = Protocols::from_bits((v4 | v6) & ported | icmp.unwrap_or(0))?;
    let implied = set == Protocols::ALL || (dns && set.bits() == ported);
    Some(if implied { None } else { Some(set) })
}

/// A rule's hosts: long lists of networks become sets.
fn hosts(nets: &[IpNet], names: Vec<String>, imported: &mut Imported) -> Vec<Spanned<Host>> {
    let host = |net: &IpNet| match net {
        IpNet::V4(net) => Spanned::nowhere(Host::V4(*net)),
        IpNet::V6(net) => Spanned::nowhere(Host::V6(*net)),
    };
    let names = names.into_iter().map(|name| Spanned::nowhere(Host::Name(name)));
    if nets.len() <= INLINE {
        return nets.iter().map(host).chain(names).collect();
    }
    let mut all = Vec::new();
    for part in nets.chunks(IN_SET) {
        let name = format!("imported-{}", imported.file.sets.len() + 1);
        let set = Set { name: Spanned::nowhere(name.clone()), items: part.iter().map(host).collect() };
        imported.file.sets.push(Spanned::nowhere(set));
        all.push(Spanned::nowhere(Host::Set(name)));
    }
    all.into_iter().chain(names).collect()
}
