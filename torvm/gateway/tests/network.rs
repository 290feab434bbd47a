//! The program, natively, in the private Tor network of `cargo xtask tor-network`: two clients, every door, and dom0's
//! commands. Clients are addresses of the same namespace, whose TCP and questions nft redirects as torvm does.
//!
//! Takes Debian's `tor` and root; says so aloud when it cannot run.

#[path = "network/client.rs"]
mod client;
#[path = "network/invented.rs"]
mod invented;
#[path = "network/many.rs"]
mod many;
#[path = "network/program.rs"]
mod program;

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use client::{Client, Reply, at_last};
use control::tor::{Circuit, DocumentKind, GatewayCommand, GatewayReport, Isolation, OldStreams, Relay};
use program::Program;

const VARIABLE: &str = "BULKHEAD_TOR_NETWORK";
const ONE: Client = Client(Ipv4Addr::new(10, 137, 0, 1));
const TWO: Client = Client(Ipv4Addr::new(10, 137, 0, 2));

/// What `network.json` says.
#[derive(serde::Deserialize)]
struct Network {
    or_addresses: Vec<SocketAddr>,
    relays: Vec<Known>,
    bridge_lines: Vec<String>,
    bridges: Vec<Known>,
    onion: String,
    onion_page: String,
    web: Vec<IpAddr>,
    names: Vec<String>,
    page: String,
}

#[derive(serde::Deserialize)]
struct Known {
    or_address: SocketAddr,
    v3ident: Option<String>,
}

#[test]
fn the_program_serves_two_clients() {
    match std::env::var_os(VARIABLE) {
        Some(directory) => inside(Path::new(&directory)),
        None => outside(&["the_program_serves_two_clients"]),
    }
}

/// Not among the others: it takes minutes, and what it does to its network is the end of that.
#[test]
#[ignore = "takes three minutes: a measurement"]
fn the_program_has_room_for_nine_thousand_relays() {
    match std::env::var_os(VARIABLE) {
        Some(directory) => many::inside(Path::new(&directory)),
        None => outside(&["the_program_has_room_for_nine_thousand_relays", "--ignored"]),
    }
}

/// Runs a test again, in the network.
fn outside(test: &[&str]) {
    let runs = |program: &str, argument: &str| Command::new(program).arg(argument).output().is_ok();
    if !runs("tor", "--version") || !runs("nft", "--version") || !runs("ip", "-V") {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: tor, nft or ip is missing: the program met no Tor network");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let this = std::env::current_exe().expect("this program");
    let words = ["run", "-q", "-p", "xtask", "--", "tor-network", "--"];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status =
        cargo.current_dir(root).args(words).arg(this).args(["--exact", "--nocapture"]).args(test).status();
    assert!(status.expect("cargo runs").success(), "see above");
}

fn inside(directory: &Path) {
    let text = std::fs::read(directory.join("network.json")).expect("network.json");
    let network: Network = serde_json::from_slice(&text).expect("a description");
    redirect();
    let home = tempfile::tempdir().expect("a directory");
    let config = configuration(home.path(), directory, "");
    let mut program = Program::start(&config);
    program.wait_until_ready();
    documents(&mut program, &network);
    doors(&network);
    names(&network);
    refusals(&network);
    isolation(&mut program, &network);
    new_identity(&mut program, &network);
    let before = guard(&mut program, &network);
    let saved = program.status().guards;
    assert!(saved.iter().any(|saved| saved.relay.ed25519 == before.ed25519), "{saved:?}");
    drop(program);

    let mut program = Program::start(&config);
    program.wait_until_ready();
    assert_eq!(guard(&mut program, &network), before, "the same guard after a crash");
    drop(program);
    bridge(home.path(), directory, &network);
}

/// Two clients' addresses, and their way to the program.
fn redirect() {
    let rules = "table ip gateway; delete table ip gateway; table ip gateway {
        chain out {
            type nat hook output priority -100; policy accept;
            ip saddr 10.137.0.0/24 ip daddr 10.137.0.0/24 accept
            ip saddr 10.137.0.0/24 udp dport 53 redirect to :5300
            ip saddr 10.137.0.0/24 meta l4proto tcp redirect to :9040
        }
    }";
    let run = |words: &[&str]| {
        let status = Command::new(words[0]).args(&words[1..]).status().expect("runs");
        assert!(status.success(), "{words:?}");
    };
    for address in ["10.137.0.1/32", "10.137.0.2/32", "10.137.0.254/32"] {
        run(&["ip", "address", "replace", address, "dev", "lo"]);
    }
    run(&["ip", "route", "replace", "default", "dev", "lo"]);
    run(&["nft", rules]);
}

