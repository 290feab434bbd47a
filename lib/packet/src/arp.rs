//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{
    Fault,
    ethernet::{self, Ethernet, Mac},
};
use core::net::Ipv4Addr;

/// Length of the ARP body in bytes.
pub const LEN: usize = 28;
/// A whole ARP frame without padding.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + LEN;

/// What is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Protocol address of the sender; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: Mac,
    /// Protocol address of the target.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads an ARP body; what follows it is padding.
    ///
    /// # Errors
    /// [`Fault::Truncated`] and [`Fault::Arp`].
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        let b: &[u8; LEN] = body.first_chunk().ok_or(Fault::Truncated)?;
        if [b[0], b[1], b[2], b[3], b[4], b[5]] != [0, 1, 8, 0, 6, 4] {
            return Err(Fault::Arp);
        }
        let operation = match [b[6], b[7]] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return Err(Fault::Arp),
        };
        Ok(Self {
            operation,
            sender_mac: [b[8], b[9], b[10], b[11], b[12], b[13]],
            sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: [b[18], b[19], b[20], b[21], b[22], b[23]],
            target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// Writes a whole frame from the sender to `destination`.
    #[must_use]
    pub fn emit(&self, destination: Mac) -> [u8; FRAME_LEN] {
        let mut frame = [0; FRAME_LEN];
        let header = Ethernet { destination, source: self.sender_mac, ethertype: ethernet::ARP }.emit();
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let parts: [&[u8]; 6] = [
            &header,
            &[0, 1, 8, 0, 6, 4, 0, operation],
            &self.sender_mac,
            &self.sender.octets(),
            &self.target_mac,
            &self.target.octets(),
        ];
        for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::{Packet as _, arp::ArpPacket, ethernet::EthernetPacket};

    #[test]
    fn reads_back_what_it_writes_and_pnet_agrees() {
        let arp = Arp {
            operation: Operation::Reply,
            sender_mac: [1, 2, 3, 4, 5, 6],
            sender: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: [7, 8, 9, 10, 11, 12],
            target: Ipv4Addr::new(10, 0, 0, 2),
        };
        let frame = arp.emit(arp.target_mac);
        assert_eq!(Arp::parse(&frame[14..]), Ok(arp));
        let ethernet = EthernetPacket::new(&frame).unwrap();
        let pnet = ArpPacket::new(ethernet.payload()).unwrap();
        assert_eq!(pnet.get_operation(), pnet_packet::arp::ArpOperations::Reply);
        assert_eq!(pnet.get_sender_proto_addr(), arp.sender);
        assert_eq!(pnet.get_target_hw_addr().octets(), arp.target_mac);
    }

    #[test]
    fn refuses_other_hardware_and_short_bodies() {
        let mut frame = [0; 28];
        assert_eq!(Arp::parse(&frame), Err(Fault::Arp));
        frame[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 3]);
        assert_eq!(Arp::parse(&frame), Err(Fault::Arp));
        assert_eq!(Arp::parse(&frame[..27]), Err(Fault::Truncated));
    }
}
