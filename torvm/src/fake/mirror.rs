//! The networks folded back: what leaves on the uplink arrives as a client's, and the other way round. So the program
//! can talk to itself, as over the loopback interface, through the whole of both stacks.

#![cfg_attr(
    not(test),
    expect(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::panic,
        reason = "for tests, which are to notice what the networks never send"
    )
)]

use crate::frames::{Frames, PortFault};
use crate::net::{Net, UPLINK};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use control::message::Client;
use core::cell::RefCell;
use core::net::Ipv4Addr;
use link::Meta;

const CLIENT: u8 = 2;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Where the program connects to; it arrives at its own listeners.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 137, 2, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 137, 2, 1);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CLIENT_MAC: [u8; 6] = [2, 0x62, 0x6b, 0, 0, CLIENT];
const GATEWAY_MAC: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

#[derive(Debug, Default)]
struct Queues {
    to_net: VecDeque<Vec<u8>>,
    from_net: VecDeque<Vec<u8>>,
}

/// The far end of a port.
#[derive(Clone, Debug, Default)]
pub struct End(Rc<RefCell<Queues>>);

impl End {
    /// Puts a frame of the far end's on the link.
    pub fn give(&self, frame: Vec<u8>) {
        self.0.borrow_mut().to_net.push_back(frame);
    }

    /// Takes the frames that the far end was sent.
    #[must_use]
    pub fn told(&self) -> Vec<Vec<u8>> {
        self.0.borrow_mut().from_net.drain(..).collect()
    }
}

impl Frames for End {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        Ok(self.0.borrow_mut().to_net.pop_front().map(|frame| {
            buffer[..frame.len()].copy_from_slice(&frame);
            (Meta::default(), frame.len())
        }))
    }

    fn send(&mut self, _: &Meta, frame: &[u8]) -> bool {
        self.0.borrow_mut().from_net.push_back(frame.to_vec());
        true
    }

    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn flush(&mut self) {}

    fn finishes_checksums(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        self.0.borrow().to_net.is_empty()
    }
}

/// What stands behind both ports.
#[derive(Debug)]
pub struct Mirror {
    uplink: End,
    client: End,
}

impl Mirror {
    /// The networks, with the mirror behind them.
    #[must_use]
    pub fn new() -> (Self, Net<End>) {
        let mirror = Self { uplink: End::default(), client: End::default() };
        let mut net = Net::new([3, 4]);
        let client = Client {
            name: "self".try_into().unwrap(),
            mac: CLIENT_MAC,
            v4: CLIENT_ADDRESS,
            v4_gateway: GATEWAY,
            v4_prefix: 24,
            v6_prefix: None,
            mtu: 1500,
        };
        assert!(net.set_uplink(&Client { mac: OUR_MAC, v4: OURS, v4_gateway: FAR, ..client.clone() }));
        assert!(net.set_client(CLIENT, &client));
        assert!(net.attach(UPLINK, mirror.uplink.clone()));
        assert!(net.attach(CLIENT, mirror.client.clone()));
        (mirror, net)
    }

    /// Lets everything arrive that is under way.
    pub fn settle(&self, net: &mut Net<End>, now_us: u64) {
        for _ in 0..100_000 {
            let worked = net.poll(now_us);
            let (out, back) = (self.uplink.told(), self.client.told());
            if !worked && out.is_empty() && back.is_empty() && net.arm() {
                return;
            }
            for frame in out {
                let turned = turn(frame, FAR_MAC, (CLIENT_ADDRESS, GATEWAY), (CLIENT_MAC, GATEWAY_MAC));
                self.deliver(turned, &self.uplink, &self.client);
            }
            for frame in back {
                let turned = turn(frame, CLIENT_MAC, (FAR, OURS), (FAR_MAC, OUR_MAC));
                self.deliver(turned, &self.client, &self.uplink);
            }
        }
        panic!("the networks never rest");
    }

    fn deliver(&self, turned: Turned, from: &End, to: &End) {
        match turned {
            Turned::Answer(frame) => from.give(frame),
            Turned::Across(frame) => to.give(frame),
            Turned::Nothing => {}
        }
    }
}

enum Turned {
    /// To who asked.
    Answer(Vec<u8>),
    /// To the other port.
    Across(Vec<u8>),
    Nothing,
}

/// Answers an ARP question as `mac`; gives a TCP segment other addresses (source, destination).
fn turn(
    mut frame: Vec<u8>,
    mac: [u8; 6],
    addresses: (Ipv4Addr, Ipv4Addr),
    macs: ([u8; 6], [u8; 6]),
) -> Turned {
    match (&frame[12..14], frame.get(21), frame.get(23)) {
        ([8, 6], Some(1), _) => {
            let (asker, target) = (frame[22..32].to_vec(), frame[38..42].to_vec());
            let mut answer = [&asker[..6], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac].concat();
            answer.extend([&target[..], &asker].concat());
            Turned::Answer(answer)
        }
        ([8, 0], _, Some(6)) => {
            frame[..6].copy_from_slice(&macs.1);
            frame[6..12].copy_from_slice(&macs.0);
            frame[26..30].copy_from_slice(&addresses.0.octets());
            frame[30..34].copy_from_slice(&addresses.1.octets());
            let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            frame.truncate(end);
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum);
            frame[50..52].fill(0);
            let len = u16::try_from(end - 34).unwrap().to_be_bytes();
            let sum = checksum(&[&frame[26..34], &[0, 6], &len, &frame[34..]]);
            frame[50..52].copy_from_slice(&sum);
            Turned::Across(frame)
        }
        _ => Turned::Nothing,
    }
}

/// The Internet checksum (RFC 1071) over parts of even length, the last one aside.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
