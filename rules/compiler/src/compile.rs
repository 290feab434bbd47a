//! Text → program.

use crate::{
    ast::{File, Host, OtherEnd, Rule},
    diagnostic::Diagnostic,
    lints,
    parse::parse,
    sets::Sets,
    span::{Span, Spanned},
};
use rules_program::{
    assemble,
    policy::{
        self, Direction, MAX_DOMAINS, MAX_LIMITED, MAX_NAMES, MAX_RULES, MAX_TARGETS, Policy, Ports,
        Protocols, Rate, Target,
    },
};
use std::collections::HashMap;

/// A rules file and what became of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What it says.
    pub file: File,
    /// What it means at the time of compilation: without rules that had expired.
    pub policy: Policy,
    /// The program's bytes.
    pub program: Vec<u8>,
    /// For each rule of the policy (and so of the program) its place among the rules of the file. A rule with a list
    /// of ports is several in the policy; an expired one is none.
    pub places: Vec<u16>,
    /// When to compile it again, because the next rule expires: seconds since 1970 UTC.
    pub next_expiry: Option<u64>,
    /// The time of compilation.
    now: u64,
    /// Warnings of sets that nothing uses.
    unused: Vec<Diagnostic>,
}

impl Compiled {
    /// The rule of the file that a rule of the program stands for, and its number in the file.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<(u16, &Spanned<Rule>)> {
        let place = *self.places.get(usize::from(number))?;
        Some((place, self.file.rules.get(usize::from(place))?))
    }

    /// What was probably not meant, in the order of the lines. Looked for when asked: an installation does not wait for it.
    #[must_use]
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let mut warnings = lints::expired(&self.file, self.now);
        warnings.extend(self.unused.iter().cloned());
        warnings.extend(lints::of_policy(&self.file, &self.policy, &self.places));
        warnings.sort_by_key(|warning| warning.span.start);
        warnings
    }
}

/// Compiles a rules file as of `now` (seconds since 1970 UTC).
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(text: &str, now: u64) -> Result<Compiled, Vec<Diagnostic>> {
    compile_file(parse(text)?, now)
}

/// Compiles what was read or made otherwise.
///
/// # Errors
/// Everything that is wrong with the file as a whole; its rules by themselves are taken as checked.
pub fn compile_file(file: File, now: u64) -> Result<Compiled, Vec<Diagnostic>> {
    let mut lowering = Lowering { sets: Sets::resolve(&file)?, ..Lowering::default() };
    for (place, rule) in (0u16..=u16::MAX).zip(&file.rules) {
        if !rule.is_expired(now) {
            lowering.rule(place, rule).map_err(|wrong| vec![wrong])?;
        }
    }
    let unused = lowering.sets.unused(&file);
    let Lowering { policy, places, .. } = lowering;
    let program = assemble(&policy).map_err(|wrong| vec![Diagnostic::error(START, wrong.to_string())])?;
    let next_expiry = file.rules.iter().filter_map(|rule| rule.expire).filter(|end| *end > now).min();
    Ok(Compiled { policy, program, places, next_expiry, now, unused, file })
}

/// The beginning of a text.
const START: Span = Span { line: 1, start: 0, end: 0 };

/// A policy in the making.
#[derive(Debug, Default)]
struct Lowering<'f> {
    sets: Sets<'f>,
    policy: Policy,
    places: Vec<u16>,
    names: HashMap<&'f str, u16>,
    domains: HashMap<&'f str, u16>,
    targets: usize,
    limited: usize,
}

