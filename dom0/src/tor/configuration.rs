//! The gateway program's configuration, made of a torvm's domain file and the file of its Tor network.

use crate::domain::tor::{Isolation, Tor, bridge_address};
use crate::problem::Problem;
use control::tor::{PortClass, PortClasses};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use toml::{Table, Value};

/// Longest file of a network in bytes.
const MAX_NETWORK: u64 = 192 * 1024;
/// Longest configuration in bytes: what torvm takes.
const MAX_TEXT: usize = 256 * 1024;
/// Authorities of a network at most; what `bulkhead-relays` takes.
const MAX_AUTHORITIES: usize = 32;
/// What the program starts with unless it is told otherwise: where it listens, its limits, where its files are.
const DEFAULT: &str = include_str!("../../../torvm/gateway/gateway.toml");
/// Tables of arti's configuration that are not the network's to fill.
const OURS: [&str; 5] = ["storage", "bridges", "vanguards", "logging", "system"];

/// A configuration, and who may be reached before anything is known of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// What the program is sent.
    pub text: String,
    /// The file of the network; `None`: the public one.
    pub network: Option<String>,
    /// Where the program begins: bridges, or the relays that the file of the network names. Empty for the public
    /// network without bridges: its first relays are built into the program.
    pub entrances: BTreeSet<SocketAddr>,
    /// Identities of the network's authorities in hexadecimal; empty: the public network's.
    pub authorities: Vec<String>,
    /// Whether it enters the network through bridges only.
    pub bridges: bool,
}

impl Configuration {
    /// Whether it begins with the relays that are built into the program.
    #[must_use]
    pub fn begins_in_public(&self) -> bool {
        self.entrances.is_empty()
    }
}

/// Makes the configuration of a torvm.
///
/// # Errors
/// When the file of the network cannot be used.
pub fn configuration(tor: &Tor) -> Result<Configuration, Problem> {
    let network = match &tor.network {
        Some(file) => Some(read(&file.value)?),
        None => None,
    };
    let what = tor.network.as_ref().map(|f| f.value.display().to_string()).unwrap_or_default();
    let wrong = |why: String| {
        Problem::new(what.clone(), why, "correct the file; it holds arti's tables below [arti]")
    };
    let mut arti = match &network {
        Some(text) => arti_of(text).map_err(wrong)?,
        None => Table::new(),
    };
    let entrances = entrances(tor, &arti);
    if network.is_some() && entrances.is_empty() {
        return Err(wrong("names no relay to begin with (arti.tor_network.fallback_caches)".to_owned()));
    }
    let authorities = authorities(&arti).map_err(wrong)?;
    let mut all: Table = toml::from_str(DEFAULT).map_err(|e| wrong(e.to_string()))?;
    fill(&mut arti, tor);
    if let Some(Value::Table(ours)) = all.remove("arti") {
        // What is there already is the domain file's, or the network's.
        for (key, value) in ours {
            arti.entry(key).or_insert(value);
        }
    }
    all.insert("isolation".to_owned(), isolation(&tor.isolation));
    all.insert("arti".to_owned(), Value::Table(arti));
    let text = toml::to_string(&all).map_err(|e| wrong(format!("cannot be written out: {e}")))?;
    if text.len() > MAX_TEXT {
        return Err(wrong(format!(
            "makes a configuration of {} bytes; there is room for {MAX_TEXT}",
            text.len()
        )));
    }
    Ok(Configuration { text, network, entrances, authorities, bridges: !tor.bridges.is_empty() })
}

/// Whether two configurations that were made here differ in nothing, or only in what streams are kept apart by.
#[must_use]
pub fn differ_at_most_in_isolation(one: &str, other: &str) -> bool {
    let rest = |text: &str| {
        toml::from_str::<Table>(text).ok().map(|mut table| {
            table.remove("isolation");
            table
        })
    };
    rest(one).is_some_and(|one| Some(one) == rest(other))
}

/// What streams are kept apart by, as a running program is told it; `None` when that is more than it takes.
#[must_use]
pub fn isolation_of(isolation: &Isolation) -> Option<control::tor::Isolation> {
    let classes = isolation.port_classes.iter().map(|class| PortClass::from_slice(class).ok());
    let classes: Vec<PortClass> = classes.collect::<Option<_>>()?;
    Some(control::tor::Isolation {
        by_destination_address: isolation.destination_address,
        by_destination_port: isolation.destination_port,
        by_socks_credentials: isolation.socks_credentials,
        port_classes: PortClasses::from_slice(&classes).ok()?,
    })
}

