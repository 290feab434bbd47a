//! The nodes of the private network: addresses, keys, configuration.

use super::Options;
use super::inside::{ONION_PORT, ONION_PORTS, WEB_ADDRESSES};
use crate::packages::output;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Authorities.
const AUTHORITIES: u8 = 3;
/// Seconds between two consensuses; a consensus is valid for three of them.
pub(super) const VOTING_INTERVAL: u32 = 300;
/// Where the C client listens for SOCKS.
pub(super) const CLIENT_SOCKS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 19050);
/// Where it takes redirected connections, on any address.
pub(super) const CLIENT_TRANSPARENT: u16 = 19040;
/// Where it takes questions for names, on any address.
pub(super) const CLIENT_DNS: u16 = 19053;

/// Where the onion service says what it does about descriptors.
pub(super) const ONION_LOG: &str = "onion.log";

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Authority,
    Relay,
    Exit,
    Bridge,
    Onion,
    Client,
}

/// A process of tor.
pub(super) struct Node {
    /// Nickname, and the name of its directory.
    pub(super) name: String,
    /// What it does.
    pub(super) kind: Kind,
    /// Its own address; no two share a /16. Unused for the onion service and the client.
    pub(super) address: Ipv4Addr,
    /// Where it takes connections of relays and clients.
    pub(super) or_port: u16,
}

impl Node {
    /// Its ORPort.
    pub(super) fn or_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.or_port)
    }

    /// From where it connects over IPv6, if it is an exit.
    pub(super) fn exit_v6(&self) -> Option<Ipv6Addr> {
        let [_, second, ..] = self.address.octets();
        (self.kind == Kind::Exit).then(|| Ipv6Addr::new(0x2001, 0xdb8, 0x100, second.into(), 0, 0, 0, 0x10))
    }

    /// Its directory port, of an authority.
    pub(super) fn dir_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.or_port + 1000)
    }

    /// Whether it has an ORPort.
    pub(super) fn is_relay(&self) -> bool {
        !matches!(self.kind, Kind::Onion | Kind::Client)
    }
}

/// All nodes, in the order of their start.
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
}

impl Plan {
    /// The network's nodes.
    pub(super) fn new(options: &Options) -> Self {
        let kinds = [
            ("authority", Kind::Authority, AUTHORITIES),
            ("relay", Kind::Relay, options.relays),
            ("exit", Kind::Exit, options.exits),
            ("bridge", Kind::Bridge, 1),
            ("onion", Kind::Onion, 1),
            ("client", Kind::Client, 1),
        ];
        let named = kinds.iter().flat_map(|(name, kind, count)| (0..*count).map(move |n| (name, *kind, n)));
        // At most 3 + 32 + 16 + 3 nodes: within 100.64.0.0/10.
        let nodes = named.zip(64u8..).map(|((name, kind, n), second)| Node {
            name: format!("{name}{n}"),
            kind,
            address: Ipv4Addr::new(100, second, 0, 10),
            or_port: 9000 + u16::from(second),
        });
        Self { nodes: nodes.collect() }
    }

    /// Number of nodes that are relays: the first.
    pub(super) fn relays(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_relay()).count()
    }

    /// Lines of shell that give the namespace the addresses.
    pub(super) fn addresses(&self) -> String {
        let relays = self.nodes.iter().filter(|node| node.is_relay()).map(|node| node.address.to_string());
        let relays = relays.chain(self.nodes.iter().filter_map(|node| Some(node.exit_v6()?.to_string())));
        let web = WEB_ADDRESSES.iter().map(ToString::to_string);
        let mut lines = "ip link set lo up\n".to_owned();
        for address in relays.chain(web) {
            let _ = writeln!(lines, "ip address add {address} dev lo");
        }
        lines
    }
}

/// Public identities of a relay.
pub(super) struct Identity {
    /// Name of the node.
    pub(super) name: String,
    /// SHA-1 of the RSA key, 40 hexadecimal digits.
    pub(super) rsa: String,
    /// The Ed25519 key in base64 without padding.
    pub(super) ed25519: String,
    /// SHA-1 of an authority's long-term key, 40 hexadecimal digits.
    pub(super) v3: Option<String>,
}

