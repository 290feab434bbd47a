//! Fragments: put together or dropped, never forwarded as they came.
use super::world::*;
use crate::verdict::DropReason;

/// Cuts the IPv4 packet in a frame at these offsets (multiples of 8).
pub(super) fn cut4(frame: &[u8], id: u16, cuts: &[usize]) -> Vec<Vec<u8>> {
    let payload = &frame[34..];
    let mut edges = vec![0];
    edges.extend(cuts);
    edges.push(payload.len());
    edges.windows(2).map(|e| piece4(frame, id, e[0], &payload[e[0]..e[1]], e[1] < payload.len())).collect()
}

fn piece4(frame: &[u8], id: u16, offset: usize, payload: &[u8], more: bool) -> Vec<u8> {
    let ip = packet::ipv4::Ipv4::fields(frame[14..34].try_into().unwrap());
    let header = packet::ipv4::Ipv4 {
        total_len: u16::try_from(20 + payload.len()).unwrap(),
        dont_fragment: false,
        more_fragments: more,
        fragment_offset: u16::try_from(offset).unwrap(),
        identification: id,
        ..ip
    };
    [&frame[..14], &header.emit(), payload].concat()
}

fn piece6(frame: &[u8], id: u32, offset: usize, payload: &[u8], more: bool) -> Vec<u8> {
    let mut piece = frame[..54].to_vec();
    let next = piece[20];
    piece[20] = 44;
    piece[18..20].copy_from_slice(&u16::try_from(payload.len() + 8).unwrap().to_be_bytes());
    let word = u16::try_from(offset).unwrap() | u16::from(more);
    piece.extend([next, 0]);
    piece.extend(word.to_be_bytes());
    piece.extend(id.to_be_bytes());
    piece.extend(payload);
    piece
}

fn cut6(frame: &[u8], id: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let payload = &frame[54..];
    let mut edges = vec![0];
    edges.extend(cuts);
    edges.push(payload.len());
    edges.windows(2).map(|e| piece6(frame, id, e[0], &payload[e[0]..e[1]], e[1] < payload.len())).collect()
}

/// Puts the pieces at the far end together; each must fit the MTU.
fn joined(pieces: &[(link::Meta, Vec<u8>)], six: bool) -> Vec<u8> {
    let mut all = Vec::new();
    for (_, piece) in pieces {
        assert!(piece.len() <= 1514);
        let h = headers(piece);
        let Transport::Fragment(fragment) = h.transport else { panic!("{h:?}") };
        let end = usize::from(fragment.offset) + h.end - h.transport_at;
        all.resize(all.len().max(end), 0);
        all[usize::from(fragment.offset)..end].copy_from_slice(&piece[h.transport_at..h.end]);
    }
    let first = &pieces[0].1;
    let mut frame = first[..if six { 54 } else { 34 }].to_vec();
    if six {
        frame[20] = first[54];
        frame[18..20].copy_from_slice(&u16::try_from(all.len()).unwrap().to_be_bytes());
    } else {
        frame[20..22].copy_from_slice(&[0, 0]);
        frame[16..18].copy_from_slice(&u16::try_from(all.len() + 20).unwrap().to_be_bytes());
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = packet::checksum::Sum::new().bytes(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame.extend(all);
    assert_sound(&frame);
    frame
}

#[test]
fn a_long_datagram_goes_out_and_comes_back_in_pieces() {
    for six in [false, true] {
        let mut w = World::new(1);
        let data: Vec<u8> = (0..4000u32).map(|n| n.to_le_bytes()[0]).collect();
        let frame = to_server(six, 0).udp(mac(0), (5000, 4433), &data);
        let mut pieces = if six { cut6(&frame, 77, &[1440, 2880]) } else { cut4(&frame, 77, &[1480, 2960]) };
        pieces.reverse();
        for piece in &pieces {
            assert!(w.at_net().is_empty());
            w.client_sends(0, piece);
        }
        let sent = w.at_net();
        assert_eq!(sent.len(), 3);
        let whole = joined(&sent, six);
        assert_eq!(whole[headers(&whole).payload_at..], data);
        let port = ends(&whole).1;
        let answer = from_server(six).udp(NIC, (4433, port), &data);
        let pieces = if six { cut6(&answer, 5, &[1440, 2880]) } else { cut4(&answer, 5, &[1480, 2960]) };
        pieces.iter().for_each(|piece| w.net_sends(piece));
        let got = joined(&w.at_client(0), six);
        assert_eq!(ends(&got).3, 5000);
        assert_eq!(got[headers(&got).payload_at..], data);
    }
}

#[test]
fn a_packet_that_may_be_cut_is_cut() {
    let mut w = World::new(1);
    w.uplink(&control::message::Uplink { mtu: 1000, ..uplink() });
    let mut frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[3; 1400]);
    frame[20] = 0;
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = packet::checksum::Sum::new().bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    // Its checksum left to the card, which cannot complete it in pieces.
    let meta = link::Meta { csum: link::Csum::Partial { start: 34, offset: 6 }, ..link::Meta::default() };
    w.client_sends_with(0, &meta, &frame);
    let sent = w.at_net();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|(_, piece)| piece.len() <= 1014));
    joined(&sent, false);
}