fn read(file: &Path) -> Result<String, Problem> {
    let fail =
        |why: String| Problem::new(file.display().to_string(), why, "correct `tor.network`, or the file");
    let open = std::fs::File::open(file).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let mut text = String::new();
    open.take(MAX_NETWORK + 1).read_to_string(&mut text).map_err(|e| fail(format!("cannot be read: {e}")))?;
    if text.len() as u64 > MAX_NETWORK {
        return Err(fail(format!("is longer than {} KiB", MAX_NETWORK / 1024)));
    }
    Ok(text)
}

fn arti_of(text: &str) -> Result<Table, String> {
    let mut written: Table = toml::from_str(text).map_err(|e| crate::vmm::clean(e.message()))?;
    let arti = match written.remove("arti") {
        Some(Value::Table(arti)) => arti,
        _ => return Err("has no table [arti]".to_owned()),
    };
    if let Some(other) = written.keys().next() {
        return Err(format!("has {other:?} beside the table [arti]"));
    }
    if let Some(ours) = OURS.iter().find(|key| arti.contains_key(**key)) {
        return Err(format!("has a table [arti.{ours}], which is the domain file's to say"));
    }
    Ok(arti)
}

/// What the domain file, and nobody else, decides.
fn fill(arti: &mut Table, tor: &Tor) {
    let mut vanguards = Table::new();
    vanguards.insert("mode".to_owned(), tor.vanguards.word().into());
    arti.insert("vanguards".to_owned(), vanguards.into());
    if !tor.bridges.is_empty() {
        let mut bridges = Table::new();
        bridges.insert("enabled".to_owned(), true.into());
        bridges.insert("bridges".to_owned(), tor.bridges.clone().into());
        arti.insert("bridges".to_owned(), bridges.into());
    }
}

fn isolation(isolation: &Isolation) -> Value {
    let mut table = Table::new();
    table.insert("by-destination-address".to_owned(), isolation.destination_address.into());
    table.insert("by-destination-port".to_owned(), isolation.destination_port.into());
    table.insert("by-socks-credentials".to_owned(), isolation.socks_credentials.into());
    let classes = isolation.port_classes.iter();
    let classes: Vec<Vec<i64>> = classes.map(|class| class.iter().map(|p| i64::from(*p)).collect()).collect();
    table.insert("port-classes".to_owned(), classes.into());
    table.into()
}

/// Bridges, where there are any; otherwise the relays that the network's file begins with.
fn entrances(tor: &Tor, arti: &Table) -> BTreeSet<SocketAddr> {
    if !tor.bridges.is_empty() {
        return tor.bridges.iter().filter_map(|line| bridge_address(line).ok()).collect();
    }
    let caches = arti.get("tor_network").and_then(|n| n.get("fallback_caches")).and_then(Value::as_array);
    let ports = caches.into_iter().flatten().filter_map(|cache| cache.get("orports")?.as_array());
    ports.flatten().filter_map(|port| port.as_str()?.parse().ok()).collect()
}

