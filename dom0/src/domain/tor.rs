//! The `[tor]` table of a torvm: which Tor network, how it is reached, what streams are kept apart by.

use super::At;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Bridge lines at most.
pub const MAX_BRIDGES: usize = 64;
/// Longest bridge line in bytes.
pub const MAX_BRIDGE: usize = 512;
/// Classes of ports at most, and ports in one.
const CLASSES: (usize, usize) = (8, 16);

/// What the gateway program keeps apart unless it is told otherwise: shells, sending mail, fetching mail, chat.
const CLASSES_BY_DEFAULT: [&[u16]; 4] = [&[22], &[25, 465, 587], &[110, 143, 993, 995], &[194, 6667, 6697]];

/// What a torvm's gateway program is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tor {
    /// File that describes the Tor network; absent: the public one.
    pub network: Option<At<PathBuf>>,
    /// Bridge lines; none: the network is entered at its public relays.
    pub bridges: Vec<String>,
    /// How the way to onion services is kept from being traced.
    pub vanguards: Vanguards,
    /// What streams are kept apart by, beyond the client that they come from.
    pub isolation: Isolation,
}

/// Vanguards: relays in the middle of a way to an onion service that change seldom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vanguards {
    /// None.
    Disabled,
    /// One layer.
    #[default]
    Lite,
    /// Two layers.
    Full,
}

impl Vanguards {
    /// The word used in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Lite => "lite",
            Self::Full => "full",
        }
    }
}

/// What streams of one client are kept apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// Different destinations: different circuits.
    pub destination_address: bool,
    /// Different destination ports: different circuits.
    pub destination_port: bool,
    /// Different SOCKS names or passwords: different circuits.
    pub socks_credentials: bool,
    /// Ports of one class share no circuit with ports of another.
    pub port_classes: Vec<Vec<u16>>,
}

impl Default for Isolation {
    fn default() -> Self {
        Self {
            destination_address: false,
            destination_port: false,
            socks_credentials: true,
            port_classes: CLASSES_BY_DEFAULT.iter().map(|class| class.to_vec()).collect(),
        }
    }
}

/// The table as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    network: Option<PathBuf>,
    #[serde(default)]
    bridges: Vec<String>,
    #[serde(default)]
    vanguards: Vanguards,
    #[serde(default)]
    isolation: WrittenIsolation,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIsolation {
    destination_address: Option<bool>,
    destination_port: Option<bool>,
    socks_credentials: Option<bool>,
    port_classes: Option<Vec<Vec<u16>>>,
}

/// Field, reason, remedy.
pub(super) type Wrong = (&'static str, String, &'static str);

/// Understands the table; what is wrong is listed and left out.
pub(super) fn understand(written: Written, line: usize) -> (Tor, Vec<Wrong>) {
    let mut wrong = Vec::new();
    let mut tor = Tor { vanguards: written.vanguards, ..Tor::default() };
    match written.network {
        Some(path) if !path.is_absolute() => {
            wrong.push((
                "network",
                format!("{} is not an absolute path", path.display()),
                "start the path with /",
            ));
        }
        network => tor.network = network.map(|value| At { value, line }),
    }
    if written.bridges.len() > MAX_BRIDGES {
        let why = format!("{} bridges; a torvm takes at most {MAX_BRIDGES}", written.bridges.len());
        wrong.push(("bridges", why, "remove some"));
    }
    for bridge in written.bridges.into_iter().take(MAX_BRIDGES) {
        match check_bridge(&bridge) {
            Ok(()) => tor.bridges.push(bridge.trim().to_owned()),
            Err(why) => wrong.push(("bridges", why, BRIDGE_REMEDY)),
        }
    }
    let typed = written.isolation;
    let default = Isolation::default();
    tor.isolation = Isolation {
        destination_address: typed.destination_address.unwrap_or(default.destination_address),
        destination_port: typed.destination_port.unwrap_or(default.destination_port),
        socks_credentials: typed.socks_credentials.unwrap_or(default.socks_credentials),
        port_classes: typed.port_classes.unwrap_or(default.port_classes),
    };
    if let Err(why) = check_classes(&tor.isolation.port_classes) {
        wrong.push(("isolation.port_classes", why, "write lists of ports, e.g. [[22], [25, 465, 587]]"));
        tor.isolation.port_classes.clear();
    }
    (tor, wrong)
}