#[test]
fn any_overlap_kills_the_datagram() {
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[3; 100]);
    let payload = &frame[34..];
    // (offset, length) of what comes between the first 64 bytes and the rest.
    for (offset, len) in [(56, 16), (0, 64), (0, 8), (64, 0), (32, 72)] {
        let mut w = World::new(1);
        w.client_sends(0, &piece4(&frame, 1, 0, &payload[..64], true));
        if len > 0 {
            let more = offset + len < payload.len();
            w.refused(0, &piece4(&frame, 1, offset, &vec![6; len], more), DropReason::FragmentOverlap);
            // Dead, whatever still comes, until the time is over.
            w.refused(0, &piece4(&frame, 1, 64, &payload[64..], false), DropReason::FragmentOverlap);
            w.wait(61);
            w.client_sends(0, &piece4(&frame, 1, 0, &payload[..64], true));
        }
        w.client_sends(0, &piece4(&frame, 1, 64, &payload[64..], false));
        assert_eq!(w.at_net().len(), 1);
    }
}

#[test]
fn two_ends_or_something_beyond_the_end_kill_it_too() {
    let frame = to_server(true, 0).udp(mac(0), (5000, 4433), &[3; 200]);
    let payload = &frame[54..];
    let mut w = World::new(1);
    w.client_sends(0, &piece6(&frame, 1, 128, &payload[128..], false));
    w.refused(0, &piece6(&frame, 1, 64, &payload[64..100], false), DropReason::FragmentOverlap);
    w.client_sends(0, &piece6(&frame, 2, 128, &payload[128..192], true));
    w.refused(0, &piece6(&frame, 2, 8, &payload[8..100], false), DropReason::FragmentOverlap);
    assert_eq!(w.drops(DropReason::FragmentOverlap), 2);
}

#[test]
fn tiny_first_fragments_hide_nothing() {
    // The ports in the second fragment (RFC 1858): judged when whole, like any other datagram.
    let mut w = World::new(1);
    let frame = to_server(false, 0).tcp(mac(0), (40000, 443), 2, (1, 0), 100, b"");
    for piece in cut4(&frame, 9, &[8, 16]) {
        w.client_sends(0, &piece);
    }
    assert_eq!(w.at_net().len(), 1);
    let inside = Path::Four(client4(0), client4(1)).tcp(mac(0), (40000, 443), 2, (1, 0), 100, b"");
    let pieces = cut4(&inside, 9, &[8, 16]);
    w.client_sends(0, &pieces[0]);
    w.client_sends(0, &pieces[1]);
    w.refused(0, &pieces[2], DropReason::Isolation);
    // A datagram without a whole transport header is none.
    let short = piece4(&frame, 10, 0, &frame[34..42], true);
    w.client_sends(0, &short);
    w.refused(0, &piece4(&frame, 10, 8, &frame[42..46], false), DropReason::TransportLength);
}

#[test]
fn the_first_fragment_of_ipv6_holds_all_headers() {
    // RFC 7112 §5: a TCP header of 20 bytes does not fit into 16.
    let mut w = World::new(1);
    let frame = to_server(true, 0).tcp(mac(0), (40000, 443), 2, (1, 0), 100, b"data and data");
    for (id, first) in [(1, 8), (2, 16)] {
        let pieces = cut6(&frame, id, &[first]);
        w.refused(0, &pieces[0], DropReason::ExtensionHeader);
        w.refused(0, &pieces[1], DropReason::FragmentOverlap);
    }
    w.wait(61);
    for piece in cut6(&frame, 3, &[24]) {
        w.client_sends(0, &piece);
    }
    assert_eq!(w.at_net().len(), 1);
}

