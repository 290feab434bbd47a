//! Decisions of rules that say `log`, as JSON lines in `NAME.decisions`: bounded in length and in rate.

use super::Rules;
use crate::journal::Journals;
use crate::name::Name;
use control::message::{Decision, Fate};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Path of a domain's decisions.
#[must_use]
pub fn path(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.decisions"))
}

/// One decision as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Which set of rules.
    pub generation: u32,
    /// The rule's number in the file; in the program, where `text` is not known.
    pub rule: u16,
    /// The rule as it was written, where that is known.
    pub text: Option<String>,
    /// `accepted`, `dropped`, `rejected`.
    pub fate: String,
    /// Whether the packet was on its way to the domain.
    pub inward: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or a number.
    pub protocol: String,
    /// Where it came from.
    pub source: IpAddr,
    /// From which port.
    pub source_port: Option<u16>,
    /// Where it went.
    pub destination: IpAddr,
    /// To which port.
    pub destination_port: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u16>,
    /// Decisions before it that were not written, for there were too many.
    pub suppressed: u32,
}

impl Line {
    fn new(decision: &Decision, rules: Option<&Rules>, time_ms: u64, suppressed: u32) -> Self {
        let protocol = match decision.protocol {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmpv6".to_owned(),
            other => other.to_string(),
        };
        let ports = matches!(decision.protocol, 6 | 17);
        let icmp = matches!(decision.protocol, 1 | 58);
        let fate = match decision.fate {
            Fate::Accepted => "accepted",
            Fate::Dropped => "dropped",
            Fate::Rejected => "rejected",
        };
        let rule = rules.and_then(|rules| rules.rule(decision.rule));
        Self {
            time_ms,
            generation: decision.generation,
            rule: rule.map_or(decision.rule, |(number, _)| number),
            text: rule.map(|(_, text)| text.to_owned()),
            fate: fate.to_owned(),
            inward: decision.inward,
            protocol,
            source: decision.source.0,
            source_port: ports.then_some(decision.source.1),
            destination: decision.destination.0,
            destination_port: ports.then_some(decision.destination.1),
            icmp_type: icmp.then_some(decision.destination.1),
            suppressed,
        }
    }
}

/// The files of decisions.
#[derive(Debug)]
pub struct Journal(Journals);

impl Journal {
    /// Keeps decisions in this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(Journals::new(directory, path))
    }

    /// Writes a decision of a domain's rules down. `rules`: those that it was made by, if they are known.
    pub fn write(&mut self, name: &Name, decision: &Decision, rules: Option<&Rules>) {
        self.0.write(name, decision.suppressed, |time_ms, suppressed| {
            Line::new(decision, rules, time_ms, suppressed)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::BURST;
    use std::time::Duration;

    fn decision(rule: u16) -> Decision {
        Decision {
            port: 2,
            generation: 3,
            rule,
            fate: Fate::Dropped,
            inward: false,
            protocol: 6,
            source: ("10.137.0.14".parse().unwrap(), 40_000),
            destination: ("192.0.2.1".parse().unwrap(), 443),
            suppressed: 0,
        }
    }

    #[test]
    fn lines_are_written_whole_and_floods_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(directory.path());
        let work: Name = "work".parse().unwrap();
        let rules = Rules::compile("work.rules", Some("# first\n  drop \n"), 0).unwrap();
        for _ in 0..=BURST + 50 {
            journal.write(&work, &decision(0), Some(&rules));
        }
        std::thread::sleep(Duration::from_millis(50));
        journal.write(&work, &decision(1), Some(&rules));
        let text = std::fs::read_to_string(path(directory.path(), &work)).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let first = lines.first().unwrap();
        assert_eq!(first.text.as_deref(), Some("drop"));
        assert_eq!((first.fate.as_str(), first.protocol.as_str()), ("dropped", "tcp"));
        assert_eq!((first.destination_port, first.icmp_type), (Some(443), None));
        let last = lines.last().unwrap();
        assert_eq!((last.rule, &last.text), (1, &None), "a number that those rules do not have");
        let told = u32::try_from(lines.len()).unwrap() + lines.iter().map(|l| l.suppressed).sum::<u32>();
        assert_eq!(told, BURST + 52, "each decision is written or counted");
        assert!(lines.len() < (BURST + 52) as usize);
    }
}
