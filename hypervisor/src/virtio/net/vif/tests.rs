#![expect(clippy::cast_possible_truncation, reason = "patterns and small sizes")]

use super::super::header::{LEN, decode};
use super::*;
use crate::link_end::{ReadableRegion, WritableRegion};
use crate::virtio::device::{F_EVENT_IDX, F_VERSION_1};
use crate::virtio::testing::{Driver, Piece, Signals, memory, session, wait_until};
use abi::link_device::Role;
use link::{Csum, Gso, GsoKind, Kind};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, VolatileMemory};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const IDENTITY: Identity = Identity { mac: [2, 0x62, 0x6b, 0, 0, 1], mtu: 1500 };
const TX: u64 = 0x10_0000;
const RX: u64 = 0x30_0000;
const RX_LEN: u32 = 1536;
/// Everything that a Linux guest negotiates.
const LINUX: u64 = super::super::FEATURES | F_VERSION_1 | F_EVENT_IDX;

fn memfd(len: u32) -> OwnedFd {
    let fd = memfd_create("region", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, len.into()).unwrap();
    fd
}

/// Both ends of a link, as dom0 makes them.
fn link(epoch: u64, data_len: u32) -> (AttachedLink, AttachedLink) {
    let region_len = 4096 + data_len;
    let (a, b) = (memfd(region_len), memfd(region_len));
    let ours = WritableRegion::prepare(a.try_clone().unwrap()).unwrap();
    let theirs = WritableRegion::prepare(b.try_clone().unwrap()).unwrap();
    let (ring_a, ring_b) = (EventFd::new(EFD_NONBLOCK).unwrap(), EventFd::new(EFD_NONBLOCK).unwrap());
    let end = |ours, fd, ring: &EventFd, bell: &EventFd| AttachedLink {
        epoch,
        role: Role::Upstream,
        region_len,
        ours,
        theirs: ReadableRegion::open(fd, region_len).unwrap(),
        ring: ring.try_clone().unwrap(),
        bell: bell.try_clone().unwrap(),
    };
    (end(ours, b, &ring_a, &ring_b), end(theirs, a, &ring_b, &ring_a))
}

struct Guest {
    rx: Driver,
    tx: Driver,
    device: Device,
    end: VifEnd,
    registry: Registry,
    signals: Arc<Signals>,
    buffers: u32,
}

impl Guest {
    fn new(features: u64) -> Self {
        let memory = memory(0x80_0000);
        let registry = Registry::default();
        let (device, end) = new("vif", IDENTITY, &registry).unwrap();
        let (rx, tx) = (Driver::new(&memory, 0, 128), Driver::new(&memory, 0x1_0000, 128));
        let (session, signals) = session(&[&rx, &tx], features);
        device.control.start(session);
        Self { rx, tx, device, end, registry, signals, buffers: 0 }
    }

    /// With a link; the peer's end is the second value.
    fn linked(features: u64, data_len: u32) -> (Self, Live) {
        let mut guest = Self::new(features);
        let (ours, theirs) = link(1, data_len);
        guest.end.attach(ours).unwrap();
        (guest, Live::new(theirs).unwrap())
    }

    fn counter(&self, name: &str) -> u64 {
        let list = self.registry.snapshot();
        list.into_iter().find(|(n, _)| n == &format!("vif.{name}")).unwrap_or_else(|| panic!("{name}")).1
    }

    /// Waits until a counter stands at `value`: a frame may be seen before it is counted.
    fn counts(&self, name: &str, value: u64) {
        wait_until(name, || self.counter(name) == value);
    }

    fn post(&mut self, count: u32) {
        for _ in 0..count {
            let address = RX + u64::from(self.buffers % 512) * 0x2000;
            self.rx.offer(&[Piece::In(address, RX_LEN)]);
            self.buffers += 1;
        }
        self.device.notify[0].write(1).unwrap();
    }