#[test]
fn shapes_that_cannot_be() {
    let mut w = World::new(1);
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[3; 100]);
    w.refused(0, &piece4(&frame, 1, 0, &[0; 9], true), DropReason::FragmentShape);
    w.refused(0, &piece4(&frame, 1, 8, &[], true), DropReason::FragmentShape);
    w.refused(0, &piece4(&frame, 1, 65528, &[0; 16], false), DropReason::FragmentShape);
    // The ping of death: 65,535 bytes and more once the header is added.
    w.refused(0, &piece4(&frame, 1, 65520, &[0; 15], false), DropReason::FragmentShape);
    // Spoofed fragments do not get as far as a buffer.
    let foreign = Path::Four(client4(1), SERVER4).udp(mac(0), (5000, 4433), &[3; 100]);
    w.refused(0, &piece4(&foreign, 1, 0, &[0; 8], true), DropReason::Spoofed);
}

#[test]
fn nested_fragments_and_fragmented_neighbour_discovery_are_refused() {
    let mut w = World::new(1);
    let inner = [17, 0, 0, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8];
    let nested = Path::Six(client6(0), server6()).raw(mac(0), 44, &inner);
    let payload = &nested[54..];
    w.refused(0, &piece6(&nested, 3, 0, &payload[..8], true), DropReason::ExtensionHeader);
    w.refused(0, &piece6(&nested, 3, 8, &payload[8..], false), DropReason::ExtensionHeader);
    // RFC 6980, also when the fragment is the whole packet.
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(link_local().octets());
    let mut nd = Path::Six(v6("fe80::62:6bff:fe00:1"), link_local()).frame(mac(0), 58, solicitation);
    nd[21] = 255;
    let payload = nd[54..].to_vec();
    w.client_sends(0, &piece6(&nd, 4, 0, &payload[..8], true));
    let before =
        w.drops(DropReason::Spoofed) + w.drops(DropReason::Neighbour) + w.drops(DropReason::NotForUs);
    w.client_sends(0, &piece6(&nd, 4, 8, &payload[8..], false));
    let after = w.drops(DropReason::Spoofed) + w.drops(DropReason::Neighbour) + w.drops(DropReason::NotForUs);
    assert!(after > before);
    assert!(w.at_client(0).is_empty());
}

#[test]
fn one_senders_fragments_take_no_room_from_anothers() {
    let mut w = World::new(2);
    let mine = to_server(false, 0).udp(mac(0), (5000, 4433), &[3; 100]);
    for id in 0..1000 {
        w.client_sends(0, &piece4(&mine, id, 0, &mine[34..98], true));
    }
    assert_eq!(w.drops(DropReason::FragmentQuota), 998);
    let theirs = to_server(false, 1).udp(mac(1), (5000, 4433), &[3; 100]);
    for piece in cut4(&theirs, 0, &[64]) {
        w.client_sends(1, &piece);
    }
    assert_eq!(w.at_net().len(), 1, "same identification, another sender");
    w.wait(61);
    assert_eq!(w.drops(DropReason::FragmentTimeout), 2);
    for piece in cut4(&mine, 1, &[64]) {
        w.client_sends(0, &piece);
    }
    assert_eq!(w.at_net().len(), 1);
}

#[test]
fn a_datagram_in_too_many_pieces_is_refused() {
    let mut w = World::new(1);
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[3; 2000]);
    for n in 0..256 {
        w.client_sends(0, &piece4(&frame, 1, 8 * n, &[0; 8], true));
    }
    w.refused(0, &piece4(&frame, 1, 8 * 256, &[0; 8], true), DropReason::FragmentCount);
}

#[test]
fn the_longest_datagram_passes() {
    let mut w = World::new(1);
    // 65,535 bytes with its header; the path carries it in pieces.
    let data = vec![0x42; 65_535 - 28];
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &data);
    let cuts: Vec<usize> = (1..45).map(|n| n * 1480).collect();
    for piece in cut4(&frame, 7, &cuts) {
        w.client_sends(0, &piece);
    }
    let sent = w.at_net();
    assert_eq!(sent.len(), 45);
    let whole = joined(&sent, false);
    assert_eq!(headers(&whole).payload_len(), data.len());
}

/// A client is forgotten on the uplink's port, where none is: nothing is taken from the network for that.
#[test]
fn forgetting_nobody_leaves_the_uplink_its_buffers() {
    let mut w = World::new(1);
    let port = ends(&w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""))).1;
    w.tell(&control::message::ToFirewall::ForgetClient { port: 1 });
    let sent = from_server(false).udp(NIC, (4433, port), &[7; 64]);
    for piece in cut4(&sent, 9, &[24]) {
        w.net_sends(&piece);
    }
    assert_eq!(w.at_client(0).len(), 1);
}
