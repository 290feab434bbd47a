#![expect(clippy::cast_possible_truncation, reason = "patterns and small sizes")]
use super::super::testing::{Driver, Piece, memory, session, wait_until};
use super::connection::BUFFER;
use super::packet::{NO_RECEIVE, NO_SEND};
use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

const CID: u32 = 7;
const PORT: u32 = 1024;
const RX: u64 = 0x10_0000;
const RX_LEN: u32 = 4096 + 44;
const TX: u64 = 0x20_0000;

/// A guest that posts receive buffers and sends whatever a test wants.
struct Guest {
    to_guest: Driver,
    from_guest: Driver,
    event: Driver,
    device: Device,
    connector: Connector,
    registry: Registry,
    slots: Vec<u64>,
    heads: BTreeMap<u16, u64>,
}

impl Guest {
    fn new(buffers: u64) -> Self {
        let memory = memory(0x40_0000);
        let registry = Registry::default();
        let (device, connector) = device("vsock", CID, &registry).unwrap();
        let mut guest = Self {
            to_guest: Driver::new(&memory, 0, 128),
            from_guest: Driver::new(&memory, 0x1_0000, 128),
            event: Driver::new(&memory, 0x2_0000, 128),
            device,
            connector,
            registry,
            slots: (0..buffers).map(|slot| RX + slot * 0x2000).collect(),
            heads: BTreeMap::new(),
        };
        guest.refill();
        let (session, _) = session(&[&guest.to_guest, &guest.from_guest, &guest.event], 0);
        guest.device.control.start(session);
        guest
    }

    fn refill(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            let head = self.to_guest.offer(&[Piece::In(slot, 44), Piece::In(slot + 44, RX_LEN - 44)]);
            self.heads.insert(head, slot);
        }
        self.device.notify[TO_GUEST].write(1).unwrap();
    }

    fn connect(&self) -> UnixStream {
        let (host, other) = UnixStream::pair().unwrap();
        self.connector.connect(PORT, other.into()).unwrap();
        host
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        self.from_guest.write(TX, &header.encode());
        self.from_guest.write(TX + 64, data);
        let mut pieces = vec![Piece::Out(TX, 44)];
        if !data.is_empty() {
            pieces.push(Piece::Out(TX + 64, data.len() as u32));
        }
        self.from_guest.offer(&pieces);
        self.device.notify[FROM_GUEST].write(1).unwrap();
        self.from_guest.wait_used(1);
    }

    fn packets(&mut self, least: usize) -> Vec<(Header, Vec<u8>)> {
        let used = self.to_guest.wait_used(least);
        let packets = used.iter().map(|(head, len)| {
            let slot = self.heads.remove(head).unwrap();
            self.slots.push(slot);
            let bytes = self.to_guest.read(slot, *len as usize);
            (Header::decode(bytes[..44].try_into().unwrap()).unwrap(), bytes[44..].to_vec())
        });
        let packets = packets.collect();
        self.refill();
        packets
    }

    fn one(&mut self) -> (Header, Vec<u8>) {
        let mut packets = self.packets(1);
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.pop().unwrap()
    }

    fn quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(30));
        assert!(self.to_guest.used().is_empty());
    }

    fn reply(request: &Header, op: Op) -> Header {
        Header { op, buffer: 1000, kind: TYPE_STREAM, ..request.refusal() }
    }

    /// Connects and accepts; the header is the request as the guest saw it.
    fn open(&mut self) -> (UnixStream, Header) {
        let host = self.connect();
        let (request, _) = self.one();
        assert_eq!(
            (request.op, request.to_port, request.from_cid, request.to_cid),
            (Op::Request, PORT, 2, 7)
        );
        self.send(Self::reply(&request, Op::Response), b"");
        (host, request)
    }

    fn counter(&self, name: &str) -> u64 {
        self.registry.snapshot().into_iter().find(|(n, _)| n == &format!("vsock.{name}")).unwrap().1
    }
}

#[test]
fn data_flows_both_ways() {
    let mut guest = Guest::new(8);
    let (mut host, request) = guest.open();
    host.write_all(b"hello guest").unwrap();
    let (header, data) = guest.one();
    assert_eq!((header.op, header.len, &data[..]), (Op::Data, 11, &b"hello guest"[..]));
    let answer = Header { len: 10, ..Guest::reply(&request, Op::Data) };
    guest.send(answer, b"hello host");
    let mut bytes = [0; 10];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello host");
    guest.send(Guest::reply(&request, Op::CreditRequest), b"");
    let (update, _) = guest.one();
    assert_eq!((update.op, update.forwarded, update.buffer), (Op::CreditUpdate, 10, BUFFER));
}

