//! What the outer network sees of us.

use super::system::Chain;
use std::net::{IpAddr, Ipv4Addr};
use tests::lab::NIC_MAC;
use tests::lab::cable::{Frame, is_inner};

/// Whether the outer network or the hostile station sent it.
pub(crate) fn is_from_outside(frame: &Frame) -> bool {
    matches!(frame.from(), [0x52, 0x55 | 0x56, ..])
}

/// Every frame from our side bears the card's address and the uplink's; inner addresses appear nowhere in them.
pub(crate) fn only_the_card_speaks(chain: &Chain) {
    let frames = chain.lab.cable();
    let ours: Vec<&Frame> = frames.iter().filter(|frame| !is_from_outside(frame)).collect();
    let packets = ours
        .iter()
        .filter(|frame| frame.addresses().is_some_and(|(from, _)| from == IpAddr::V4(chain.uplink)));
    assert!(packets.count() > 20, "there was traffic: {} of {} frames", ours.len(), frames.len());
    for frame in ours {
        assert_eq!(frame.from(), NIC_MAC, "a stranger: {frame:x?}");
        let Some((from, to)) = frame.addresses() else { panic!("neither IP nor ARP: {frame:x?}") };
        let own = match from {
            IpAddr::V4(v4) => v4 == chain.uplink || v4 == Ipv4Addr::UNSPECIFIED,
            // Its own on the segment, by SLAAC or link-local, or none yet.
            IpAddr::V6(v6) => v6.is_unspecified() || v6.segments()[0] & 0xff80 == 0xfe80,
        };
        assert!(own, "sent from {from}: {frame:x?}");
        assert!(!is_inner(from) && !is_inner(to), "an inner address: {frame:x?}");
        assert!(!quotes_inner(frame), "an inner address in an ICMP error: {frame:x?}");
    }
}

/// Whether an ICMP error quotes a packet with an inner address.
fn quotes_inner(frame: &Frame) -> bool {
    let Some((1, icmp)) = frame.transport() else { return false };
    let quoted = matches!(icmp.first(), Some(3 | 11 | 12)).then(|| icmp.get(8..28)).flatten();
    quoted.is_some_and(|header| {
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        is_inner(address(12).into()) || is_inner(address(16).into())
    })
}
