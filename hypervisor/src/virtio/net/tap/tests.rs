use super::*;
use crate::virtio::device::F_VERSION_1;
use crate::virtio::testing::{Driver, Piece, memory, session, wait_until};
use std::os::unix::net::UnixDatagram;

const IDENTITY: Identity = Identity { mac: [2, 0, 0, 0, 0, 1], mtu: 1500 };
const MRG_RXBUF: u64 = 1 << 15;

/// A datagram socket has the same reads and writes as a tap: one frame each.
#[test]
fn frames_pass_with_their_headers() {
    let (ours, host) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let tap = File::from(std::os::fd::OwnedFd::from(ours));
    let registry = Registry::default();
    let device = new("tap", IDENTITY, tap, &registry).unwrap();
    let memory = memory(0x20_0000);
    let mut rx = Driver::new(&memory, 0, 16);
    let mut tx = Driver::new(&memory, 0x1_0000, 16);
    device.control.start(session(&[&rx, &tx], F_VERSION_1 | MRG_RXBUF).0);

    tx.write(0x8_0000, &[0; 12]);
    tx.write(0x8_0000 + 12, &[0xAA; 100]);
    tx.offer(&[Piece::Out(0x8_0000, 112)]);
    device.notify[1].write(1).unwrap();
    tx.wait_used(1);
    let mut bytes = [0; 2000];
    assert_eq!(host.recv(&mut bytes).unwrap(), 112);
    assert_eq!(bytes[12..112], [0xAA; 100]);

    // Too short for a header, too short for a frame, a claim that was not negotiated; then a good one.
    let mut claim = [0; 112];
    claim[0] = 1;
    for bad in [&[0; 5][..], &[0; 20], &claim] {
        host.send(bad).unwrap();
    }
    host.send(&[0; 72]).unwrap();
    rx.offer(&[Piece::In(0x9_0000, 2000)]);
    device.notify[0].write(1).unwrap();
    assert_eq!(rx.wait_used(1)[0].1, 72);
    assert_eq!(rx.get::<u16>(0x9_0000 + 10), 1);
    wait_until("malformed", || registry.snapshot().contains(&("tap.drop.malformed_by_tap".into(), 3)));
}

#[test]
fn names_are_checked() {
    for bad in ["/", "a-name-that-is-too-long"] {
        assert!(matches!(open(Path::new(bad)), Err(TapError::BadName(_))));
    }
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(prepare(&file), Err(TapError::Io(_))));
}