#[test]
fn connections_do_not_mix() {
    let mut guest = Guest::new(16);
    let mut ends: Vec<_> = (0..5).map(|_| guest.open()).collect();
    for (index, (host, _)) in ends.iter_mut().enumerate() {
        host.write_all(&[index as u8; 3]).unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.extend(guest.packets(1));
    }
    for (header, data) in seen {
        let index = ends.iter().position(|(_, request)| request.from_port == header.from_port).unwrap();
        assert_eq!(data, [index as u8; 3]);
    }
}

#[test]
fn guest_is_never_sent_more_than_it_has_room_for() {
    let mut guest = Guest::new(8);
    let (mut host, request) = guest.open();
    host.write_all(&[5; 2500]).unwrap();
    assert_eq!(guest.one().1.len(), 1000);
    guest.quiet();
    guest.send(Header { forwarded: 600, ..Guest::reply(&request, Op::CreditUpdate) }, b"");
    assert_eq!(guest.one().1.len(), 600);
    guest.quiet();
    // A claim to have taken more than was sent gives no credit.
    guest.send(Header { forwarded: 90_000, ..Guest::reply(&request, Op::CreditUpdate) }, b"");
    guest.quiet();
}

#[test]
fn guest_that_ignores_our_room_is_reset() {
    let mut guest = Guest::new(8);
    let (host, request) = guest.open();
    let data = vec![1; 60_000];
    let packet = Header { len: 60_000, ..Guest::reply(&request, Op::Data) };
    // The host does not read: the socket's own buffer and ours fill up.
    for _ in 0..40 {
        guest.send(packet, &data);
        if guest.counter("violations") > 0 {
            break;
        }
    }
    wait_until("violations", || guest.counter("violations") == 1);
    let packets = guest.packets(1);
    assert!(packets.iter().any(|(header, _)| header.op == Op::Reset), "{packets:?}");
    drop(host);
}