/// Has tor make all keys, and returns the identities of relays in the order of the nodes.
///
/// # Errors
/// When tor fails.
pub(super) fn make_keys(plan: &Plan, directory: &Path) -> Result<Identities> {
    let relays: Vec<_> = plan.nodes.iter().filter(|node| node.is_relay()).collect();
    let made: Vec<Result<Identity>> = thread::scope(|scope| {
        let running: Vec<_> =
            relays.iter().map(|node| scope.spawn(|| keys(node, &directory.join(&node.name)))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Identity>>| {
            thread.join().unwrap_or_else(|_| bail!("making keys panicked"))
        };
        running.into_iter().map(join).collect()
    });
    let list = made.into_iter().collect::<Result<Vec<_>>>()?;
    let lines = relays.iter().zip(&list).filter_map(|(node, identity)| authority_line(node, identity));
    let guards = relays.iter().zip(&list).filter(|(node, _)| node.kind == Kind::Relay);
    let guards: Vec<_> = guards.map(|(_, identity)| format!("${}", identity.rsa)).collect();
    Ok(Identities { authorities: lines.collect(), guards: guards.join(","), list })
}

/// Identities of all relays.
pub(super) struct Identities {
    pub(super) list: Vec<Identity>,
    /// Lines of configuration that name the authorities.
    authorities: String,
    /// Relays that authorities call guards: exits are none, so that a guard never stands in the way of an exit.
    guards: String,
}

fn authority_line(node: &Node, identity: &Identity) -> Option<String> {
    let v3 = identity.v3.as_ref()?;
    let (name, port, dir, rsa) = (&node.name, node.or_port, node.dir_address(), &identity.rsa);
    Some(format!("DirAuthority {name} orport={port} no-v2 v3ident={v3} {dir} {rsa}\n"))
}

fn keys(node: &Node, directory: &Path) -> Result<Identity> {
    let keys = directory.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("cannot create {}", keys.display()))?;
    let v3 = (node.kind == Kind::Authority).then(|| certificate(node, &keys)).transpose()?;
    let mut tor = Command::new("tor");
    tor.args(["--defaults-torrc", "/dev/null", "-f", "/nonexistent", "--ignore-missing-torrc", "--quiet"]);
    tor.args(["--list-fingerprint", "--Nickname", &node.name, "--ORPort", "1", "--DataDirectory"]);
    output(tor.arg(directory))?;
    let second_word = |file: &str| -> Result<String> {
        let path = directory.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text
            .split_whitespace()
            .nth(1)
            .with_context(|| format!("no key in {}", path.display()))?
            .to_owned())
    };
    let (rsa, ed25519) = (second_word("fingerprint")?, second_word("fingerprint-ed25519")?);
    Ok(Identity { name: node.name.clone(), rsa, ed25519, v3 })
}

/// Makes an authority's long-term key and certificate, and returns the key's fingerprint.
fn certificate(node: &Node, keys: &Path) -> Result<String> {
    let file = |name: &str| keys.join(name);
    let path = file("authority_certificate");
    let mut gencert = Command::new("tor-gencert");
    gencert.args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12"]);
    gencert.arg("-i").arg(file("authority_identity_key")).arg("-s").arg(file("authority_signing_key"));
    gencert.arg("-c").arg(&path).arg("-a").arg(node.dir_address().to_string());
    // With nothing to read, the passphrase is empty.
    output(gencert.stdin(Stdio::null()))?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let found = text.lines().find_map(|line| line.strip_prefix("fingerprint "));
    found.map(str::to_owned).with_context(|| format!("no fingerprint in {}", path.display()))
}

/// What configurations have in common.
pub(super) struct Network<'n> {
    /// Keys of all relays.
    pub(super) identities: &'n Identities,
    /// The network's files.
    pub(super) directory: &'n Path,
    /// Time of the first consensus, in seconds since 1970. Intervals are counted from it, so that the first is a whole
    /// one: the periods of onion services are a multiple of what the consensus at hand shows as interval.
    pub(super) first: u64,
}

/// How exits find the name server.
const RESOLVER: &str = "resolv.conf";
/// What authorities believe to have measured.
const BANDWIDTHS: &str = "bandwidths";

