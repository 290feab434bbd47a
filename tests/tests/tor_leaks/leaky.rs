//! The suite's own test: a Linux router in torvm's place forwards what AppVMs send, and each kind of it is found on its
//! uplink. What is not found here would be looked for in vain behind torvm.

use super::load::Load;
use super::machine::{ADDRESS, CARD, MARK, NAME_MARK, ROUTER, STATIONS, cable};
use super::namespace::Namespace;
use super::world::{PATIENCE, World};
use dom0::tap;
use rustix::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::lab::cable::Frame;
use tests::leaks::capture::{Capture, Record, write};

/// `struct virtio_net_hdr`, which precedes frames on a tap as dom0 opens it.
const VNET_HEADER: usize = 10;
const SOME_TIME: Duration = Duration::from_secs(6);
const SETTINGS: &[&str] = &["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// A kind of leak, and how it is known.
type Kind = (&'static str, fn(&Frame) -> bool);

/// What must be among the leaks.
const KINDS: &[Kind] = &[
    ("a web server's connection", |frame| frame.ports(6).is_some_and(|(_, to)| to == 80)),
    ("DNS over TCP", |frame| frame.ports(6).is_some_and(|(_, to)| to == 53)),
    ("DNS over TLS", |frame| frame.ports(6).is_some_and(|(_, to)| to == 853)),
    ("a relay, directly", |frame| frame.ports(6).is_some_and(|(_, to)| to > 9_000)),
    ("a question", |frame| {
        frame.ports(17).is_some_and(|(_, to)| to == 53) && frame.contains(NAME_MARK.as_bytes())
    }),
    ("NTP", |frame| frame.ports(17).is_some_and(|(_, to)| to == 123) && frame.contains(MARK)),
    ("QUIC", |frame| frame.ports(17).is_some_and(|(_, to)| to == 443)),
    ("a fragment", |frame| frame.0.get(12..14) == Some(&[8, 0]) && frame.0[20] & 0x3f != 0),
    ("an echo request", |frame| frame.transport().is_some_and(|(kind, icmp)| kind == 1 && icmp[0] == 8)),
    ("a timestamp request", |frame| frame.transport().is_some_and(|(kind, icmp)| kind == 1 && icmp[0] == 13)),
    ("GRE", |frame| frame.transport().is_some_and(|(kind, _)| kind == 47)),
    ("ESP", |frame| frame.transport().is_some_and(|(kind, _)| kind == 50)),
    ("SCTP", |frame| frame.transport().is_some_and(|(kind, _)| kind == 132)),
    ("UDP over IPv6", |frame| is_v6(frame) && frame.ports(17).is_some()),
    ("an echo request over IPv6", |frame| {
        is_v6(frame) && frame.transport().is_some_and(|(kind, icmp)| kind == 58 && icmp[0] == 128)
    }),
];

fn is_v6(frame: &Frame) -> bool {
    frame.0.get(12..14) == Some(&[0x86, 0xdd])
}

/// Linux forwards; the judge sees all of it.
pub(crate) fn forwarding_is_caught(world: &mut World) {
    world.machine = None;
    let appvm = &world.appvms[0];
    let router = Namespace::new();
    let uplink = router.inside(|| tap::open("up0").unwrap());
    let made = Command::new("ip")
        .args(["link", "add", appvm.name, "type", "veth", "peer", "name", "in0"])
        .status()
        .unwrap();
    assert!(made.success());
    router.take("in0");
    configure(&router, appvm.gateway);
    appvm.plug(appvm.name);
    let load = Load::start(appvm, &world.network);
    let frames = listen(&uplink);
    drop(load);
    let record = |bytes: Vec<u8>| Record { at_us: 0, length: bytes.len(), bytes };
    let capture = Capture::finished(&write(&frames.into_iter().map(record).collect::<Vec<_>>()));
    let leaks = cable(&world.network, &world.clients()).judge(&capture).expect_err("Linux forwards");
    let leaked: Vec<Frame> = leaks.found.iter().map(|leak| Frame(leak.frame.clone())).collect();
    eprintln!("{} of {} frames are leaks", leaked.len(), capture.records.len());
    let missed: Vec<_> =
        KINDS.iter().filter(|(_, is)| !leaked.iter().any(is)).map(|(name, _)| name).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

fn configure(router: &Namespace, inside: std::net::Ipv4Addr) {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    router.ip(&format!(
        "link set in0 address fe:ff:ff:ff:ff:ff up
addr add {inside}/30 dev in0
link set up0 address {} up
addr add {ADDRESS}/24 dev up0
neigh add {ROUTER} lladdr {} dev up0 nud permanent
route add default via {ROUTER}
addr add 2001:db8:7::2/64 dev up0 nodad
neigh add 2001:db8:7::1 lladdr {} dev up0 nud permanent
route add default via 2001:db8:7::1
route add fd09:24ef:4179::/48 dev in0
",
        mac(CARD),
        mac(STATIONS[0]),
        mac(STATIONS[2])
    ));
    router.inside(|| {
        for setting in SETTINGS {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
    });
    let nat = "table inet nat { chain out { type nat hook postrouting priority 100 ; oifname up0 masquerade; }; }\n";
    router.tell("nft", &["-f", "-"], nat);
}

/// What comes out within some seconds, or until there is something of every kind.
fn listen(uplink: &OwnedFd) -> Vec<Vec<u8>> {
    let (mut frames, mut buffer) = (Vec::new(), vec![0; 70_000]);
    let mut missing: Vec<&Kind> = KINDS.iter().collect();
    let begun = Instant::now();
    while begun.elapsed() < if missing.is_empty() { SOME_TIME } else { PATIENCE } {
        match rustix::io::read(uplink, &mut buffer) {
            Ok(length) => {
                let frame = Frame(buffer[VNET_HEADER.min(length)..length].to_vec());
                missing.retain(|(_, is)| !is(&frame));
                frames.push(frame.0);
            }
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => panic!("a tap: {e}"),
        }
    }
    frames
}