#[test]
fn credit_is_given_back_as_the_host_reads() {
    let mut guest = Guest::new(8);
    let (mut host, request) = guest.open();
    host.set_nonblocking(false).unwrap();
    let reader = std::thread::spawn(move || {
        let mut total = vec![0; 1_000_000];
        host.read_exact(&mut total).unwrap();
        (host, total)
    });
    let (mut sent, mut taken) = (0u32, 0u32);
    while sent < 1_000_000 {
        let len = (1_000_000 - sent).min(50_000).min(BUFFER - (sent - taken));
        if len > 0 {
            let data: Vec<u8> = (sent..sent + len).map(|i| (i % 251) as u8).collect();
            guest.send(Header { len, ..Guest::reply(&request, Op::Data) }, &data);
            sent += len;
        }
        if BUFFER - (sent - taken) == 0 || len == 0 {
            taken = guest.packets(1).last().unwrap().0.forwarded;
        }
    }
    let (_host, total) = reader.join().unwrap();
    assert!(total.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
    assert_eq!(guest.counter("violations"), 0);
}

#[test]
fn guest_may_not_connect() {
    let mut guest = Guest::new(8);
    let request = Header {
        from_cid: 7,
        to_cid: 2,
        from_port: 99,
        to_port: 22,
        len: 0,
        kind: TYPE_STREAM,
        op: Op::Request,
        flags: 0,
        buffer: 1000,
        forwarded: 0,
    };
    guest.send(request, b"");
    assert_eq!(guest.one().0, request.refusal());
    wait_until("refused", || guest.counter("refused_from_guest") == 1);
    // Someone else's address, and a reset for nobody: no answer.
    guest.send(Header { from_cid: 8, ..request }, b"");
    guest.send(Header { to_cid: 3, ..request }, b"");
    guest.send(Header { op: Op::Reset, ..request }, b"");
    guest.quiet();
    wait_until("malformed", || guest.counter("malformed") == 2);
}

#[test]
fn refusals_are_bounded_by_what_the_guest_takes() {
    let mut guest = Guest::new(0);
    let mut bytes = [0; 44];
    bytes[0] = 7;
    bytes[8] = 2;
    bytes[28] = 1;
    bytes[30] = 1;
    guest.from_guest.write(TX, &bytes);
    for _ in 0..100 {
        guest.from_guest.offer(&[Piece::Out(TX, 44)]);
    }
    guest.device.notify[FROM_GUEST].write(1).unwrap();
    assert_eq!(guest.from_guest.wait_used(MAX_REPLIES).len(), MAX_REPLIES);
    std::thread::sleep(Duration::from_millis(30));
    assert!(guest.from_guest.used().is_empty());
    guest.slots = (0..60).map(|slot| RX + slot * 0x2000).collect();
    guest.refill();
    assert_eq!(guest.from_guest.wait_used(36).len(), 36);
}

#[test]
fn refusal_by_the_guest_closes_the_stream() {
    let mut guest = Guest::new(8);
    let mut host = guest.connect();
    let (request, _) = guest.one();
    guest.send(Guest::reply(&request, Op::Reset), b"");
    assert_eq!(host.read(&mut [0; 8]).unwrap(), 0);
    guest.quiet();
}

#[test]
fn half_closed_by_the_host_still_receives() {
    let mut guest = Guest::new(8);
    let (mut host, request) = guest.open();
    host.write_all(b"last words").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    let mut packets = guest.packets(1);
    while packets.len() < 2 {
        packets.extend(guest.packets(1));
    }
    assert_eq!(packets[0].1, b"last words");
    assert_eq!((packets[1].0.op, packets[1].0.flags), (Op::Shutdown, NO_SEND));
    guest.send(Header { len: 6, ..Guest::reply(&request, Op::Data) }, b"answer");
    guest.send(Header { flags: NO_SEND | NO_RECEIVE, ..Guest::reply(&request, Op::Shutdown) }, b"");
    let mut text = String::new();
    host.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
    assert_eq!(guest.one().0.op, Op::Reset);
}

#[test]
fn closed_host_is_told() {
    let mut guest = Guest::new(8);
    let (host, request) = guest.open();
    drop(host);
    let (header, _) = guest.one();
    assert_eq!((header.op, header.flags), (Op::Shutdown, NO_SEND | NO_RECEIVE));
    guest.send(Guest::reply(&request, Op::Reset), b"");
    guest.quiet();
    // A stream that closes before the guest answered.
    let host = guest.connect();
    guest.one();
    drop(host);
    assert_eq!(guest.one().0.op, Op::Reset);
}

#[test]
fn connections_are_bounded_and_end_with_the_session() {
    let mut guest = Guest::new(100);
    let mut hosts: Vec<_> = (0..MAX_CONNECTIONS).map(|_| guest.connect()).collect();
    let (_spare, other) = UnixStream::pair().unwrap();
    assert_eq!(guest.connector.connect(PORT, other.into()), Err(CannotConnect::TooMany));
    let mut requests = 0;
    while requests < MAX_CONNECTIONS {
        requests += guest.packets(1).len();
    }
    guest.device.control.stop();
    assert_eq!(hosts[0].read(&mut [0; 1]).unwrap(), 0);
    let (_spare, other) = UnixStream::pair().unwrap();
    assert_eq!(guest.connector.connect(PORT, other.into()), Err(CannotConnect::NoDriver));
}

#[test]
fn short_receive_buffer_stops_the_device() {
    let memory = memory(0x40_0000);
    let (device, connector) = device("vsock", CID, &Registry::default()).unwrap();
    let mut to_guest = Driver::new(&memory, 0, 16);
    let (from_guest, event) = (Driver::new(&memory, 0x1_0000, 16), Driver::new(&memory, 0x2_0000, 16));
    to_guest.offer(&[Piece::In(RX, 43)]);
    let (session, signals) = session(&[&to_guest, &from_guest, &event], 0);
    device.control.start(session);
    let (_host, other) = UnixStream::pair().unwrap();
    connector.connect(PORT, other.into()).unwrap();
    wait_until("needs reset", || signals.needs_reset.load(Ordering::SeqCst) == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any sequence of packets for an open connection: the device answers a well-behaved one afterwards.
    #[test]
    fn survives_any_packets(packets in proptest::collection::vec(
        (0u16..9, 0u32..4, 0u32..200, any::<u32>(), any::<u32>(), any::<bool>()), 1..30)
    ) {
        let mut guest = Guest::new(100);
        let (_host, request) = guest.open();
        for (op, flags, len, buffer, forwarded, exact) in packets {
            let header = Header { flags, buffer, forwarded, len, ..Guest::reply(&request, Op::Data) };
            let mut bytes = header.encode();
            bytes[30] = op as u8;
            guest.from_guest.write(TX, &bytes);
            let have = if exact { len } else { len / 2 };
            guest.from_guest.offer(&[Piece::Out(TX, 44 + have)]);
            guest.device.notify[FROM_GUEST].write(1).unwrap();
            guest.from_guest.wait_used(1);
            let done = guest.to_guest.used();
            for (head, _) in done {
                guest.slots.push(guest.heads.remove(&head).unwrap());
            }
            guest.refill();
        }
        let _second = guest.connect();
        let mut requests = Vec::new();
        while !requests.iter().any(|(header, _): &(Header, Vec<u8>)| header.op == Op::Request) {
            requests = guest.packets(1);
        }
    }
}
