//! The fast lane against the long way: two firewalls, one with its lane closed, are sent the same bursts. What leaves
//! them, what they count and what they remember must be the same.
use super::world::*;
use crate::{flows::Flow, verdict::DropReason};
use control::message::{Uplink, V4};
use core::net::Ipv4Addr;
use link::{Csum, Gso, GsoKind, Meta};
use packet::checksum::Sum;
use proptest::prelude::*;

/// What a frame is made of.
#[derive(Clone, Debug)]
struct Sample {
    client: usize,
    port: u16,
    tcp: bool,
    dns: bool,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    payload: usize,
    meta: u8,
    change: Option<(usize, u8)>,
    mend: bool,
    cut: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// A client's packet.
    Out(Sample),
    /// An answer to the flow that such a packet of the client would belong to.
    In(Sample),
    /// The uplink's address and MTU, told in the middle of a burst.
    Uplink(u8, u16),
    /// Everything so far is one burst.
    Run,
    /// Rules have changed.
    NewRules,
    Wait(u64),
}

fn sample() -> impl Strategy<Value = Sample> {
    let flags = prop_oneof![6 => Just(0x10u8), 2 => Just(0x18), 2 => Just(2), 1 => Just(0x12), 1 => Just(0x11),
            1 => Just(4), 1 => Just(0x14), 1 => any::<u8>()];
    let number = || prop_oneof![4 => 0u32..4, 2 => 0u32..3000, 1 => any::<u32>()];
    let change = prop_oneof![5 => Just(None), 2 => (0usize..56, any::<u8>()).prop_map(Some),
        1 => (20usize..24, prop_oneof![Just(0u8), Just(1), Just(2), Just(0x20)]).prop_map(Some)];
    let payload = prop_oneof![4 => 0usize..40, 1 => 500usize..1500];
    let who = (0usize..2, 5000u16..5003, any::<bool>(), proptest::bool::weighted(0.2));
    let what = (flags, number(), number(), prop_oneof![Just(1000u16), any::<u16>()], payload);
    let how = (
        prop_oneof![5 => Just(0u8), 3 => 1u8..8],
        change,
        any::<bool>(),
        prop_oneof![9 => Just(0), 1 => 1usize..30],
    );
    (who, what, how).prop_map(
        |(
            (client, port, tcp, dns),
            (flags, sequence, acknowledgement, window, payload),
            (meta, change, mend, cut),
        )| {
            Sample {
                client,
                port,
                tcp,
                dns,
                flags,
                sequence,
                acknowledgement,
                window,
                payload,
                meta,
                change,
                mend,
                cut,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => sample().prop_map(Step::Out),
        8 => sample().prop_map(Step::In),
        4 => Just(Step::Run),
        2 => (prop_oneof![4 => Just(0u8), 1 => 1u8..3], prop_oneof![Just(1500u16), 600u16..1500]).prop_map(|(a, mtu)| Step::Uplink(a, mtu)),
        1 => Just(Step::NewRules),
        1 => (1u64..200).prop_map(Step::Wait),
    ]
}

impl Sample {
    fn destination(&self) -> (Ipv4Addr, u16) {
        if self.dns { (Ipv4Addr::new(10, 139, 1, 1), 53) } else { (SERVER4, 443) }
    }

    fn frame(&self, path: Path, from: [u8; 6], ports: (u16, u16)) -> Vec<u8> {
        let data = vec![0x5A; self.payload];
        let mut frame = if self.tcp {
            let numbers = (self.sequence, self.acknowledgement);
            path.tcp(from, ports, self.flags, numbers, self.window, &data)
        } else {
            path.udp(from, ports, &data)
        };
        if let Some((at, value)) = self.change
            && at < frame.len()
        {
            frame[at] = value;
        }
        if self.mend {
            frame[24..26].fill(0);
            let sum = Sum::new().bytes(&frame[14..34]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame.truncate(frame.len() - self.cut.min(frame.len() - 15));
        frame
    }

    fn meta(&self, len: usize) -> Meta {
        let right = if self.tcp { 16 } else { 6 };
        let partial = |start, offset| Csum::Partial { start, offset };
        let gso = Gso { kind: if self.tcp { GsoKind::Tcp4 } else { GsoKind::Udp }, size: 10, header_len: 42 };
        let meta = match self.meta {
            1 | 2 => Meta { csum: partial(34, right), ..Meta::default() },
            3 => Meta { csum: partial(34, 8), ..Meta::default() },
            4 => Meta { csum: partial(14, right), ..Meta::default() },
            5 | 6 => Meta { csum: Csum::Verified, ..Meta::default() },
            7 => Meta { csum: partial(34, right), gso: Some(gso), ..Meta::default() },
            _ => Meta::default(),
        };
        // The link refuses metadata that points outside of the frame.
        if len < 60 { Meta::default() } else { meta }
    }
}

fn flows(w: &World) -> Vec<Flow<Ipv4Addr>> {
    let flows = &w.fw.core.v4.flows;
    (0..flows.capacity()).filter_map(|flow| flows.get(flow)).filter(|flow| flow.is_live()).copied().collect()
}

fn uplink_at(address: u8, mtu: u16) -> Uplink {
    let v4 = V4 { address: Ipv4Addr::new(192, 168, 7, 20 + address), ..uplink().v4.unwrap() };
    Uplink { mtu, v4: (address != 2).then_some(v4), ..uplink() }
}

/// Does one step with both firewalls; what it needs to know of flows it takes from the first.
fn take(worlds: &mut [World; 2], step: &Step) {
    let address = worlds[0].fw.core.v4.address.unwrap_or(UPLINK4);
    let known = flows(&worlds[0]);
    for w in worlds {
        match step {
            Step::Out(s) => {
                let (to, port) = s.destination();
                let frame = s.frame(Path::Four(client4(s.client), to), mac(s.client), (s.port, port));
                let link = &mut w.clients[s.client];
                link.send(&s.meta(frame.len()), &[&frame]).unwrap();
                link.publish();
            }
            Step::In(s) => {
                let (_, remote_port) = s.destination();
                let protocol = if s.tcp { 6 } else { 17 };
                let flow = known.iter().find(|flow| {
                    (flow.client_port, flow.protocol, flow.remote_port) == (s.port, protocol, remote_port)
                });
                let (from, to) = flow.map_or((SERVER4, 1024), |flow| (flow.remote, flow.nat_port));
                let frame = s.frame(Path::Four(from, address), NIC, (remote_port, to));
                w.net.send(&s.meta(frame.len()), &[&frame]).unwrap();
                w.net.publish();
            }
            Step::Uplink(address, mtu) => {
                let mut buffer = [0; 512];
                let message = control::message::NetToFirewall::Uplink(uplink_at(*address, *mtu));
                let bytes = control::codec::encode(&message, &mut buffer).unwrap();
                w.net.send(&Meta::MESSAGE, &[bytes]).unwrap();
                w.net.publish();
            }
            Step::Run => w.run(),
            Step::NewRules => w.fw.core.common.generation += 1,
            Step::Wait(seconds) => w.wait(*seconds),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 20_000 }))]

    #[test]
    fn the_fast_lane_does_what_the_long_way_does(steps in proptest::collection::vec(step(), 1..60)) {
        let mut worlds = [World::with_flows(2, 256), World::with_flows(2, 256)];
        worlds[1].fw.close_lane();
        for step in steps.iter().chain([&Step::Run]) {
            take(&mut worlds, step);
            let [fast, long] = &mut worlds;
            prop_assert_eq!(fast.at_net(), long.at_net());
            for n in 0..2 {
                prop_assert_eq!(fast.at_client(n), long.at_client(n));
            }
            let drops = |w: &World| DropReason::ALL.iter().map(|r| (*r, w.drops(*r))).collect::<Vec<_>>();
            prop_assert_eq!(drops(fast), drops(long));
            prop_assert_eq!(format!("{:?}", flows(fast)), format!("{:?}", flows(long)));
        }
    }
}

/// The lane is in use at all: a plain packet of a known flow does not go the long way.
#[test]
fn the_lane_is_taken() {
    let mut w = World::new(1);
    let frame = to_server(false, 0).udp(mac(0), (5000, 443), b"x");
    let long_before = w.fw.long_way();
    w.out(0, &frame);
    assert_eq!(w.fw.long_way(), long_before + 1);
    w.out(0, &frame);
    assert_eq!(w.fw.long_way(), long_before + 1);
}
