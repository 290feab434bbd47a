//! Long frames and checksums left to others: nothing in the metadata is believed.
use super::world::*;
use crate::verdict::DropReason;
use link::{Csum, Gso, GsoKind, Kind, Meta};

const ACK: u8 = 16;

/// An established connection, and the port that it has outside.
fn established(w: &mut World, six: bool) -> u16 {
    let (there, back) = (to_server(six, 0), from_server(six));
    let port = ends(&w.out(0, &there.tcp(mac(0), (40000, 443), 2, (1000, 0), 64000, b""))).1;
    w.in_to(0, &back.tcp(NIC, (443, port), 18, (5000, 1001), 65000, b""));
    w.out(0, &there.tcp(mac(0), (40000, 443), ACK, (1001, 5001), 500, b""));
    port
}

fn meta(six: bool, size: u16, claimed_headers: u16) -> Meta {
    let start = if six { 54 } else { 34 };
    let kind = if six { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
    Meta {
        kind: Kind::Frame,
        csum: Csum::Partial { start, offset: 16 },
        gso: Some(Gso { kind, size, header_len: claimed_headers }),
    }
}

/// Cuts a long TCP frame as a card does, completing each checksum from the field; every piece must be sound.
fn cut(frame: &[u8], meta: &Meta) {
    let h = headers(frame);
    let (Some(gso), Csum::Partial { start, offset }) = (meta.gso, meta.csum) else { panic!("{meta:?}") };
    assert_eq!((usize::from(start), offset), (h.transport_at, 16));
    assert_eq!(usize::from(gso.header_len), h.payload_at);
    let total = u32::try_from(h.end - h.transport_at).unwrap();
    for (n, piece) in frame[h.payload_at..h.end].chunks(usize::from(gso.size)).enumerate() {
        let mut one = frame[..h.payload_at].to_vec();
        one.extend(piece);
        let len = u32::try_from(one.len() - h.transport_at).unwrap();
        let seq = u32::from_be_bytes(one[h.transport_at + 4..h.transport_at + 8].try_into().unwrap());
        let seq = seq + u32::try_from(n).unwrap() * u32::from(gso.size);
        one[h.transport_at + 4..h.transport_at + 8].copy_from_slice(&seq.to_be_bytes());
        let at = h.transport_at + 16;
        // The pseudo header in the field holds the whole frame's length: a card replaces it by the piece's.
        let field = u16::from_be_bytes([one[at], one[at + 1]]);
        let field = packet::checksum::Sum::new().u16(field).u32(!total).u32(len).fold();
        one[at..at + 2].copy_from_slice(&field.to_be_bytes());
        let sum = packet::checksum::Sum::new().bytes(&one[h.transport_at..]).finish();
        one[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        match h.network {
            Network::V4(_) => {
                let len = u16::try_from(one.len() - 14).unwrap();
                one[16..18].copy_from_slice(&len.to_be_bytes());
                one[24..26].copy_from_slice(&[0, 0]);
                let sum = packet::checksum::Sum::new().bytes(&one[14..34]).finish();
                one[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            Network::V6(_) => {
                let len = u16::try_from(one.len() - 54).unwrap();
                one[18..20].copy_from_slice(&len.to_be_bytes());
            }
        }
        assert_sound(&one);
    }
}

#[test]
fn frames_of_64_kib_pass_both_ways() {
    for six in [false, true] {
        let mut w = World::new(1);
        let port = established(&mut w, six);
        let payload = vec![9; 65535 - 60];
        let mut frame = to_server(six, 0).tcp(mac(0), (40000, 443), ACK, (1001, 5001), 500, &payload);
        // The field may hold anything: it is written afresh.
        let at = if six { 70 } else { 50 };
        frame[at..at + 2].copy_from_slice(&[0xAB, 0xCD]);
        w.client_sends_with(0, &meta(six, 1440, 9), &frame);
        let (meta_out, sent) = w.at_net().pop().unwrap();
        assert_eq!(meta_out.gso.unwrap().size, 1440);
        cut(&sent, &meta_out);
        let frame = from_server(six).tcp(NIC, (443, port), ACK, (5001, 1001), 500, &payload[..60_000]);
        w.net_sends_with(&meta(six, 1440, 0), &frame);
        let (meta_in, got) = w.at_client(0).pop().unwrap();
        cut(&got, &meta_in);
        assert_eq!(ends(&got).3, 40000);
    }
}

#[test]
fn a_claim_that_the_headers_do_not_bear_out_is_refused() {
    let mut w = World::new(1);
    established(&mut w, false);
    let frame = to_server(false, 0).tcp(mac(0), (40000, 443), ACK, (1001, 5001), 500, &[1; 4000]);
    let good = meta(false, 1400, 54);
    let gso = good.gso.unwrap();
    let csum = |start, offset| Csum::Partial { start, offset };
    let bad = [
        Meta { csum: Csum::None, ..good },
        Meta { csum: Csum::Verified, ..good },
        Meta { csum: csum(33, 16), ..good },
        Meta { csum: csum(34, 6), ..good },
        Meta { csum: csum(26, 0), ..good },
        Meta { csum: csum(14, 36), gso: None, ..good },
        Meta { gso: Some(Gso { kind: GsoKind::Tcp6, ..gso }), ..good },
        Meta { gso: Some(Gso { kind: GsoKind::Udp, ..gso }), ..good },
        Meta { gso: Some(Gso { size: 1, ..gso }), ..good },
        Meta { gso: Some(Gso { size: 15, ..gso }), ..good },
    ];
    for meta in bad {
        let before = w.drops(DropReason::Offload);
        w.client_sends_with(0, &meta, &frame);
        assert_eq!(w.drops(DropReason::Offload), before + 1, "{meta:?}");
        assert!(w.at_net().is_empty());
    }
    w.client_sends_with(0, &good, &frame);
    assert_eq!(w.at_net().len(), 1);
    // Echo has no checksum that is left to others.
    let echo = to_server(false, 0).echo(mac(0), true, 1, &[0; 60]);
    let before = w.drops(DropReason::Offload);
    w.client_sends_with(0, &Meta { csum: csum(34, 2), ..Meta::default() }, &echo);
    assert_eq!(w.drops(DropReason::Offload), before + 1);
}

#[test]
fn segments_longer_than_the_path_are_refused_with_its_mtu() {
    let mut w = World::new(1);
    established(&mut w, false);
    let frame = to_server(false, 0).tcp(mac(0), (40000, 443), ACK, (1001, 5001), 500, &[1; 4000]);
    w.client_sends_with(0, &meta(false, 1461, 54), &frame);
    assert!(w.at_net().is_empty());
    let (_, error) = w.at_client(0).pop().unwrap();
    assert!(
        matches!(headers(&error).transport, Transport::Icmp(i) if (i.kind, i.code, i.sequence) == (3, 4, 1500))
    );
    // Without segmentation a long frame is a long packet.
    w.client_sends(0, &frame);
    assert!(w.at_net().is_empty());
    assert_eq!(w.drops(DropReason::TooBig), 2);
}

#[test]
fn one_segment_is_a_plain_frame_and_partial_checksums_pass() {
    for six in [false, true] {
        let mut w = World::new(1);
        established(&mut w, six);
        let frame = to_server(six, 0).tcp(mac(0), (40000, 443), ACK, (1001, 5001), 500, b"short");
        w.client_sends_with(0, &meta(six, 1400, 54), &frame);
        let (meta, mut sent) = w.at_net().pop().unwrap();
        assert_eq!(meta.gso, None);
        let Csum::Partial { start, offset } = meta.csum else { panic!() };
        let (start, at) = (usize::from(start), usize::from(start + offset));
        let sum = packet::checksum::Sum::new().bytes(&sent[start..]).finish();
        sent[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        assert_sound(&sent);
    }
}

#[test]
fn verified_is_believed_of_the_network_only() {
    let mut w = World::new(1);
    let verified = Meta { csum: Csum::Verified, ..Meta::default() };
    w.client_sends_with(0, &verified, &to_server(false, 0).udp(mac(0), (5000, 4433), b"x"));
    let (meta, sent) = w.at_net().pop().unwrap();
    assert_eq!(meta, Meta::default());
    w.net_sends_with(&verified, &from_server(false).udp(NIC, (4433, ends(&sent).1), b"y"));
    let (meta, got) = w.at_client(0).pop().unwrap();
    assert_eq!(meta.csum, Csum::Verified);
    assert_sound(&got);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut w = World::new(1);
    let mut frame = to_server(false, 0).udp(mac(0), (5000, 4433), b"xyz");
    frame[44] ^= 0x40;
    w.client_sends(0, &frame);
    let (_, sent) = w.at_net().pop().unwrap();
    let result = std::panic::catch_unwind(|| assert_sound(&sent));
    assert!(result.is_err(), "the receiver must find out");
}
