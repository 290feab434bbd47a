//! The short way against the long one.
use super::*;
use crate::{
    headers,
    rewrite::{self as long, Endpoints},
};
use core::net::Ipv4Addr;
use proptest::prelude::*;

const US: Mac = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
const THEM: Mac = [2, 0x62, 0x6B, 0, 0, 1];

/// A good frame: TCP with `options` words of options, or UDP.
fn good(tcp: bool, options: u8, payload: usize, random: [u32; 5], flags: u8) -> Vec<u8> {
    let [source, destination, ports, sequence, acknowledgement] = random;
    let header = if tcp { 20 + usize::from(options) * 4 } else { 8 };
    let len = header + payload;
    let ip = ipv4::Ipv4 {
        source: source.into(),
        destination: destination.into(),
        ttl: 64,
        protocol: if tcp { ipv4::TCP } else { ipv4::UDP },
        total_len: u16::try_from(20 + len).unwrap(),
        dont_fragment: sequence % 2 == 0,
        more_fragments: false,
        fragment_offset: 0,
        identification: 7,
    };
    let mut frame = [&US[..], &THEM, &[8, 0], &ip.emit()].concat();
    let mut body = vec![0u8; len];
    body[..4].copy_from_slice(&(ports | 0x0001_0001).to_be_bytes());
    if tcp {
        body[4..8].copy_from_slice(&sequence.to_be_bytes());
        body[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        body[12] = (5 + options) << 4;
        body[13] = flags;
        body[14..18].copy_from_slice(&sequence.rotate_left(7).to_be_bytes());
    } else {
        body[4..6].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        body[6..8].copy_from_slice(&sequence.to_le_bytes()[..2]);
    }
    frame.extend(body);
    frame
}

fn head_of(frame: &[u8]) -> [u8; HEAD] {
    let mut head = [0xA5; HEAD];
    let len = frame.len().min(HEAD);
    head[..len].copy_from_slice(&frame[..len]);
    head
}

/// What the long way has to say about a frame that may be plain.
fn is_plain(frame: &[u8]) -> Option<Headers> {
    let Ok(headers::Frame::Ip(parsed)) = headers::parse(frame) else { return None };
    let Network::V4(ip) = parsed.network else { return None };
    let calm = match parsed.transport {
        Transport::Tcp(t) => t.flags & (SYN | RST) == 0,
        Transport::Udp(_) => true,
        _ => false,
    };
    let ethernet = parsed.ethernet.source == THEM && parsed.ethernet.destination == US;
    (calm && ethernet && ip.ttl > 1).then_some(parsed)
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let flags =
        prop_oneof![4 => Just(ACK), 2 => Just(ACK | tcp::PSH), 1 => Just(ACK | tcp::FIN), 1 => any::<u8>()];
    let good = (any::<bool>(), 0u8..11, 0usize..100, any::<[u32; 5]>(), flags)
        .prop_map(|(tcp, options, payload, random, flags)| good(tcp, options, payload, random, flags));
    // Up to two bytes of the headers changed, the IP checksum perhaps made right again, bytes cut off or added.
    let change = (0usize..56, prop_oneof![any::<u8>(), Just(0), Just(0xFF)]);
    (good, proptest::collection::vec(change, 0..3), any::<bool>(), -30isize..10).prop_map(
        |(mut frame, changes, mend, more)| {
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if mend {
                frame[24..26].fill(0);
                let sum = crate::checksum::Sum::new().bytes(&frame[14..34]).finish();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            if !(-20..=0).contains(&more) {
                frame.resize(frame.len().saturating_add_signed(more.max(-25) / 3), 0);
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn recognises_what_the_parser_finds_in_order(frame in frames()) {
        let station = Station::between(THEM, US);
        let found = recognise(&head_of(&frame), frame.len(), &station);
        let parsed = is_plain(&frame);
        if found.is_some() {
            let udp = parsed.filter(|parsed| matches!(parsed.transport, Transport::Udp(_)));
            prop_assert_eq!(udp_headers(&head_of(&frame)), udp);
        }
        if headers::parse(&frame) == Err(crate::Fault::PortZero) {
            return Ok(());
        }
        prop_assert_eq!(found.is_some(), parsed.is_some(), "{:?}", headers::parse(&frame));
        let (Some(found), Some(parsed)) = (found, parsed) else { return Ok(()) };
        let Network::V4(ip) = parsed.network else { unreachable!() };
        prop_assert_eq!(found.ends.addresses.to_le_bytes()[..4].to_vec(), ip.source.octets());
        prop_assert_eq!(found.ends.addresses.to_le_bytes()[4..].to_vec(), ip.destination.octets());
        prop_assert_eq!(found.protocol, ip.protocol);
        if let Transport::Tcp(t) = parsed.transport {
            prop_assert_eq!(segment(&head_of(&frame)), (t, parsed.payload_len()));
        }
    }

    #[test]
    fn rewrites_as_the_long_way_does(
        frame in frames(), source: u32, destination: u32, ports: [u16; 2], partial: bool, same: bool,
    ) {
        // Flags do not matter to this.
        let Ok(headers::Frame::Ip(parsed)) = headers::parse(&frame) else { return Ok(()) };
        let Network::V4(ip) = parsed.network else { return Ok(()) };
        if !matches!(parsed.transport, Transport::Tcp(_) | Transport::Udp(_)) || ip.ttl <= 1 {
            return Ok(());
        }
        let destination = if same { ip.destination } else { Ipv4Addr::from_bits(destination) };
        let source = Ipv4Addr::from_bits(source);
        let to = Endpoints { source, destination, source_port: ports[0], destination_port: ports[1] };
        let field = if partial { Field::Partial } else { Field::Complete };
        let mut expected = frame.clone();
        long::v4(&mut expected, &parsed, &to, field).unwrap();
        long::macs(&mut expected, THEM, US).unwrap();
        let mut head = head_of(&frame);
        prop_assert_eq!(Ends::of(&to), ends(source, destination, ports));
        rewrite(&mut head, (&THEM, &US), Ends::of(&to), field);
        let len = frame.len().min(HEAD);
        prop_assert_eq!(&head[..len], &expected[..len]);
    }
}

fn ends(source: Ipv4Addr, destination: Ipv4Addr, [s, d]: [u16; 2]) -> Ends {
    let [a, b] = [source, destination].map(|address| u64::from(u32::from_le_bytes(address.octets())));
    Ends { addresses: a | b << 32, ports: u32::from(s) << 16 | u32::from(d) }
}

/// The checksum 0 of UDP, and sums that come out as zero or minus zero.
#[test]
fn keeps_no_checksum_and_writes_no_zero() {
    for sum in [0u16, 1, 0xFFFE, 0xFFFF] {
        for port in 1..=65_535u16 {
            let mut frame = good(false, 0, 10, [0x0A89_0002, 0xC633_6409, 0x1234_5678, 0, 0], ACK);
            frame[40..42].copy_from_slice(&sum.to_be_bytes());
            let parsed = is_plain(&frame).unwrap();
            let Network::V4(ip) = parsed.network else { unreachable!() };
            let to = Endpoints {
                source: Ipv4Addr::new(192, 168, 7, 20),
                destination: ip.destination,
                source_port: port,
                destination_port: 443,
            };
            let mut head = head_of(&frame);
            rewrite(&mut head, (&THEM, &US), ends(to.source, to.destination, [port, 443]), Field::Complete);
            long::v4(&mut frame, &parsed, &to, Field::Complete).unwrap();
            assert_eq!(head[14..42], frame[14..42], "{sum} {port}");
        }
    }
}
