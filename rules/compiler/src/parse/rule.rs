//! What a rule's values mean together.

use super::{
    Problems,
    fields::{EXAMPLE, Field, Fields, Key, OTHER_END},
    hosts, ports, values,
};
use crate::{
    ast::{Host, OtherEnd, Rule},
    diagnostic::Diagnostic,
    span::{Span, Spanned},
    suggest::nearest,
};
use rules_program::policy::{Action, Direction, Ports, Protocols};

/// TCP and UDP: what has ports.
const WITH_PORTS: Protocols = Protocols::TCP.and(Protocols::UDP);
/// What has types.
const WITH_TYPES: Protocols = Protocols::ICMP.and(Protocols::ICMPV6);

/// A rule of its words; `None` when something is wrong with it.
pub(super) fn rule(fields: &Fields<'_>, problems: &mut Problems) -> Option<Rule> {
    let errors = problems.0.len();
    let action = match fields.get(Key::Action) {
        Some(action) => problems.take(values::action(action.value)),
        None => {
            problems.add(without_action(fields));
            None
        }
    };
    let mut rule = Rule::new(action.unwrap_or(Action::Accept));
    other_end(fields, &mut rule, problems);
    transport(fields, &mut rule, problems);
    conditions(fields, &mut rule, problems);
    if problems.0.len() > errors {
        return None;
    }
    let fits = transport_fits(fields, &rule).and_then(|()| ends_fit(fields, &rule));
    problems.take(fits);
    problems.take(limits_fit(fields, &rule));
    if problems.0.len() > errors {
        return None;
    }
    if let (Action::Forward { to_port }, Some(port)) = (&mut rule.action, fields.get(Key::ToPort)) {
        *to_port = problems.take(ports::port(port.value));
    }
    (problems.0.len() == errors).then_some(rule)
}

fn without_action(fields: &Fields<'_>) -> Diagnostic {
    let line = fields.line;
    let end = Span { start: line.span.start, end: line.span.start + 1, ..line.span };
    Diagnostic::error(end, "a rule without an action")
        .label("expected `accept`, `drop`, `reject` or `forward`")
        .help(EXAMPLE)
}

fn other_end(fields: &Fields<'_>, rule: &mut Rule, problems: &mut Problems) {
    let mut given = OTHER_END.iter().filter_map(|key| Some((*key, fields.get(*key)?)));
    let Some((key, field)) = given.next() else { return };
    if let Some((_, second)) = given.next() {
        let (first, second) = in_order(field, second);
        let wrong = Diagnostic::error(second.whole, "a rule names one other end");
        let wrong = wrong.label("a second one").other(first.whole, "the first one");
        problems.add(wrong.help("several hosts are a list, `dsthost=192.0.2.1,2001:db8::1`, or a set"));
        return;
    }
    if matches!(key, Key::SrcDomain | Key::SrcHost) {
        rule.direction = Direction::Inward;
    }
    match key {
        Key::SpecialTarget => match field.value.text {
            "dns" => rule.other_end = OtherEnd::NameServers,
            text => {
                let wrong =
                    field.value.error(format!("there is no special target `{text}`")).label("expected `dns`");
                let meant = nearest(text, ["dns"]).map(|meant| format!("did you mean `{meant}`?"));
                problems.add(wrong.maybe_help(meant));
            }
        },
        Key::DstDomain | Key::SrcDomain => {
            if let Some(domain) = problems.take(values::domain(field.value)) {
                rule.other_end = OtherEnd::Domain(domain);
            }
        }
        _ => {
            let hosts = hosts::hosts(field.value, problems);
            for host in &hosts {
                problems.take(fits_key(key, host));
            }
            rule.other_end = OtherEnd::Hosts(hosts);
        }
    }
}

fn in_order<'t>(a: Field<'t>, b: Field<'t>) -> (Field<'t>, Field<'t>) {
    if a.whole.start < b.whole.start { (a, b) } else { (b, a) }
}