    fn send(&mut self, header: &[u8; LEN], frame: &[u8]) {
        let head = self.tx.offer(&[Piece::Out(TX, 12), Piece::Out(TX + 0x1000, frame.len() as u32)]);
        assert_eq!(head % 2, 0);
        self.tx.write(TX, header);
        self.tx.write(TX + 0x1000, frame);
        self.device.notify[1].write(1).unwrap();
        self.tx.wait_used(1);
    }

    /// The next frame: header and payload, put together from as many buffers as the header says.
    fn frame(&mut self, first: u32) -> ([u8; LEN], Vec<u8>) {
        let mut used = self.rx.wait_used(1);
        let mut bytes = Vec::new();
        let mut index = first;
        let read = |guest: &Self, index: u32, len: u32| {
            guest.rx.read(RX + u64::from(index % 512) * 0x2000, len as usize)
        };
        bytes.extend(read(self, index, used[0].1));
        let buffers = u16::from_le_bytes([bytes[10], bytes[11]]);
        assert_eq!(used.len(), usize::from(buffers), "all buffers of a frame appear at once");
        for (_, len) in used.drain(..).skip(1) {
            index += 1;
            bytes.extend(read(self, index, len));
        }
        (*bytes.first_chunk().unwrap(), bytes[LEN..].to_vec())
    }
}

fn receive(peer: &mut Live) -> (Meta, Vec<u8>) {
    let mut buffer = vec![0; link::MAX_PAYLOAD];
    let mut got = None;
    wait_until("frame at the peer", || {
        got = peer.link.recv(&mut buffer).unwrap();
        peer.link.release();
        got.is_some()
    });
    let (meta, len) = got.unwrap();
    (meta, buffer[..len].to_vec())
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i + seed) % 251) as u8).collect()
}

#[test]
fn frames_and_metadata_pass_both_ways() {
    let (mut guest, mut peer) = Guest::linked(LINUX, 256 * 1024);
    let mut frame = pattern(9000, 0);
    frame[46] = 5 << 4;
    let header = [1, 1, 0, 0, 0xA8, 5, 34, 0, 16, 0, 0, 0];
    guest.send(&header, &frame);
    let (meta, got) = receive(&mut peer);
    assert_eq!(got, frame);
    assert_eq!(meta.csum, Csum::Partial { start: 34, offset: 16 });
    assert_eq!(meta.gso, Some(Gso { kind: GsoKind::Tcp4, size: 1448, header_len: 54 }));

    guest.post(20);
    peer.link.send(&meta, &[&frame]).unwrap();
    peer.link.publish();
    let (header, got) = guest.frame(0);
    assert_eq!(got, frame);
    assert_eq!(decode(&header, &got, Offloads { csum: true, tso4: true, tso6: true }, 1500), Ok(meta));
    assert_eq!(u16::from_le_bytes([header[10], header[11]]), 6);
    guest.counts("bytes_to_guest", 9000);
}

#[test]
fn frame_waits_for_buffers_and_nothing_is_lost() {
    let (mut guest, mut peer) = Guest::linked(LINUX, 256 * 1024);
    for index in 0..5 {
        peer.link.send(&Meta::default(), &[&pattern(4000, index)]).unwrap();
    }
    peer.link.publish();
    guest.post(2);
    wait_until("waiting", || guest.counter("waits_for_buffers") > 0);
    assert!(guest.rx.used().is_empty());
    for index in 0..5 {
        guest.post(if index == 0 { 1 } else { 3 });
        assert_eq!(guest.frame(3 * index).1, pattern(4000, index as usize));
    }
}

#[test]
fn full_link_holds_the_guest_back_and_nothing_is_lost() {
    let (mut guest, mut peer) = Guest::linked(LINUX, 16 * 1024);
    for index in 0..60u64 {
        guest.tx.write(TX + index * 0x1000, &[0; LEN]);
        guest.tx.write(TX + index * 0x1000 + 12, &pattern(1400, index as usize));
        guest.tx.offer(&[Piece::Out(TX + index * 0x1000, 1412)]);
    }
    guest.device.notify[1].write(1).unwrap();
    let at_once = guest.tx.wait_used(5).len();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(at_once + guest.tx.used().len() <= 12, "more than the link holds");
    // The peer is awake at first, so that bells are saved; then it sleeps in between, as a domain does, and every wake-up
    // comes by doorbell.
    for index in 0..60 {
        assert_eq!(receive(&mut peer).1, pattern(1400, index), "{index}");
        if index >= 30 {
            let _ = peer.link.arm();
        }
    }
    guest.counts("frames_from_guest", 60);
    wait_until("rings_suppressed", || guest.counter("rings_suppressed") > 0);
}