/// Identities of the authorities that a network's file names, as arti reads them.
fn authorities(arti: &Table) -> Result<Vec<String>, String> {
    let named = arti.get("tor_network").and_then(|n| n.get("authorities")).and_then(|a| a.get("v3idents"));
    let Some(named) = named else { return Ok(Vec::new()) };
    let identity = |value: &Value| {
        let text = value.as_str()?;
        let is_identity = text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_identity.then(|| text.to_ascii_uppercase())
    };
    let all = named.as_array().and_then(|all| all.iter().map(identity).collect::<Option<Vec<String>>>());
    let all = all.filter(|all| (1..=MAX_AUTHORITIES).contains(&all.len()));
    all.ok_or_else(|| {
        format!("arti.tor_network.authorities.v3idents is no list of 1 to {MAX_AUTHORITIES} identities (40 hexadecimal digits)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::At;

    const NETWORK: &str = "[arti.tor_network]\nfallback_caches = [\n  { rsa_identity = \"00\", ed_identity = \"x\", \
                           orports = [\"192.0.2.1:5000\", \"[2001:db8::1]:5000\"] },\n]\n\
                           [arti.tor_network.authorities]\nv3idents = [\"56ae44e97ad05a9ed2ec0e1f6b1c8ab1d6f3f4a1\"]\n";

    fn with_network(text: &str) -> (tempfile::NamedTempFile, Tor) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let tor = Tor { network: Some(At { value: file.path().to_owned(), line: 3 }), ..Tor::default() };
        (file, tor)
    }

    #[test]
    fn public_network_needs_no_file() {
        let made = configuration(&Tor::default()).unwrap();
        assert!(made.begins_in_public() && made.authorities.is_empty() && !made.bridges);
        insta::assert_snapshot!(made.text);
    }

    #[test]
    fn another_isolation_alone_is_told_from_other_changes() {
        let of = |tor: &Tor| configuration(tor).unwrap().text;
        let before = Tor::default();
        let mut after = before.clone();
        assert!(differ_at_most_in_isolation(&of(&before), &of(&after)));
        after.isolation.port_classes = vec![vec![22], vec![25, 587]];
        assert!(differ_at_most_in_isolation(&of(&before), &of(&after)));
        let told = isolation_of(&after.isolation).unwrap();
        assert!(told.by_socks_credentials && !told.by_destination_port);
        assert_eq!(told.port_classes[1].as_slice(), [25, 587]);
        after.bridges = vec![format!("192.0.2.9:443 {}", "A".repeat(40))];
        assert!(!differ_at_most_in_isolation(&of(&before), &of(&after)));
        assert!(!differ_at_most_in_isolation("x = 1", "x = ["));
        after.isolation.port_classes = vec![vec![22]; 9];
        assert!(isolation_of(&after.isolation).is_none(), "more than a program takes");
    }

    #[test]
    fn network_file_and_bridges_are_taken_over() {
        let (_file, mut tor) = with_network(NETWORK);
        let made = configuration(&tor).unwrap();
        assert_eq!(made.entrances.len(), 2);
        assert_eq!(made.authorities, ["56AE44E97AD05A9ED2EC0E1F6B1C8AB1D6F3F4A1"]);
        assert!(
            made.text.contains("v3idents = [\"56ae44e97ad05a9ed2ec0e1f6b1c8ab1d6f3f4a1\"]"),
            "{}",
            made.text
        );
        tor.bridges = vec![format!("192.0.2.9:443 {}", "A".repeat(40))];
        tor.isolation.port_classes = vec![vec![22], vec![25, 587]];
        let made = configuration(&tor).unwrap();
        assert_eq!(made.entrances, BTreeSet::from(["192.0.2.9:443".parse().unwrap()]));
        assert!(made.bridges && made.text.contains("port-classes = [[22], [25, 587]]"), "{}", made.text);
        let read: Table = toml::from_str(&made.text).unwrap();
        assert_eq!(read["arti"]["bridges"]["enabled"].as_bool(), Some(true));
    }

    #[test]
    fn isolation_is_the_programs_own_unless_something_is_said() {
        let default: Table = toml::from_str(DEFAULT).unwrap();
        assert_eq!(default["isolation"], isolation(&Isolation::default()));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (text, why) in [
            ("x = 1", "no table [arti]"),
            ("[arti]\n[other]\n", "beside the table"),
            ("[arti.storage]\nstate_dir = \"/\"\n", "[arti.storage]"),
            ("[arti]\n", "names no relay to begin with"),
            (&NETWORK.replace("f4a1", "f4"), "no list of 1 to 32 identities"),
            (&NETWORK.replace("[\"56", "\"").replace("f4a1\"]", "f4a1\""), "no list of 1 to 32 identities"),
            ("[arti", ""),
        ] {
            let (_file, tor) = with_network(text);
            let problem = configuration(&tor).unwrap_err();
            assert!(problem.why.contains(why), "{text}: {problem}");
        }
        let (file, tor) = with_network(NETWORK);
        std::fs::write(file.path(), "#".repeat(300_000)).unwrap();
        assert!(configuration(&tor).unwrap_err().why.contains("longer than"));
        drop(file);
        assert!(configuration(&tor).unwrap_err().why.contains("cannot be read"));
    }
}