impl Network<'_> {
    /// Writes files that configurations name. Without measurements relays would be weighed by what they have seen of
    /// themselves: one that saw a few bytes before the first vote would be in every circuit.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn prepare(&self) -> Result<()> {
        fs::write(self.directory.join(RESOLVER), "nameserver 127.0.0.1\n")?;
        let lines =
            self.identities.list.iter().map(|identity| format!("node_id=${} bw=10000\n", identity.rsa));
        fs::write(self.directory.join(BANDWIDTHS), format!("{}\n{}", self.first, lines.collect::<String>()))?;
        Ok(())
    }

    /// Removes what an attempt to start has left of a node, but for its keys.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget(&self, node: &Node) -> Result<()> {
        for entry in fs::read_dir(self.directory.join(&node.name))? {
            let path = entry?.path();
            if path.ends_with("keys") {
                continue;
            }
            // Authorities keep consensuses in a directory, too.
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// Writes a node's configuration and returns its path.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn configuration(network: &Network<'_>, node: &Node) -> Result<PathBuf> {
    let directory = network.directory;
    let own = directory.join(&node.name);
    fs::create_dir_all(&own)?;
    let resolver = directory.join(RESOLVER);
    let mut text = format!(
        "DataDirectory {data}\nNickname {name}\nPidFile {data}/pid\nLog notice file {data}/notice.log\n{COMMON}{authorities}",
        data = own.display(),
        name = node.name,
        authorities = network.identities.authorities,
    );
    if node.is_relay() {
        let _ = write!(
            text,
            "Address {address}\nORPort {or}\nOutboundBindAddress {address}\nServerDNSResolvConfFile {resolver}\n{RELAY}",
            address = node.address,
            or = node.or_address(),
            resolver = resolver.display(),
        );
    }
    text.push_str(&particular(node, &own, network));
    let path = own.join("torrc");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// What only nodes of this kind have in their configuration.
fn particular(node: &Node, own: &Path, network: &Network<'_>) -> String {
    match node.kind {
        Kind::Authority => {
            let (dir, offset) = (node.dir_address(), network.first % u64::from(VOTING_INTERVAL));
            let bandwidths = network.directory.join(BANDWIDTHS);
            format!(
                "DirPort {dir}\nV3BandwidthsFile {bandwidths}\nTestingDirAuthVoteGuard {guards}\nTestingV3AuthInitialVotingInterval {VOTING_INTERVAL}\n\
                 V3AuthVotingInterval {VOTING_INTERVAL}\nTestingV3AuthVotingStartOffset {offset}\n\
                 {AUTHORITY}{NO_EXIT}",
                bandwidths = bandwidths.display(),
                guards = network.identities.guards,
            )
        }
        Kind::Relay => NO_EXIT.to_owned(),
        Kind::Exit => exit(node),
        Kind::Bridge => format!("BridgeRelay 1\nPublishServerDescriptor 0\n{NO_EXIT}"),
        Kind::Onion => {
            let mut text = format!(
                "SocksPort 0\nHiddenServiceDir {own}/service\nLog [rend]info file {own}/{ONION_LOG}\n",
                own = own.display()
            );
            for port in ONION_PORTS {
                let _ = writeln!(text, "HiddenServicePort {port} 127.0.0.1:{ONION_PORT}");
            }
            text
        }
        Kind::Client => format!(
            "SocksPort {CLIENT_SOCKS}\nTransPort 0.0.0.0:{CLIENT_TRANSPARENT}\nDNSPort 0.0.0.0:{CLIENT_DNS}\n\
             AutomapHostsOnResolve 1\nVirtualAddrNetworkIPv4 10.192.0.0/10\n"
        ),
    }
}

/// One exit only goes to port 80 over IPv6: whoever does not look for one that does is noticed.
fn exit(node: &Node) -> String {
    let first = if node.name == "exit0" { "" } else { "ExitPolicy reject6 *:80\n" };
    let v6 = node.exit_v6().map(|address| format!("OutboundBindAddressExit [{address}]\n"));
    format!("{first}{EXIT}{}", v6.unwrap_or_default())
}

const COMMON: &str = "SafeLogging 0
ShutdownWaitLength 0
RunAsDaemon 0
ControlPort 0
PathsNeededToBuildCircuits 0.67
GeoIPFile /dev/null
GeoIPv6File /dev/null
TestingTorNetwork 1
TestingDirAuthVoteHSDir *
TestingDirAuthVoteGuardIsStrict 1
TestingMinExitFlagThreshold 0
V3AuthNIntervalsValid 3
";

const RELAY: &str = "SocksPort 0
AssumeReachable 1
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
ServerDNSAllowBrokenConfig 1
ContactInfo nobody@relays.test
";

const AUTHORITY: &str = "AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVoteDelay 2
V3AuthDistDelay 2
MinUptimeHidServDirectoryV2 0
";

const NO_EXIT: &str = "ExitPolicy reject *:*\n";

const EXIT: &str = "ExitRelay 1
IPv6Exit 1
ExitPolicyRejectPrivate 0
ExitPolicy accept *:*
ExitPolicy accept6 *:*
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_relays_share_a_network_of_16_bits() {
        let plan = Plan::new(&Options { state: None, relays: 32, exits: 16 });
        let mut networks: Vec<_> =
            plan.nodes.iter().map(|node| node.address.octets()[..2].to_vec()).collect();
        networks.dedup();
        assert_eq!(networks.len(), plan.nodes.len());
        assert!(plan.nodes.iter().all(|node| (64..128).contains(&node.address.octets()[1])));
    }
}
