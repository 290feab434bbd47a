//! The suites that are known: which scripts belong to them, and what their `addr.py` says.

use super::network::{
    CLIENT_IF, CLIENT_MAC, CLIENT4, CLIENT6, FAR4, FAR6, FIREWALL_MAC, GATEWAY4, NARROW4, NARROW6,
};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A suite: the directory of its scripts, without `-regress`.
#[derive(Debug)]
pub(crate) struct Group {
    /// Name of the directory.
    pub(crate) name: &'static str,
    /// How the scripts' names begin.
    prefixes: &'static [&'static str],
    /// What `addr.py` says.
    variables: &'static [(&'static str, &'static str)],
    /// Whether the scripts speak TCP from the client's address themselves.
    pub(crate) quiet: bool,
}

const LOCAL: &[(&str, &str)] = &[
    ("LOCAL_IF", CLIENT_IF),
    ("LOCAL_MAC", CLIENT_MAC),
    ("REMOTE_MAC", FIREWALL_MAC),
    ("LOCAL_ADDR", CLIENT4),
    ("REMOTE_ADDR", FAR4),
    ("LOCAL_ADDR6", CLIENT6),
    ("REMOTE_ADDR6", FAR6),
    ("OTHER_ADDR6", NARROW6),
    ("OTHER_FAKE1_ADDR6", "2001:db8:ffff::188"),
    ("OTHER_FAKE2_ADDR6", "2001:db8:ffff::189"),
    // A client has one IPv4 address: the host that does not exist is the client itself, without its kernel.
    ("FAKE_NET_ADDR", CLIENT4),
    ("FAKE_NET_ADDR6", CLIENT6),
];

const ARP: &[(&str, &str)] = &[
    ("LOCAL_IF", CLIENT_IF),
    ("LOCAL_MAC", CLIENT_MAC),
    ("REMOTE_MAC", FIREWALL_MAC),
    ("FAKE_MAC", "12:34:56:78:9a:bc"),
    ("LOCAL_ADDR", CLIENT4),
    ("REMOTE_ADDR", GATEWAY4),
    ("FAKE_ADDR", "10.137.0.7"),
    // The firewall's other links: its address there, and the client's.
    ("OTHER_ADDR", "10.137.0.9"),
    ("OTHERFAKE_ADDR", "10.137.0.10"),
];

const CHAIN: &[(&str, &str)] = &[
    ("SRC_IF", CLIENT_IF),
    ("SRC_MAC", CLIENT_MAC),
    ("PF_MAC", FIREWALL_MAC),
    ("SRC_OUT", CLIENT4),
    ("PF_IN", GATEWAY4),
    ("PF_OUT", "192.0.2.50"),
    ("RT_IN", "192.0.2.1"),
    ("RT_OUT", "198.51.100.1"),
    ("ECO_IN", NARROW4),
    ("SRC_OUT6", CLIENT6),
    ("PF_IN6", "fd09:24ef:4179:1::1"),
    ("PF_OUT6", "2001:db8:7::50"),
    ("RT_IN6", "2001:db8:7::1"),
    ("RT_OUT6", "2001:db8:ffff::1"),
    ("ECO_IN6", NARROW6),
];

/// Every suite. Left out, as they ask a host and not a packet filter between hosts: `pf_opts` (a host's loopback) and
/// `tcpstate` (its TCP); `nd6` (its tables). `tests/tests/suites` has what they check of a filter.
static GROUPS: [Group; 8] = [
    Group { name: "frag", prefixes: &["frag"], variables: LOCAL, quiet: false },
    Group { name: "frag6", prefixes: &["frag6"], variables: LOCAL, quiet: false },
    Group { name: "rh0", prefixes: &["rh0"], variables: LOCAL, quiet: false },
    Group { name: "arp", prefixes: &["arp_"], variables: ARP, quiet: false },
    Group { name: "pf_fragment", prefixes: &["frag", "ping", "udp"], variables: CHAIN, quiet: false },
    Group { name: "pf_forward", prefixes: &["ping"], variables: CHAIN, quiet: false },
    Group {
        name: "pf_state",
        prefixes: &["challenge", "fakeack", "beforegap"],
        variables: LOCAL,
        quiet: true,
    },
    Group { name: "pmtu", prefixes: &["tcp_", "udp_"], variables: LOCAL, quiet: true },
];

/// A script of a suite.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Its suite.
    pub(crate) group: &'static Group,
    /// The file.
    pub(crate) path: PathBuf,
}

impl Script {
    /// The script's name without its ending.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Suite and name.
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.group.name, self.name())
    }

    /// Whether it waits for a minute and more.
    pub(crate) fn is_slow(&self) -> bool {
        self.name().ends_with("_timeout")
    }

    /// Whether it sends a hundred frames one by one, each by a slow call, before its time is over.
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        ["limit", "maxlen", "refrag"].iter().any(|end| self.name().ends_with(end))
    }

    /// What it is to be told on its command line.
    pub(crate) fn arguments(&self) -> Vec<&'static str> {
        let six = self.name().contains('6');
        let (client, far) = if six { (CLIENT6, NARROW6) } else { (CLIENT4, NARROW4) };
        match (self.group.name, self.name().as_str()) {
            ("pf_fragment", _) => vec![far],
            // Source, destination, length of the packet, MTU of the narrow link.
            ("pf_forward", _) => vec![client, far, "1500", "1300"],
            _ => Vec::new(),
        }
    }

    /// The module with the addresses.
    pub(crate) fn addresses(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.group.variables {
            let _ = writeln!(text, "{name} = \"{value}\"");
        }
        text
    }
}

/// The scripts below a directory, each once.
pub(crate) fn find(from: &Path) -> Result<Vec<Script>> {
    let mut scripts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![(from.to_owned(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() && depth < 6 && is_worth_a_look(&path) {
                waiting.push((path, depth + 1));
            } else if let Some(group) = group(&directory, &path) {
                let script = Script { group, path };
                if seen.insert(script.title()) {
                    scripts.push(script);
                }
            }
        }
    }
    Ok(scripts)
}

/// A checkout of a whole system is large: of its directories only those on the way to the suites.
fn is_worth_a_look(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let above = directory.parent().is_some_and(|above| above.join("regress").is_dir());
    !name.starts_with('.') && (name == "regress" || !above)
}

fn group(directory: &Path, path: &Path) -> Option<&'static Group> {
    let name = directory.file_name()?.to_string_lossy().into_owned();
    let name = name.strip_suffix("-regress").unwrap_or(&name);
    let file = path.file_name()?.to_string_lossy().into_owned();
    GROUPS.iter().find(|group| {
        group.name == name
            && file.ends_with(".py")
            && group.prefixes.iter().any(|prefix| file.starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_a_checkout_and_of_single_repositories_are_found_once() {
        let from = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = from.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        file("src/regress/sys/netinet/frag/frag.py");
        file("src/regress/sys/netinet/frag/Makefile");
        file("src/sys/frag/frag_elsewhere.py");
        file("frag-regress/frag.py");
        file("rh0-regress/rh0_none.py");
        file("rh0-regress/addr.py");
        let mut titles: Vec<_> = find(from.path()).unwrap().iter().map(Script::title).collect();
        titles.sort();
        assert_eq!(titles, ["frag/frag", "rh0/rh0_none"]);
    }
}
