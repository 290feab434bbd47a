//! What the private network tells programs that use it.

use super::inside::{NAME, ONION_PORTS, OTHER_NAME, WEB_ADDRESSES, WEB_PORTS, pages};
use super::nodes::{
    CLIENT_DNS, CLIENT_SOCKS, CLIENT_TRANSPARENT, Identities, Identity, Kind, Node, Plan, VOTING_INTERVAL,
};
use super::ready::onion;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddrV4};
use std::path::Path;

/// The network in numbers: `network.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Description {
    /// Relays of the consensus, authorities among them.
    pub(super) relays: Vec<Relay>,
    /// Address and port of each relay.
    pub(crate) or_addresses: Vec<SocketAddrV4>,
    /// Addresses that exits connect from.
    pub(crate) exits: Vec<IpAddr>,
    /// Bridges, which are in no consensus.
    pub(super) bridges: Vec<Relay>,
    /// The same as lines of configuration.
    pub(super) bridge_lines: Vec<String>,
    /// The onion service's name.
    pub(crate) onion: String,
    /// Its ports.
    pub(super) onion_ports: Vec<u16>,
    /// What it serves as `/`.
    pub(crate) onion_page: String,
    /// Addresses of the web server; the first has the first name.
    pub(crate) web: Vec<IpAddr>,
    /// Its ports.
    pub(super) web_ports: Vec<u16>,
    /// Names of its first two addresses; any other name in `.test` leads to the first.
    pub(crate) names: Vec<String>,
    /// What it serves as `/`.
    pub(crate) page: String,
    /// The C client, for comparison.
    pub(super) client: Client,
}

/// A relay.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Relay {
    /// Its nickname.
    pub(super) name: String,
    /// Its ORPort.
    pub(super) or_address: SocketAddrV4,
    /// The directory port of an authority.
    pub(super) dir_address: Option<SocketAddrV4>,
    /// 40 hexadecimal digits.
    pub(super) rsa: String,
    /// Base64 without padding.
    pub(super) ed25519: String,
    /// 40 hexadecimal digits, of an authority.
    pub(super) v3ident: Option<String>,
    /// Whether it is an exit.
    pub(super) exit: bool,
}

/// Where the C client listens.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Client {
    /// SOCKS.
    pub(super) socks: SocketAddrV4,
    /// Port for redirected connections, on any address of the namespace.
    pub(super) transparent: u16,
    /// Port for questions for names, on any address of the namespace.
    pub(super) dns: u16,
}

impl Description {
    /// Describes a network that has come up.
    pub(super) fn new(plan: &Plan, identities: &Identities, directory: &Path) -> Result<Self> {
        let known = |node: &Node| identities.list.iter().find(|identity| identity.name == node.name);
        let nodes = || plan.nodes.iter().filter_map(|node| Some((node, known(node)?)));
        let bridges = nodes().filter(|(node, _)| node.kind == Kind::Bridge);
        let bridges: Vec<_> = bridges.map(|(node, identity)| relay(node, identity)).collect();
        let relays = nodes().filter(|(node, _)| node.kind != Kind::Bridge);
        let relays: Vec<_> = relays.map(|(node, identity)| relay(node, identity)).collect();
        let pages = pages(directory)?;
        let exits = plan.nodes.iter().filter_map(|node| Some([node.address.into(), node.exit_v6()?.into()]));
        let exits = exits.flatten().collect();
        Ok(Self {
            or_addresses: relays.iter().map(|relay| relay.or_address).collect(),
            exits,
            bridge_lines: bridges.iter().map(bridge_line).collect(),
            relays,
            bridges,
            onion: onion(directory).context("the onion service has no name")?,
            onion_ports: ONION_PORTS.to_vec(),
            onion_page: pages.onion,
            web: WEB_ADDRESSES.to_vec(),
            web_ports: WEB_PORTS.to_vec(),
            names: [NAME, OTHER_NAME].map(str::to_owned).to_vec(),
            page: pages.web,
            client: Client { socks: CLIENT_SOCKS, transparent: CLIENT_TRANSPARENT, dns: CLIENT_DNS },
        })
    }

    /// Writes `network.json` and `network.toml`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        fs::write(directory.join("network.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(directory.join("network.toml"), self.toml())?;
        Ok(())
    }

    /// What the gateway's configuration says of the network, its tables below `[arti]`.
    fn toml(&self) -> String {
        let authorities = || self.relays.iter().filter(|relay| relay.v3ident.is_some());
        let mut text = "[arti.tor_network]\nfallback_caches = [\n".to_owned();
        for relay in authorities() {
            let (rsa, ed, at) = (&relay.rsa, &relay.ed25519, relay.or_address);
            let _ = writeln!(
                text,
                "  {{ rsa_identity = \"{rsa}\", ed_identity = \"{ed}\", orports = [\"{at}\"] }},"
            );
        }
        text.push_str("]\n\n[arti.tor_network.authorities]\nv3idents = [\n");
        for v3 in authorities().filter_map(|relay| relay.v3ident.as_ref()) {
            let _ = writeln!(text, "  \"{v3}\",");
        }
        // There are fewer guards than arti wants to choose from.
        text.push_str("]\n\n[arti.override_net_params]\nguard-min-filtered-sample-size = 3\n");
        // C tor's period of onion services is 24 intervals of voting in such a network; arti takes this parameter, in minutes.
        let _ = writeln!(text, "hsdir_interval = {}", 24 * VOTING_INTERVAL / 60);
        text
    }
}

fn relay(node: &Node, identity: &Identity) -> Relay {
    Relay {
        name: node.name.clone(),
        or_address: node.or_address(),
        dir_address: (node.kind == Kind::Authority).then(|| node.dir_address()),
        rsa: identity.rsa.clone(),
        ed25519: identity.ed25519.clone(),
        v3ident: identity.v3.clone(),
        exit: node.kind == Kind::Exit,
    }
}

fn bridge_line(bridge: &Relay) -> String {
    format!("Bridge {} {} ed25519:{}", bridge.or_address, bridge.rsa, bridge.ed25519)
}
