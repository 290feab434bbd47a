//! A frame of any bytes: the parser accepts or names a fault; what it accepted can be rewritten without a panic,
//! and its IPv4 header checksum is right afterwards.
//!
//! Input: the frame. The first byte of it also chooses what is done with it.
#![no_main]

use core::net::{Ipv4Addr, Ipv6Addr};
use libfuzzer_sys::fuzz_target;
use packet::{
    checksum::Sum,
    headers::{Frame, Network, parse},
    quoted,
    rewrite::{self, Endpoints, Field},
};

fuzz_target!(|bytes: &[u8]| {
    let mut frame = bytes.to_vec();
    // Most of what lies behind a wrong header checksum would never be seen.
    if frame.len() >= 34 && frame[12..14] == [8, 0] {
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = Sum::new().bytes(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(Frame::Ip(headers)) = parse(&frame) else { return };
    assert!(headers.transport_at <= headers.payload_at && headers.payload_at <= headers.end);
    assert!(headers.end <= frame.len());
    let field = if bytes[0] & 1 == 0 { Field::Complete } else { Field::Partial };
    let payload = frame[headers.payload_at..headers.end].to_vec();
    match headers.network {
        Network::V4(_) => {
            let a = Ipv4Addr::new(192, 0, 2, 1);
            let to = Endpoints { source: a, destination: a, source_port: 1, destination_port: 2 };
            // An edit starts from the frame that was parsed.
            if let Ok(quoted) = quoted::parse_v4(&payload) {
                let mut frame = frame.clone();
                if rewrite::error_v4(&mut frame, &headers, (a, a), &quoted, &to).is_some() {
                    assert!(Sum::new().bytes(&frame[14..34]).is_valid());
                }
            }
            if rewrite::v4(&mut frame, &headers, &to, field).is_some() {
                assert!(Sum::new().bytes(&frame[14..34]).is_valid());
            }
        }
        Network::V6(_) => {
            let a = Ipv6Addr::LOCALHOST;
            let to = Endpoints { source: a, destination: a, source_port: 1, destination_port: 2 };
            if let Ok(quoted) = quoted::parse_v6(&payload) {
                let _ = rewrite::error_v6(&mut frame.clone(), &headers, (a, a), &quoted, &to);
            }
            let _ = rewrite::v6(&mut frame, &headers, &to, field);
        }
    }
    let _ = rewrite::complete(&mut frame, &headers);
    let _ = rewrite::echo_reply(&mut frame, &headers);
});