/// `dst4` takes IPv4, `dst6` IPv6, `srchost` no names.
fn fits_key(key: Key, host: &Spanned<Host>) -> Result<(), Diagnostic> {
    let (expected, help) = match (key, &host.value) {
        (Key::Dst4, Host::V6(_)) => ("an IPv4 address", "write `dst6=`, or `dsthost=` for either"),
        (Key::Dst6, Host::V4(_)) => ("an IPv6 address", "write `dst4=`, or `dsthost=` for either"),
        (Key::Dst4, Host::Name(_) | Host::Set(_)) => {
            ("an IPv4 address", "names and sets belong into `dsthost=`")
        }
        (Key::Dst6, Host::Name(_) | Host::Set(_)) => {
            ("an IPv6 address", "names and sets belong into `dsthost=`")
        }
        (Key::SrcHost, Host::Name(_)) => (
            "addresses",
            "a name means addresses that the domain asked for; who comes by himself was not asked for",
        ),
        _ => return Ok(()),
    };
    let wrong = Diagnostic::error(host.span, format!("`{}=` takes {expected}", key.name()));
    Err(wrong.label(format!("expected {expected}")).help(help))
}

fn transport(fields: &Fields<'_>, rule: &mut Rule, problems: &mut Problems) {
    if let Some(field) = fields.get(Key::Proto) {
        rule.protocols = values::protocols(field.value, problems);
    }
    if let Some(field) = fields.get(Key::DstPorts) {
        rule.destination_ports = ports::ports(field.value, problems);
    }
    if let Some(field) = fields.get(Key::SrcPorts) {
        rule.source_ports = ports::ports(field.value, problems);
    }
    if let Some(field) = fields.get(Key::IcmpType) {
        let kind = values::number(field.value, 0..=255, "an ICMP type");
        rule.icmp_type = problems.take(kind).map(|kind| u8::try_from(kind).unwrap_or(u8::MAX));
    }
}

fn conditions(fields: &Fields<'_>, rule: &mut Rule, problems: &mut Problems) {
    let mut limit = fields.get(Key::Limit).and_then(|field| problems.take(values::limit(field.value)));
    if let Some(field) = fields.get(Key::Burst) {
        let burst = problems.take(values::amount(field.value, "a number of matches"));
        if let Some(limit) = &mut limit {
            limit.burst = burst;
        }
    }
    rule.limit = limit;
    if let Some(field) = fields.get(Key::ConnLimit) {
        rule.connections = problems.take(values::amount(field.value, "a number of connections"));
    }
    if let Some(field) = fields.get(Key::Log) {
        rule.log = problems.take(values::yes_or_no(field.value)).unwrap_or_default();
    }
    if let Some(field) = fields.get(Key::Expire) {
        rule.expire = problems.take(values::expire(field.value));
    }
    if let Some(field) = fields.get(Key::Comment) {
        rule.comment = problems.take(values::comment(field.value));
    }
}

/// Ports only of what has ports, types only of what has types.
fn transport_fits(fields: &Fields<'_>, rule: &Rule) -> Result<(), Diagnostic> {
    let wanted = [(Key::DstPorts, WITH_PORTS), (Key::SrcPorts, WITH_PORTS), (Key::IcmpType, WITH_TYPES)];
    for (key, allowed) in wanted {
        let Some(field) = fields.get(key) else { continue };
        let (example, words) = if allowed == WITH_PORTS {
            ("proto=tcp", "`tcp` and `udp`")
        } else {
            ("proto=icmp", "`icmp` and `icmpv6`")
        };
        match (rule.protocols, fields.get(Key::Proto)) {
            (Some(protocols), _) if allowed.contains(protocols) => {}
            (Some(_), Some(proto)) => {
                let wrong = Diagnostic::error(field.whole, format!("only {words} have `{}=`", key.name()));
                return Err(wrong.label("not of this protocol").other(proto.whole, "the protocol"));
            }
            _ => {
                let wrong = Diagnostic::error(field.whole, format!("`{}=` needs a protocol", key.name()));
                let help = format!("add `{example}`");
                return Err(wrong.label(format!("only {words} have them")).help(help));
            }
        }
    }
    let Some((protocols, proto)) = rule.protocols.zip(fields.get(Key::Proto)) else { return Ok(()) };
    if rule.other_end == OtherEnd::NameServers && !WITH_PORTS.contains(protocols) {
        let wrong = Diagnostic::error(proto.whole, "name servers are asked over TCP and UDP");
        return Err(wrong.label("expected `tcp` or `udp`").help("leave `proto=` out for both"));
    }
    let v4 = |host: &Spanned<Host>| matches!(host.value, Host::V4(_));
    if protocols == Protocols::ICMPV6 && !rule.hosts().is_empty() && rule.hosts().iter().all(v4) {
        let wrong = Diagnostic::error(proto.whole, "IPv4 carries no ICMPv6").label("never with this address");
        return Err(wrong.help("write `proto=icmp`: it is ICMP for IPv4 and ICMPv6 for IPv6"));
    }
    Ok(())
}