#[test]
fn carrier_follows_the_link() {
    let mut guest = Guest::new(LINUX);
    let status = |guest: &Guest| {
        let mut bytes = [0; 12];
        guest.device.config.read(0, &mut bytes);
        assert_eq!(bytes[..6], IDENTITY.mac);
        assert_eq!(u16::from_le_bytes([bytes[10], bytes[11]]), 1500);
        bytes[6]
    };
    assert_eq!(status(&guest), 0);
    guest.send(&[0; LEN], &[0; 60]);
    guest.counts("drop.no_peer", 1);
    let (ours, theirs) = link(1, 64 * 1024);
    guest.end.attach(ours).unwrap();
    wait_until("carrier", || status(&guest) == 1);
    // Shown first, signalled then.
    wait_until("signal", || guest.signals.config.load(Ordering::SeqCst) == 1);
    let mut peer = Live::new(theirs).unwrap();
    guest.send(&[0; LEN], &[5; 60]);
    assert_eq!(receive(&mut peer).1, [5; 60]);
    // The peer is replaced: frames go to the new one.
    let (ours, theirs) = link(2, 64 * 1024);
    guest.end.attach(ours).unwrap();
    let mut second = Live::new(theirs).unwrap();
    guest.send(&[0; LEN], &[6; 60]);
    assert_eq!(receive(&mut second).1, [6; 60]);
    assert_eq!(peer.link.recv(&mut [0; 100]).unwrap(), None);
    guest.end.detach();
    wait_until("no carrier", || status(&guest) == 0);
}

#[test]
fn hostile_peer_loses_its_link_and_the_guest_lives_on() {
    let mut guest = Guest::new(LINUX);
    let (ours, theirs) = link(1, 64 * 1024);
    guest.end.attach(ours).unwrap();
    // Right identity and epoch, impossible produced index.
    let region = theirs.ours.mapping().clone();
    let _peer = Live::new(theirs).unwrap();
    region.as_volatile_slice().write_obj(u64::MAX - 7, 0x80).unwrap();
    guest.send(&[0; LEN], &[0; 60]);
    wait_until("fault", || guest.counter("peer_faults") == 1);
    // The first frame was dropped, too, if the fault was found before it.
    let dropped = guest.counter("drop.no_peer");
    guest.send(&[0; LEN], &[0; 60]);
    guest.counts("drop.no_peer", dropped + 1);
    let (ours, theirs) = link(2, 64 * 1024);
    guest.end.attach(ours).unwrap();
    let mut peer = Live::new(theirs).unwrap();
    guest.send(&[0; LEN], &[7; 60]);
    assert_eq!(receive(&mut peer).1, [7; 60]);
    assert_eq!(guest.signals.needs_reset.load(Ordering::SeqCst), 0);
}

#[test]
fn bad_frames_are_dropped_and_counted() {
    let (mut guest, mut peer) = Guest::linked(LINUX, 256 * 1024);
    guest.send(&[0; LEN], &[0; 13]);
    guest.send(&[0; LEN], &[0; 1519]);
    guest.send(&[1, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0], &[0; 60]);
    guest.send(&[0, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 60]);
    guest.send(&[0; LEN], &[9; 60]);
    assert_eq!(receive(&mut peer).1, [9; 60]);
    guest.counts("drop.bad_length", 2);
    guest.counts("drop.bad_header", 2);
    // From the peer: a message, a stub, and then a frame.
    guest.post(4);
    peer.link.send(&Meta::MESSAGE, &[&[0; 60]]).unwrap();
    peer.link.send(&Meta::default(), &[&[0; 3]]).unwrap();
    peer.link.send(&Meta { kind: Kind::Frame, ..Meta::default() }, &[&[8; 60]]).unwrap();
    peer.link.publish();
    assert_eq!(guest.frame(0).1, [8; 60]);
    guest.counts("drop.not_a_frame", 2);
}

