//! Segments without a connection: what a gateway that forwards lets out when Tor has gone (tor-talk, March 2014).

use super::machine::MARK;
use super::world::{PATIENCE, World};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::{ipv4, tcp};
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The gateway's hardware address on every client's link.
const GATEWAY: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Every combination of flags, to a web server, a relay, a name server and the uplink's own router, from the AppVM's
/// address and from others.
pub(crate) fn segments(world: &mut World) {
    world.online();
    let appvm = &world.appvms[0];
    let relay = *world.network.relays.iter().next().unwrap();
    let targets = [
        (world.network.web, 80),
        (*relay.ip(), relay.port()),
        (Ipv4Addr::new(9, 9, 9, 9), 853),
        (Ipv4Addr::new(10, 0, 2, 2), 443),
    ];
    for flags in 0..=255u8 {
        for to in targets {
            for from in [appvm.address, world.appvms[1].address, Ipv4Addr::new(10, 0, 2, 15)] {
                appvm.send(&segment((appvm.mac, from), to, flags));
            }
        }
        // A whole burst would only be lost on the way to the emulated card.
        std::thread::sleep(Duration::from_millis(5));
    }
    appvm.send(&segment(([2, 0, 0, 0, 0, 9], appvm.address), targets[0], 2));
    world.wait_for_page(PATIENCE);
    world.judge();
}

fn segment((mac, from): ([u8; 6], Ipv4Addr), to: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20 + 20];
    let mut header = tcp::MutableTcpPacket::new(&mut bytes[20..]).unwrap();
    header.set_source(33_000 + u16::from(flags));
    header.set_destination(to.1);
    header.set_sequence(0x0102_0304);
    header.set_acknowledgement(0x0506_0708);
    header.set_data_offset(5);
    header.set_flags(flags);
    header.set_window(64_000);
    header.set_checksum(tcp::ipv4_checksum(&header.to_immutable(), &from, &to.0));
    let mut header = ipv4::MutableIpv4Packet::new(&mut bytes).unwrap();
    header.set_version(4);
    header.set_header_length(5);
    header.set_total_length(40);
    header.set_ttl(64);
    header.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
    header.set_source(from);
    header.set_destination(to.0);
    header.set_checksum(ipv4::checksum(&header.to_immutable()));
    [&GATEWAY[..], &mac, &[8, 0], &bytes].concat()
}

/// Connections are open, Tor is stopped, and then the AppVM closes them: some with FIN, some with RST, some with data
/// that nobody acknowledges any more.
pub(crate) fn after_tor_has_stopped(world: &mut World) {
    world.online();
    for round in 0..if world.long { 10 } else { 2 } {
        let web = world.network.web;
        let open: Vec<TcpStream> = world.appvms[0].inside(|| {
            let mut open = Vec::new();
            for _ in 0..6 {
                if let Ok(mut stream) = TcpStream::connect_timeout(&(web, 80).into(), PATIENCE) {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.write_all(b"GET /long HTTP/1.0\r\n\r\n");
                    // At least a byte has come through Tor.
                    if stream.read(&mut [0; 64]).is_ok_and(|length| length > 0) {
                        open.push(stream);
                    }
                }
            }
            open
        });
        assert!(open.len() > 3, "{} connections are open in round {round}", open.len());
        world.kill_program();
        for (number, mut stream) in open.into_iter().enumerate() {
            if number % 3 == 1 {
                let _ = stream.write_all(MARK);
            }
            if number % 2 == 0 {
                set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
        }
        // Long enough for the AppVM to send its last segments again.
        std::thread::sleep(Duration::from_secs(3));
        world.judge();
        world.wait_for_page(PATIENCE);
    }
    world.judge();
}