fn configuration(home: &Path, network: &Path, more: &str) -> PathBuf {
    let shipped = include_str!("../gateway.toml");
    let home = home.display();
    let own = shipped
        .replace("\"/state\"", &format!("\"{home}/state\""))
        .replace("\"/cache\"", &format!("\"{home}/cache\""));
    // A datagram that was redirected here from here goes back from where it arrived.
    let own = own.replace("0.0.0.0:5300", "127.0.0.1:5300");
    let its = std::fs::read_to_string(network.join("network.toml")).expect("network.toml");
    // The directory is root's, but it need not be below directories that are.
    let lax = "[arti.storage.permissions]\ndangerously_trust_everyone = true\n";
    let path = PathBuf::from(format!("{home}/gateway.toml"));
    std::fs::write(&path, format!("{own}\n{its}\n{lax}\n{more}")).expect("written");
    path
}

/// The consensus and the certificates arrive as they were signed.
fn documents(program: &mut Program, network: &Network) {
    let (generation, certificates) = program.document(DocumentKind::AuthorityCertificates);
    let (its, consensus) = program.document(DocumentKind::Consensus);
    assert_eq!(generation, its);
    assert!(consensus.starts_with("network-status-version 3 microdesc\n"));
    let entries: Vec<&str> = consensus.lines().filter(|line| line.starts_with("r ")).collect();
    for address in &network.or_addresses {
        let at = format!(" {} {} ", address.ip(), address.port());
        assert!(entries.iter().any(|line| line.contains(&at)), "{address} is not in the consensus");
    }
    for v3 in network.relays.iter().filter_map(|relay| relay.v3ident.as_ref()) {
        assert!(certificates.contains(&format!("fingerprint {v3}\n")), "{v3}");
        assert!(consensus.contains(&format!(" {v3} ")), "{v3} did not sign");
    }
    program.send(&GatewayCommand::GetDocuments);
    let (next, again) = program.document(DocumentKind::Consensus);
    assert!(next > its && again.starts_with("network-status-version 3 microdesc\n"));
}

/// Every door leads to the same pages.
fn doors(network: &Network) {
    let (web, name) = ((network.web[0], 80), &*network.names[0]);
    let page = Ok(network.page.clone());
    assert_eq!(at_last(&page, || ONE.page(web)), page, "transparent");
    assert_eq!(at_last(&page, || ONE.half_closed_page(web)), page, "half-closed");
    assert_eq!(at_last(&page, || ONE.socks_page(name, 80, None)), page, "SOCKS");
    assert_eq!(at_last(&page, || ONE.http_page(name, 80)), page, "HTTP");
    // One exit only goes there.
    let v6 = network.web.iter().find(|address| address.is_ipv6()).expect("an IPv6 address").to_string();
    for client in [ONE, TWO] {
        assert_eq!(at_last(&page, || client.socks_page(&v6, 80, None)), page, "IPv6 by SOCKS");
        assert_eq!(at_last(&page, || client.http_page(&format!("[{v6}]"), 80)), page, "IPv6 by HTTP");
    }
    let onion = Ok(network.onion_page.clone());
    assert_eq!(at_last(&onion, || ONE.socks_page(&network.onion, 80, None)), onion, "onion by SOCKS");
    assert_eq!(at_last(&onion, || TWO.http_page(&network.onion, 80)), onion, "onion by HTTP");
}