/// The other end goes with the action.
fn ends_fit(fields: &Fields<'_>, rule: &Rule) -> Result<(), Diagnostic> {
    let given = OTHER_END.iter().find_map(|key| Some((*key, fields.get(*key)?)));
    let action = fields.get(Key::Action).map_or(fields.line.span, |field| field.whole);
    let Action::Forward { .. } = rule.action else {
        if let Some(field) = fields.get(Key::ToPort) {
            let wrong = Diagnostic::error(field.whole, "`toport=` is for `action=forward`");
            return Err(wrong.label("not of this action").other(action, "the action"));
        }
        if let (Some((Key::SrcHost, field)), Action::Accept) = (given, rule.action) {
            let wrong = Diagnostic::error(action, "nobody in the network sees the domain's own address");
            let wrong =
                wrong.label("expected `forward`, `drop` or `reject`").other(field.whole, "from the network");
            return Err(wrong.help("write `action=forward` with `proto=` and `dstports=`"));
        }
        return Ok(());
    };
    match given {
        None | Some((Key::SrcHost, _)) => {}
        Some((Key::SrcDomain, field)) => {
            let wrong = Diagnostic::error(field.whole, "a domain needs no forwarding").label("from a domain");
            return Err(wrong.other(action, "the action").help("write `action=accept`"));
        }
        Some((key, field)) => {
            let wrong = Diagnostic::error(field.whole, format!("a forward has no `{}=`", key.name()));
            let wrong = wrong.label("it leads to this domain").other(action, "the action");
            return Err(
                wrong.help("`srchost=` says who may come; `toport=` which port of the domain it leads to")
            );
        }
    }
    forward_has_ports(fields, rule, action)
}

fn forward_has_ports(fields: &Fields<'_>, rule: &Rule, action: Span) -> Result<(), Diagnostic> {
    let needs = "which port is forwarded? `action=forward proto=tcp dstports=8080`";
    if rule.protocols.is_none_or(|protocols| !WITH_PORTS.contains(protocols)) {
        let wrong = Diagnostic::error(
            fields.get(Key::Proto).map_or(action, |proto| proto.whole),
            "only TCP and UDP can be forwarded",
        );
        return Err(wrong.label("expected `proto=tcp` or `proto=udp`").help(needs));
    }
    if rule.destination_ports.is_empty() {
        return Err(Diagnostic::error(action, "a forward without a port")
            .label("expected `dstports=`")
            .help(needs));
    }
    let one = matches!(rule.destination_ports[..], [Ports { first, last }] if first == last);
    match (fields.get(Key::ToPort), fields.get(Key::DstPorts)) {
        (Some(to), Some(ports)) if !one => {
            let wrong = Diagnostic::error(to.whole, "several ports cannot lead to one").label("one port");
            Err(wrong
                .other(ports.whole, "several ports")
                .help("without `toport=` each leads to the same port inside"))
        }
        _ => Ok(()),
    }
}

fn limits_fit(fields: &Fields<'_>, rule: &Rule) -> Result<(), Diagnostic> {
    if let (Some(burst), None) = (fields.get(Key::Burst), fields.get(Key::Limit)) {
        let wrong = Diagnostic::error(burst.whole, "`burst=` without `limit=`").label("a burst of what?");
        return Err(wrong.help(format!("add `limit={}/second`", burst.value.text)));
    }
    let accepts = matches!(rule.action, Action::Accept | Action::Forward { .. });
    if let (Some(connections), false) = (fields.get(Key::ConnLimit), accepts) {
        let wrong =
            Diagnostic::error(connections.whole, "`connlimit=` counts connections that the rule accepted");
        let wrong = wrong.label("this rule accepts none");
        return Err(wrong.help("limit the rule that accepts: beyond its limit the next rules are asked"));
    }
    let list = [Key::DstPorts, Key::SrcPorts].into_iter().zip([&rule.destination_ports, &rule.source_ports]);
    let list = list.filter(|(_, ports)| ports.len() > 1).find_map(|(key, _)| fields.get(key));
    if let (Some(list), true) = (list, rule.is_limited()) {
        let wrong = Diagnostic::error(list.whole, "a rule with a limit takes one range of ports");
        return Err(wrong
            .label("a list")
            .help("make it one rule for each; each then has a limit of its own"));
    }
    Ok(())
}