#[test]
fn plain_guest_gets_complete_checksums_and_no_long_segments() {
    let (mut guest, mut peer) = Guest::linked(F_VERSION_1, 256 * 1024);
    guest.post(2);
    let partial = Meta { csum: Csum::Partial { start: 34, offset: 6 }, ..Meta::default() };
    let gso = Gso { kind: GsoKind::Tcp6, size: 100, header_len: 60 };
    peer.link.send(&Meta { gso: Some(gso), ..partial }, &[&[1; 1000]]).unwrap();
    // One buffer per frame without mergeable buffers.
    peer.link.send(&Meta::default(), &[&[1; 3000]]).unwrap();
    peer.link.send(&partial, &[&[0; 60]]).unwrap();
    peer.link.publish();
    let (header, frame) = guest.frame(0);
    assert_eq!(header[0], 0);
    assert_eq!(frame[40..42], [0xFF, 0xFF]);
    guest.counts("drop.guest_takes_no_gso", 1);
    guest.counts("drop.buffers_too_small", 1);
}

#[test]
fn frames_without_a_driver_are_dropped() {
    let (guest, mut peer) = Guest::linked(LINUX, 64 * 1024);
    guest.device.control.stop();
    for _ in 0..200 {
        wait_until("room", || {
            let sent = peer.link.send(&Meta::default(), &[&[0; 1500]]).is_ok();
            peer.link.publish();
            sent
        });
    }
    wait_until("dropped", || guest.counter("drop.no_driver") == 200);
}

#[test]
fn wrong_direction_stops_the_device() {
    let (mut guest, _peer) = Guest::linked(LINUX, 64 * 1024);
    guest.tx.offer(&[Piece::In(TX, 100)]);
    guest.device.notify[1].write(1).unwrap();
    wait_until("needs reset", || guest.signals.needs_reset.load(Ordering::SeqCst) == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    /// Any headers and lengths: each frame is sent or counted as dropped, and the link stays sound.
    #[test]
    fn every_frame_is_accounted_for(frames in proptest::collection::vec(
        (any::<[u8; LEN]>(), 0u8..4, prop_oneof![0usize..100, 1400usize..1600, 1usize..70_000]), 1..20)
    ) {
        let (mut guest, mut peer) = Guest::linked(LINUX, 2 << 20);
        let count = frames.len() as u64;
        for (mut header, flags, len) in frames {
            header[0] = flags;
            header[1] &= 7;
            guest.send(&header, &pattern(len.max(1), 3));
        }
        let dropped = guest.counter("drop.bad_length") + guest.counter("drop.bad_header");
        let sent = guest.counter("frames_from_guest");
        prop_assert_eq!(sent + dropped, count);
        for _ in 0..sent {
            receive(&mut peer);
        }
        prop_assert_eq!(guest.counter("drop.refused_by_wire"), 0);
    }
}

#[test]
fn too_few_buffers_are_waited_with_asleep() {
    for features in [LINUX, LINUX & !F_EVENT_IDX] {
        let (mut guest, mut peer) = Guest::linked(features, 256 * 1024);
        let frame = vec![7; 9000];
        guest.post(2);
        peer.link.send(&Meta::default(), &[&frame]).unwrap();
        peer.link.publish();
        wait_until("waiting", || guest.counter("waits_for_buffers") > 0);
        std::thread::sleep(std::time::Duration::from_millis(100));
        guest.post(2);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(guest.counter("waits_for_buffers") < 10, "the thread does not sleep");
        guest.post(2);
        assert_eq!(guest.frame(0).1, frame);
    }
}