/// Questions that Tor answers, and those that nobody does.
fn names(network: &Network) {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const MX: u16 = 15;
    const HTTPS: u16 = 65;
    let IpAddr::V4(web) = network.web[0] else { panic!("the first address is IPv4") };
    let found = Reply { code: 0, addresses: vec![web] };
    assert_eq!(at_last(&found, || ONE.ask(&network.names[0], A)), found);
    assert_eq!(at_last(&0, || ONE.ask(&network.names[0], AAAA).code), 0);
    for other in [MX, HTTPS, 255] {
        assert_eq!(ONE.ask(&network.names[0], other).code, 4, "type {other}");
    }
    assert_eq!(at_last(&Ok(web), || ONE.socks_resolve(&network.names[0])), Ok(web));

    let mapped = ONE.ask(&network.onion, A);
    let [address] = mapped.addresses[..] else { panic!("{mapped:?}") };
    assert!(gateway::onions::is_mapped(address.into()));
    assert_eq!(ONE.ask(&network.onion, A).addresses, [address]);
    assert_eq!(ONE.ask(&network.onion, AAAA), Reply { code: 0, addresses: Vec::new() });
    let page = Ok(network.onion_page.clone());
    assert_eq!(at_last(&page, || ONE.page((address.into(), 80))), page);
    assert_eq!(TWO.page((address.into(), 80)), Err(ErrorKind::ConnectionReset), "another client's");
    assert_eq!(ONE.ask("nonsense.onion", A).code, 3);
}

/// What fails ends in a reset, a SOCKS reply or a status.
fn refusals(network: &Network) {
    assert_eq!(ONE.page((network.web[0], 9)), Err(ErrorKind::ConnectionReset), "refused by the far end");
    assert_eq!(ONE.page(([192, 168, 7, 7].into(), 80)), Err(ErrorKind::ConnectionReset), "a private address");
    let refused = Err(ErrorKind::ConnectionRefused);
    assert_eq!(at_last(&refused, || ONE.socks_page(&network.names[0], 9, None)), refused);
    assert_eq!(ONE.socks_page("nonsense.onion", 80, None), Err(ErrorKind::AddrNotAvailable));
    assert_eq!(at_last(&refused, || ONE.http_page(&network.names[0], 9)), refused);
}

/// Clients, and whatever else is configured, share no circuit with others. Equal streams mostly share one, but arti may open
/// another for a stream that it tries once more: there are as many circuits as kinds of streams, or more.
fn isolation(program: &mut Program, network: &Network) {
    let web = |port| (network.web[0], port);
    let _held =
        [ONE.hold(web(80)), ONE.hold(web(8080)), TWO.hold(web(80)), ONE.hold(web(22)), TWO.hold(web(25))];
    let circuits = program.circuits(5);
    disjoint(&circuits);
    let of = |client: Client| circuits.iter().filter(|c| c.client == client.0).count();
    assert!(of(ONE) >= 2 && of(TWO) >= 2, "by class of ports: {circuits:#?}");
    assert!(
        circuits.iter().all(|circuit| circuit.hops.len() >= 3 && circuit.hops.iter().all(Option::is_some))
    );
    let guards: Vec<_> = circuits.iter().filter_map(|c| c.hops[0].as_ref()?.ed25519).collect();
    assert!(guards.iter().all(|guard| *guard == guards[0]), "one guard for everybody");

    let credentials = [Some(("a", "x")), Some(("a", "y")), Some(("b", "x")), Some(("a", "x"))];
    let _by_name = credentials.map(|c| ONE.socks_hold(&network.names[0], 80, c));
    let circuits = program.circuits(9);
    disjoint(&circuits);
    assert!(circuits.len() >= 7, "three more, by credentials: {circuits:#?}");

    let rules = Isolation { by_destination_address: true, by_destination_port: true, ..Isolation::default() };
    program.send(&GatewayCommand::SetIsolation(rules.clone()));
    let answer = program.wait(|report| matches!(report, GatewayReport::Isolation(_)));
    assert_eq!(answer, GatewayReport::Isolation(rules));
    let _by_destination = [TWO.hold(web(80)), TWO.hold(web(443)), TWO.hold((network.web[1], 80))];
    // What was open goes on, and nothing new shares a circuit with it.
    let circuits = program.circuits(12);
    disjoint(&circuits);
    assert!(circuits.len() >= 10, "three more, by destination: {circuits:#?}");
}

