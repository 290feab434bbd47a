//! The private Tor network in whose namespace this program runs.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// Where `cargo xtask tor-network` says that its files are.
const VARIABLE: &str = "BULKHEAD_TOR_NETWORK";

/// What `network.json` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Description {
    or_addresses: Vec<SocketAddrV4>,
    exits: BTreeSet<IpAddr>,
    web: Vec<IpAddr>,
    page: String,
    onion: String,
    onion_page: String,
}

/// A line of the web server's log.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Visit {
    /// Who connected.
    pub(crate) peer: SocketAddr,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    directory: PathBuf,
    /// Address and port of every relay.
    pub(crate) relays: BTreeSet<SocketAddrV4>,
    /// From where exits connect.
    pub(crate) exits: BTreeSet<IpAddr>,
    /// The web server.
    pub(crate) web: Ipv4Addr,
    /// The same one over IPv6.
    pub(crate) web_v6: Ipv6Addr,
    /// Its page.
    pub(crate) page: String,
    /// An onion service and its page.
    pub(crate) onion: (String, String),
}

impl Network {
    /// Finds it; says aloud when there is none.
    pub(crate) fn find() -> Option<Self> {
        let Some(directory) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            // Not `eprintln!`: that is kept from the user while a test passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no private Tor network: run `cargo xtask test --only tor`"
            );
            return None;
        };
        let text = std::fs::read_to_string(directory.join("network.json")).unwrap();
        let described: Description = serde_json::from_str(&text).unwrap();
        let first_v4 = |address: &IpAddr| if let IpAddr::V4(v4) = address { Some(*v4) } else { None };
        let first_v6 = |address: &IpAddr| if let IpAddr::V6(v6) = address { Some(*v6) } else { None };
        Some(Self {
            directory,
            relays: described.or_addresses.into_iter().collect(),
            exits: described.exits,
            web: described.web.iter().find_map(first_v4).unwrap(),
            web_v6: described.web.iter().find_map(first_v6).unwrap(),
            page: described.page,
            onion: (described.onion, described.onion_page),
        })
    }

    /// What exits have asked for so far: name and type.
    pub(crate) fn questions(&self) -> Vec<(String, String)> {
        #[derive(Deserialize)]
        struct Asked {
            name: String,
            r#type: String,
        }
        let asked = self.log::<Asked>("dns.log").into_iter();
        asked.map(|Asked { name, r#type }| (name, r#type)).collect()
    }

    /// Who came to the web server so far.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.log("web.log")
    }

    /// The lines of a log, as far as they are whole.
    fn log<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let log = std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
