//! IPv6: pages come from an exit that goes there, questions are answered, and nothing else goes anywhere.

use super::appvm::AppVm;
use super::load::get;
use super::questions::question;
use super::world::World;
use pnet_packet::icmpv6::{self, Icmpv6Packet};
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;
use tests::lab::until;

/// The name server that clients are told.
const RESOLVER: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0, 0, 0, 0, 0x53);
const AAAA: u16 = 28;
/// How long anything may take at most, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(180);
/// When to ask again.
const WAIT: Duration = Duration::from_secs(5);

/// Both AppVMs fetch the page; the web server sees an exit's IPv6 address.
pub(crate) fn pages(world: &mut World) {
    world.online();
    let before = world.network.visits().len();
    let server = world.network.web_v6;
    for appvm in &world.appvms {
        configured(appvm);
        let page = until(LIMIT, "the page over IPv6", || appvm.inside(|| get((server, 80).into(), "")));
        assert_eq!(page, world.network.page.as_bytes(), "{}", appvm.name);
    }
    let visits = world.network.visits();
    assert!(visits[before..].iter().any(|visit| visit.peer.is_ipv6()), "{:?}", &visits[before..]);
    // The gateway's own address in the AppVM's /64 has its own doors.
    let own = Ipv6Addr::from_bits(world.appvms[0].prefix.to_bits() | 1);
    world.appvms[0].inside(|| {
        assert!(TcpStream::connect_timeout(&(own, 9050).into(), LIMIT).is_ok(), "SOCKS over IPv6");
        for resolver in [RESOLVER, own, server] {
            until(LIMIT, "an answer over IPv6", || answered(resolver, server).then_some(()));
        }
    });
    refusals(world);
    world.judge();
}

/// Linux makes itself an address of the network that the gateway advertises to who asks.
fn configured(appvm: &AppVm) {
    let show = || Command::new("ip").args(["-6", "-o", "address", "show", "dev", "eth0", "dynamic"]).output();
    let prefix = appvm.prefix.to_string();
    let prefix = prefix.trim_end_matches(':');
    until(LIMIT, "an address by router advertisement", || {
        appvm.send(&solicitation(appvm.mac));
        let output = appvm.inside(show).unwrap();
        String::from_utf8_lossy(&output.stdout).contains(prefix).then_some(())
    });
}

/// "Who is the router?", from one who has no address yet (RFC 4861 §4.1).
fn solicitation(mac: [u8; 6]) -> Vec<u8> {
    const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let mut message = [133, 0, 0, 0, 0, 0, 0, 0];
    let packet = Icmpv6Packet::new(&message).unwrap();
    let sum = icmpv6::checksum(&packet, &Ipv6Addr::UNSPECIFIED, &ALL_ROUTERS);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [&[0x33, 0x33, 0, 0, 0, 2], &mac[..], &[0x86, 0xdd]].concat();
    let ip = [&[0x60, 0, 0, 0, 0, 8, 58, 255], &[0; 16][..], &ALL_ROUTERS.octets()].concat();
    [ethernet, ip, message.to_vec()].concat()
}

/// Whether a name server answers, itself, with the web server's address.
fn answered(resolver: Ipv6Addr, wanted: Ipv6Addr) -> bool {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.connect((resolver, 53)).unwrap();
    let mut answer = [0; 1_500];
    let Ok(length) = socket.send(&question(1, "page.test", AAAA)).and_then(|_| socket.recv(&mut answer))
    else {
        return false;
    };
    answer[..length].ends_with(&wanted.octets())
}

/// What is refused is said to be: Linux tells the program that it is not allowed.
fn refusals(world: &World) {
    let other = Ipv6Addr::from_bits(world.appvms[1].prefix.to_bits() | 6);
    let [a, b, c, d] = world.network.web.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    let disguised = [
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 1),
    ];
    let local = [other, "fc00::1".parse().unwrap(), "fec0::1".parse().unwrap()];
    world.appvms[0].inside(|| {
        for address in disguised.into_iter().chain(local) {
            let refused = TcpStream::connect_timeout(&SocketAddr::from((address, 80)), LIMIT);
            assert_eq!(
                refused.map(drop).map_err(|e| e.kind()),
                Err(ErrorKind::PermissionDenied),
                "{address}"
            );
        }
        for port in [80, 123, 443] {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            socket.set_read_timeout(Some(WAIT)).unwrap();
            socket.connect((world.network.web_v6, port)).unwrap();
            let refused = until(LIMIT, "a refusal", || {
                socket.send(b"a datagram").err().or_else(|| match socket.recv(&mut [0; 64]) {
                    Ok(length) => panic!("{length} bytes in answer to a datagram to port {port}"),
                    Err(e) => (e.kind() != ErrorKind::WouldBlock).then_some(e),
                })
            });
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "UDP to port {port}");
        }
    });
}