/// What to do about a bridge line that is none.
pub const BRIDGE_REMEDY: &str = "write \"ADDRESS:PORT FINGERPRINT\", as the bridge's owner gave it; pluggable transports are not supported";

/// Whether a bridge line can be used: an address with a port, then at least one identity. Pluggable transports are
/// programs of their own, which a torvm does not have.
///
/// # Errors
/// Why not.
pub fn check_bridge(line: &str) -> Result<(), String> {
    bridge_address(line).map(drop)
}

/// Where a bridge is.
///
/// # Errors
/// Why its line cannot be used.
pub fn bridge_address(line: &str) -> Result<std::net::SocketAddr, String> {
    if line.len() > MAX_BRIDGE {
        return Err(format!("a bridge line of {} bytes", line.len()));
    }
    if line.chars().any(char::is_control) {
        return Err("a bridge line with a control character".to_owned());
    }
    let mut words = line.split_whitespace();
    let mut first = words.next().unwrap_or_default();
    if first.eq_ignore_ascii_case("bridge") {
        first = words.next().unwrap_or_default();
    }
    let Ok(address) = first.parse::<std::net::SocketAddr>() else {
        return Err(format!("{line:?} does not begin with an address and a port"));
    };
    let hex = |word: &str| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let identity = |word: &str| hex(word.trim_start_matches('$')) || word.starts_with("ed25519:");
    match words.next() {
        Some(word) if identity(word) && address.port() != 0 => Ok(address),
        Some(_) => Err(format!("{line:?} names no fingerprint behind its address")),
        None => Err(format!("{line:?} has no fingerprint, so anybody could stand in for the bridge")),
    }
}

fn check_classes(classes: &[Vec<u16>]) -> Result<(), String> {
    let (most, ports) = CLASSES;
    if classes.len() > most {
        return Err(format!("{} classes; there are at most {most}", classes.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for class in classes {
        if class.is_empty() || class.len() > ports {
            return Err(format!("a class of {} ports; one has 1 to {ports}", class.len()));
        }
        if class.contains(&0) {
            return Err("0 is no port".to_owned());
        }
        if let Some(port) = class.iter().find(|port| !seen.insert(**port)) {
            return Err(format!("port {port} is in two classes, or twice in one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "0123456789abcdef0123456789ABCDEF01234567";

    #[test]
    fn bridges_have_an_address_and_an_identity() {
        for good in [
            format!("192.0.2.7:443 {FINGERPRINT}"),
            format!("Bridge [2001:db8::1]:9001 ${FINGERPRINT} ed25519:{}", "A".repeat(43)),
        ] {
            check_bridge(&good).unwrap();
        }
        for (bad, why) in [
            ("192.0.2.7:443".to_owned(), "no fingerprint"),
            (format!("obfs4 192.0.2.7:443 {FINGERPRINT} cert=x"), "does not begin"),
            (format!("192.0.2.7:443 {FINGERPRINT}\nx"), "control character"),
            ("192.0.2.7:443 snowflake".to_owned(), "names no fingerprint"),
            ("x".repeat(600), "600 bytes"),
        ] {
            let said = check_bridge(&bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn classes_of_ports_do_not_overlap() {
        check_classes(&[vec![22], vec![25, 465, 587]]).unwrap();
        for bad in [vec![vec![]], vec![vec![22], vec![22]], vec![vec![0]], vec![vec![1]; 9]] {
            assert!(check_classes(&bad).is_err(), "{bad:?}");
        }
    }
}
