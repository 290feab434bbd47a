//! A hostile station on the same cable as the network card: sends whatever frame the test wants to.

use super::{NIC_MAC, Wishes};
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet_packet::{ipv4, tcp, udp};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// The station's hardware address; it begins as those of the outer network do.
pub const MAC: [u8; 6] = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x4d];
/// Its address on the outer network's segment.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// The uplink's port that can be reached from this machine.
pub const ENTRANCE: u16 = 8022;

/// The station's end of the cable.
pub struct Station {
    socket: UdpSocket,
    machine: u16,
    /// This machine's port whose connections the outer network's router opens to [`ENTRANCE`] of the uplink.
    pub entrance: u16,
}

impl Station {
    /// A station, not plugged in yet.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // QEMU binds the other port itself; it is free now.
        let machine = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let entrance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self { socket, machine, entrance }
    }

    /// Asks for a cable with three ends: the network card, QEMU's user network, this station.
    ///
    /// # Panics
    /// When the station's own address is not known.
    #[must_use]
    pub fn plug(&self, wishes: Wishes) -> Wishes {
        let (ours, machine) = (self.socket.local_addr().unwrap().port(), self.machine);
        let user = format!("user,id=outside,hostfwd=tcp:127.0.0.1:{}-:{ENTRANCE}", self.entrance);
        let socket = format!("socket,id=station,udp=127.0.0.1:{ours},localaddr=127.0.0.1:{machine}");
        wishes.with("--net", "hubport,hubid=0").qemu(&[
            "-netdev",
            &user,
            "-netdev",
            "hubport,id=outside-end,hubid=0,netdev=outside",
            "-netdev",
            &socket,
            "-netdev",
            "hubport,id=station-end,hubid=0,netdev=station",
        ])
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// When the cable is not there.
    pub fn send(&self, frame: &[u8]) {
        self.socket.send_to(frame, (Ipv4Addr::LOCALHOST, self.machine)).unwrap();
    }
}

impl Default for Station {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a packet claims to come from and where it goes.
#[derive(Clone, Copy)]
pub struct Way {
    /// Source address and port.
    pub from: (Ipv4Addr, u16),
    /// Destination address and port.
    pub to: (Ipv4Addr, u16),
}

/// A TCP segment to the network card with these flags.
///
/// # Panics
/// Never; the sizes are fixed.
#[must_use]
pub fn tcp_segment(way: Way, flags: u8) -> Vec<u8> {
    let mut segment = [0; 20];
    let mut header = tcp::MutableTcpPacket::new(&mut segment).unwrap();
    header.set_source(way.from.1);
    header.set_destination(way.to.1);
    header.set_sequence(0x0102_0304);
    header.set_data_offset(5);
    header.set_flags(flags);
    header.set_window(64_000);
    header.set_checksum(tcp::ipv4_checksum(&header.to_immutable(), &way.from.0, &way.to.0));
    packet(way, IpNextHeaderProtocols::Tcp, &segment)
}

/// A UDP datagram to the network card.
///
/// # Panics
/// When the payload is too long for a frame.
#[must_use]
pub fn udp_datagram(way: Way, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8];
    datagram.extend(payload);
    let length = u16::try_from(datagram.len()).unwrap();
    let mut header = udp::MutableUdpPacket::new(&mut datagram).unwrap();
    header.set_source(way.from.1);
    header.set_destination(way.to.1);
    header.set_length(length);
    header.set_checksum(udp::ipv4_checksum(&header.to_immutable(), &way.from.0, &way.to.0));
    packet(way, IpNextHeaderProtocols::Udp, &datagram)
}

fn packet(way: Way, protocol: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + 20];
    frame.extend(payload);
    let mut ethernet = MutableEthernetPacket::new(&mut frame).unwrap();
    ethernet.set_destination(NIC_MAC.into());
    ethernet.set_source(MAC.into());
    ethernet.set_ethertype(EtherTypes::Ipv4);
    let mut header = ipv4::MutableIpv4Packet::new(&mut frame[14..]).unwrap();
    header.set_version(4);
    header.set_header_length(5);
    header.set_total_length(u16::try_from(20 + payload.len()).unwrap());
    header.set_ttl(64);
    header.set_next_level_protocol(protocol);
    header.set_source(way.from.0);
    header.set_destination(way.to.0);
    header.set_checksum(ipv4::checksum(&header.to_immutable()));
    frame
}
