//! `cargo xtask demo --tor`: an AppVM behind torvm, in a private Tor network that the lab machine's cable leads to.

use super::screen::Seen;
use super::{DemoArgs, Script, ended_well, machine, play, stage};
use crate::machine::Accel;
use crate::progress;
use crate::tor_network::{Description, Options, TorNetwork};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::ExitCode;
use tests::leaks::capture::Capture;
use tests::leaks::{BringUp, Cable, Cause, SMOLTCP_SYN};

const STEPS: &str = include_str!("../../guest/demo-tor.sh");

/// QEMU's user network as the lab's card sees it.
const CARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const STATIONS: [[u8; 6]; 2] = [[0x52, 0x55, 10, 0, 2, 2], [0x52, 0x56, 0, 0, 0, 2]];
/// torvm's packets have passed firewallvm once.
const TTL: u8 = 63;

/// Runs the demo.
///
/// # Errors
/// When something does not build, the network does not come up, or any step of the demo fails.
pub(super) fn run(args: &DemoArgs, accel: Accel) -> Result<ExitCode> {
    let staged = stage::build_tor()?;
    progress::heading("A private Tor network");
    let network = TorNetwork::start(&Options::default())?;
    let told = staged.directory.join("tor");
    fs::create_dir_all(&told)?;
    fs::copy(network.directory().join("network.toml"), told.join("network.toml"))?;
    let described = network.description();
    let [name, _] = described.names.as_slice() else { bail!("the network has no names") };
    let variables = format!("PAGE=http://{name}/\nONION=http://{}/\n", described.onion);
    let run_dir = tempfile::Builder::new().prefix("bulkhead-demo.").tempdir()?;
    let mut machine = machine(&staged, accel, run_dir.path())?;
    machine.entry = network.entry();
    let (cable, capture) = (cable(described), staged.capture.clone());
    let script = Script { variables, steps: STEPS };
    let (status, seen) = play(args, &machine, &script, move || show(&cable, &capture))?;
    verdict(status, &seen, &network)
}

/// What may be on the cable.
fn cable(network: &Description) -> Cable {
    let secrets = [&network.page, &network.onion_page, &network.onion];
    let relays: BTreeSet<SocketAddrV4> = network.or_addresses.iter().copied().collect();
    Cable {
        card: stage::NIC_MAC.0,
        address: CARD,
        prefix: 24,
        routers: vec![ROUTER],
        stations: STATIONS.to_vec(),
        relays,
        ttl: TTL,
        syn_options: SMOLTCP_SYN,
        bring_up: BringUp::Netvm,
        secrets: secrets.iter().map(|secret| secret.trim().as_bytes().to_vec()).collect(),
    }
}

/// Judges every frame so far, and prints what explains them.
fn show(cable: &Cable, capture: &Path) -> Result<()> {
    let bytes = fs::read(capture).with_context(|| format!("cannot read {}", capture.display()))?;
    let report = match cable.judge(&Capture::running(&bytes)) {
        Ok(report) => report,
        Err(leaks) => bail!("{leaks}"),
    };
    for (cause, frames) in &report.causes {
        let what = match cause {
            Cause::Relay(relay) => format!("TCP with the relay {relay}"),
            Cause::Arp => "the card's own ARP".to_owned(),
            Cause::Dhcp => "the card's own DHCP".to_owned(),
            Cause::Discovery => "the card's own neighbour and router discovery".to_owned(),
        };
        println!("  {frames:>7} frames  {what}");
    }
    if report.relay_frames() == 0 {
        bail!("nothing was said to any relay");
    }
    println!("  {} frames, {} connections: nothing else was on the cable", report.frames, report.connections);
    Ok(())
}

/// Whether the demo has shown what it promises.
fn verdict(status: u8, seen: &Seen, network: &TorNetwork) -> Result<ExitCode> {
    ended_well(status, seen)?;
    let described = network.description();
    for (page, what) in
        [(&described.page, "the page behind the exits"), (&described.onion_page, "the onion page")]
    {
        if !page.lines().all(|line| seen.shown.contains(line)) {
            bail!("what AppVM anon printed is not {what}");
        }
    }
    only_exits(&fs::read_to_string(network.directory().join("web.log"))?, described)?;
    progress::note(
        "AppVM anon fetched a page and an onion page; the cable carried connections to relays, and nothing else",
    );
    Ok(ExitCode::SUCCESS)
}

/// Whoever spoke to the web server directly was an exit.
fn only_exits(log: &str, network: &Description) -> Result<()> {
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        let address = |field: &str| -> Option<IpAddr> {
            Some(entry.get(field)?.as_str()?.parse::<std::net::SocketAddr>().ok()?.ip())
        };
        let (from, to) = (address("peer").context("no peer")?, address("to").context("no address")?);
        if network.web.contains(&to) && !network.exits.contains(&from) {
            bail!("{from} spoke to the web server at {to} and is no exit");
        }
    }
    Ok(())
}