impl<'f> Lowering<'f> {
    fn rule(&mut self, place: u16, rule: &'f Spanned<Rule>) -> Result<(), Diagnostic> {
        let targets = self.targets_of(rule)?;
        let dns = rule.other_end == OtherEnd::NameServers;
        let every = if dns { Protocols::TCP.and(Protocols::UDP) } else { Protocols::ALL };
        let ports = |ports: &'f [Ports]| if ports.is_empty() { &[Ports::ALL] } else { ports };
        if rule.is_limited() {
            self.limited += 1;
            within(self.limited, MAX_LIMITED, "rules with limits", rule.span)?;
        }
        for destination_ports in ports(&rule.destination_ports) {
            for source_ports in ports(&rule.source_ports) {
                self.targets += targets.len();
                within(self.targets, MAX_TARGETS, "addresses and names in all rules", rule.span)?;
                within(self.policy.rules.len() + 1, MAX_RULES, "rules, lists of ports spelt out", rule.span)?;
                self.places.push(place);
                self.policy.rules.push(policy::Rule {
                    direction: rule.direction,
                    action: rule.action,
                    targets: targets.clone(),
                    protocols: rule.protocols.unwrap_or(every),
                    destination_ports: *destination_ports,
                    source_ports: *source_ports,
                    icmp_type: rule.icmp_type,
                    rate: rule.limit.map(|limit| Rate {
                        count: limit.count,
                        per_seconds: limit.unit.seconds(),
                        burst: limit.burst.unwrap_or(limit.count),
                    }),
                    connections: rule.connections,
                    log: rule.log,
                    line: rule.span.line,
                });
            }
        }
        Ok(())
    }

    fn targets_of(&mut self, rule: &'f Spanned<Rule>) -> Result<Vec<Target>, Diagnostic> {
        let hosts = match &rule.other_end {
            OtherEnd::Anyone => return Ok(Vec::new()),
            OtherEnd::NameServers => return Ok(vec![Target::Dns]),
            OtherEnd::Domain(name) => {
                let number = intern(&mut self.domains, &mut self.policy.domains, name);
                within(self.policy.domains.len(), MAX_DOMAINS, "domains", name.span)?;
                return Ok(vec![Target::Domain(number)]);
            }
            OtherEnd::Hosts(hosts) => hosts,
        };
        let mut out = Vec::with_capacity(hosts.len());
        for host in hosts {
            match &host.value {
                Host::Set(name) => {
                    for item in self.sets.used(name, host.span)?.to_vec() {
                        if let (Host::Name(inside), Direction::Inward) = (item, rule.direction) {
                            return Err(name_inward(host.span, inside));
                        }
                        out.push(self.target(item, host.span)?);
                    }
                }
                single => out.push(self.target(single, host.span)?),
            }
        }
        if out.len() > 1 {
            let mut seen = std::collections::HashSet::with_capacity(out.len());
            out.retain(|target| seen.insert(*target));
        }
        Ok(out)
    }

    fn target(&mut self, host: &'f Host, span: Span) -> Result<Target, Diagnostic> {
        Ok(match host {
            Host::V4(net) if net.prefix_len() == 0 => Target::AnyV4,
            Host::V6(net) if net.prefix_len() == 0 => Target::AnyV6,
            Host::V4(net) => Target::V4(*net),
            Host::V6(net) => Target::V6(*net),
            Host::Name(name) => {
                let number = intern(&mut self.names, &mut self.policy.names, name);
                within(self.policy.names.len(), MAX_NAMES, "host names", span)?;
                Target::Name(number)
            }
            Host::Set(name) => return Err(Diagnostic::error(span, format!("`@{name}` was not expanded"))),
        })
    }
}

/// The number of a word, a new one if it has none yet.
fn intern<'f>(numbers: &mut HashMap<&'f str, u16>, words: &mut Vec<String>, word: &'f str) -> u16 {
    *numbers.entry(word).or_insert_with(|| {
        words.push(word.to_owned());
        u16::try_from(words.len() - 1).unwrap_or(u16::MAX)
    })
}

fn within(count: usize, limit: usize, what: &str, span: Span) -> Result<(), Diagnostic> {
    if count <= limit {
        return Ok(());
    }
    Err(Diagnostic::error(span, format!("more than {limit} {what}")).label("beyond the limit here"))
}

fn name_inward(span: Span, name: &str) -> Diagnostic {
    let wrong =
        Diagnostic::error(span, "`srchost=` takes addresses").label(format!("`{name}` is in this set"));
    wrong.help("a name means addresses that the domain asked for; who comes by himself was not asked for")
}