/// A new identity is the client's and nobody else's, and cuts what it is told to.
fn new_identity(program: &mut Program, network: &Network) {
    let web = (network.web[0], 80);
    program.wait_for_streams(0);
    let (_first, _other) = (ONE.hold(web), TWO.hold(web));
    let before = program.circuits(2);
    let keep = GatewayCommand::NewIdentity { client: Some(ONE.0), streams: OldStreams::Keep };
    assert_eq!(program.new_identity(&keep), (Some(ONE.0), 0));
    let (mut second, _other_again) = (ONE.hold(web), TWO.hold(web));
    let after = program.circuits(4);
    disjoint(&after);
    let ids = |circuits: &[Circuit], client: Client| {
        let mut ids: Vec<_> =
            circuits.iter().filter(|c| c.client == client.0).map(|c| c.id.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&after, TWO), ids(&before, TWO), "the other client's circuits stay");
    let own = ids(&after, ONE);
    assert!(own.len() == 2 && own.contains(&ids(&before, ONE)[0]), "{own:?}");

    let close = GatewayCommand::NewIdentity { client: Some(ONE.0), streams: OldStreams::Close };
    assert_eq!(program.new_identity(&close), (Some(ONE.0), 2));
    assert_eq!(second.rest(), Err(ErrorKind::ConnectionReset));
    assert_eq!(program.circuits(2).len(), 1);
}

/// The guard that streams take now.
fn guard(program: &mut Program, network: &Network) -> Relay {
    program.wait_for_streams(0);
    let _held = ONE.hold((network.web[0], 80));
    let circuits = program.circuits(1);
    circuits[0].hops[0].clone().expect("a relay")
}

fn disjoint(circuits: &[Circuit]) {
    for (n, circuit) in circuits.iter().enumerate() {
        let shared = circuits[..n].iter().any(|other| other.id == circuit.id);
        assert!(!shared, "two keys on one circuit: {circuits:#?}");
    }
}

/// With a bridge, everything goes through it.
fn bridge(home: &Path, directory: &Path, network: &Network) {
    let more = format!("[arti.bridges]\nenabled = true\nbridges = ['''{}''']\n", network.bridge_lines[0]);
    let home = home.join("bridged");
    std::fs::create_dir(&home).expect("a directory");
    let mut program = Program::start(&configuration(&home, directory, &more));
    program.wait_until_ready();
    let page = Ok(network.page.clone());
    assert_eq!(at_last(&page, || ONE.page((network.web[0], 80))), page);
    let _held = ONE.hold((network.web[0], 80));
    let circuits = program.circuits(1);
    let address = network.bridges[0].or_address;
    assert_eq!(
        circuits[0].hops[0].as_ref().and_then(|hop| hop.address),
        Some((address.ip(), address.port()))
    );
    program.send(&GatewayCommand::GetBridges);
    let answer = program.wait(|report| matches!(report, GatewayReport::Bridges { .. }));
    let GatewayReport::Bridges { used: true, bridges, more: false } = answer else { panic!("{answer:?}") };
    assert_eq!(bridges.len(), 1);
}
