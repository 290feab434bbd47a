//! The largest of every message fits a frame, and comes back as it was.

extern crate std;

use super::*;
use crate::codec::{self, MAX_LEN};
use core::net::Ipv6Addr;
use proptest::prelude::*;
use std::vec::Vec as StdVec;

fn text<const N: usize>() -> String<N> {
    cut(&"x".repeat(N + 1))
}

fn relay() -> Relay {
    Relay {
        ed25519: Some([255; 32]),
        rsa: Some([255; 20]),
        address: Some((Ipv6Addr::from([255; 16]).into(), u16::MAX)),
    }
}

fn full<T: Clone, const N: usize>(item: &T) -> Vec<T, N> {
    core::iter::repeat_n(item.clone(), N).collect()
}

fn largest() -> StdVec<GatewayReport> {
    let validity = Validity { valid_after: u64::MAX, fresh_until: u64::MAX, valid_until: u64::MAX };
    let circuit = Circuit {
        client: Ipv4Addr::BROADCAST,
        id: text(),
        identity: u32::MAX,
        hops: full(&Some(relay())),
        streams: u32::MAX,
    };
    std::vec![
        GatewayReport::Started { version: text() },
        GatewayReport::Status(Status {
            percent: 255,
            ready: true,
            blocked: Some(text()),
            clock: Some(text()),
            now: u64::MAX,
            consensus: Some(validity),
            guards: full(&Guard { relay: relay(), confirmed: true }),
            streams: u32::MAX,
        }),
        GatewayReport::Circuits { circuits: full(&circuit), more: true },
        GatewayReport::Bridges { used: true, bridges: full(&text()), more: true },
        GatewayReport::Isolation(Isolation { port_classes: full(&full(&u16::MAX)), ..Isolation::default() }),
        GatewayReport::NewIdentity { client: Some(Ipv4Addr::BROADCAST), closed: u32::MAX },
        GatewayReport::FirstByte(FirstByte {
            client: Ipv4Addr::BROADCAST,
            opened_ms: u32::MAX,
            first_byte_ms: u32::MAX,
            suppressed: u32::MAX,
        }),
        GatewayReport::Document {
            kind: DocumentKind::AuthorityCertificates,
            generation: u32::MAX,
            total: u32::MAX,
            offset: u32::MAX,
            bytes: full(&255),
        },
        GatewayReport::Counters { counters: full(&(text(), u64::MAX)), more: true },
        GatewayReport::Log { level: Level::Info, text: text() },
    ]
}

#[test]
fn the_largest_report_of_each_kind_fits_and_comes_back() {
    for report in largest() {
        let mut buffer = [0; MAX_LEN];
        let bytes = codec::encode(&report, &mut buffer).unwrap_or_else(|_| panic!("too long: {report:?}"));
        assert_eq!(codec::decode::<GatewayReport>(bytes).expect("decodes"), report);
    }
}

#[test]
fn the_largest_command_fits_and_comes_back() {
    let isolation = Isolation { port_classes: full(&full(&u16::MAX)), ..Isolation::default() };
    let command = GatewayCommand::SetIsolation(isolation);
    let mut buffer = [0; MAX_LEN];
    let bytes = codec::encode(&command, &mut buffer).expect("fits");
    assert_eq!(codec::decode::<GatewayCommand>(bytes).expect("decodes"), command);
}

#[test]
fn a_text_is_cut_at_a_character() {
    assert_eq!(cut::<4>("abcé"), "abc");
    assert_eq!(cut::<5>("abcé"), "abcé");
    assert_eq!(cut::<4>("é€x"), "é", "what follows the cut must not slip in");
}

proptest! {
    #[test]
    fn pieces_make_up_the_document(document in proptest::collection::vec(any::<u8>(), 0..3 * DOCUMENT_PIECE)) {
        let mut back = StdVec::new();
        for report in GatewayReport::document(DocumentKind::Consensus, 7, &document) {
            let GatewayReport::Document { generation: 7, total, offset, bytes, .. } = report else { panic!() };
            prop_assert_eq!(total as usize, document.len());
            prop_assert_eq!(offset as usize, back.len());
            back.extend_from_slice(&bytes);
        }
        prop_assert_eq!(back, document);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = codec::decode::<GatewayReport>(&bytes);
        let _ = codec::decode::<GatewayCommand>(&bytes);
    }
}
