//! The firewall between two clients and a network that the test holds, on links in memory. Whatever leaves it is
//! checked by [`crate::audit`].

use crate::{accept_all, audit, build::Path, build::frame};
use abi::link_device::Role;
use control::{
    codec,
    message::{Client, NetToFirewall, ToFirewall, Uplink, V4, V6},
};
use firewallvm::{Firewall, Next, state::Setup};
use link::{Geometry, Kind, Link, MAX_PAYLOAD, Meta, host, host::CountBell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const CLIENTS: usize = 2;
pub(crate) const FIREWALL_MAC: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
pub(crate) const NIC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
pub(crate) const UPLINK4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const FAR4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const UPSTREAM: u8 = 1;
const FIRST_CLIENT: u8 = 2;

pub(crate) fn client_mac(n: usize) -> [u8; 6] {
    [2, 0x62, 0x6B, 0, 0, u8::try_from(n + 1).expect("few clients")]
}
pub(crate) fn client4(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0A89_0006 + 4 * u32::try_from(n).expect("few clients"))
}
pub(crate) fn gateway4(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(client4(n).to_bits() - 1)
}
fn prefix6(n: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, u16::try_from(n + 1).expect("few clients"), 0, 0, 0, 0)
}
pub(crate) fn client6(n: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix6(n).to_bits() | 0x62_6BFF_FE00_0001)
}
pub(crate) fn gateway6(n: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix6(n).to_bits() | 1)
}
pub(crate) fn in_prefix(n: usize, address: Ipv6Addr) -> bool {
    address.to_bits() >> 64 == prefix6(n).to_bits() >> 64
}
pub(crate) fn uplink6() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x50)
}
pub(crate) fn far6() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9)
}

/// Both families' way from client `n` to the far host.
pub(crate) fn ways_out(n: usize) -> [Path; 2] {
    let four = Path { from: client4(n).into(), to: FAR4.into() };
    [four, Path { from: client6(n).into(), to: far6().into() }]
}

/// The same way as the network sees it.
pub(crate) fn outside(path: Path) -> Path {
    let from: IpAddr = if path.to.is_ipv4() { UPLINK4.into() } else { uplink6().into() };
    Path { from, to: path.to }
}

/// What came of a frame.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Frames to netvm.
    pub(crate) net: Vec<Vec<u8>>,
    /// Frames to each client.
    pub(crate) client: [Vec<Vec<u8>>; CLIENTS],
    /// Counters of drops that went up.
    pub(crate) drops: BTreeMap<&'static str, u64>,
}

impl Seen {
    /// Everything that left, to whomever.
    pub(crate) fn sent(&self) -> usize {
        self.net.len() + self.client.iter().map(Vec::len).sum::<usize>()
    }

    /// Nothing left, and this one reason counted it.
    #[track_caller]
    pub(crate) fn assert_dropped(&self, reason: &str) {
        assert!(self.sent() == 0 && self.drops == BTreeMap::from([(reason, 1)]), "not {reason}: {self:?}");
    }

    /// Nothing left and nothing was counted: it was meant for the firewall, or waits for more.
    #[track_caller]
    pub(crate) fn assert_absorbed(&self) {
        assert!(self.sent() == 0 && self.drops.is_empty(), "{self:?}");
    }
}

/// The firewall and the other ends of its links.
pub(crate) struct World {
    firewall: Firewall<CountBell>,
    dom0: Link<CountBell>,
    net: Link<CountBell>,
    clients: Vec<Link<CountBell>>,
    now_us: u64,
    buffer: Vec<u8>,
    /// Whether the test sends wrong transport checksums.
    pub(crate) careless: bool,
}

impl World {
    /// Two clients with rules that let everything out, and an uplink with both families.
    pub(crate) fn new() -> Self {
        let seed = std::array::from_fn(|i| u8::try_from(i).expect("64 bytes"));
        let mut firewall = Firewall::new(&Setup { v4_flows: 4096, v6_flows: 4096, seed }).expect("memory");
        let mut attach = |port, role| {
            let (near, far) = host::pair(Geometry::DEFAULT, 1).expect("a link");
            firewall.attach(port, role, near);
            far
        };
        let dom0 = attach(0, Role::Dom0);
        let net = attach(UPSTREAM, Role::Upstream);
        let clients =
            (0..CLIENTS).map(|n| attach(FIRST_CLIENT + u8::try_from(n).expect("few"), Role::Downstream));
        let clients = clients.collect();
        let (now_us, buffer) = (1_000_000, vec![0; MAX_PAYLOAD]);
        let mut world = Self { firewall, dom0, net, clients, now_us, buffer, careless: false };
        world.introduce();
        world.uplink(1500);
        world.collect();
        world
    }

    fn introduce(&mut self) {
        for n in 0..CLIENTS {
            let port = FIRST_CLIENT + u8::try_from(n).expect("few");
            let client = Client {
                name: ["work", "personal"][n].try_into().expect("a short name"),
                mac: client_mac(n),
                v4: client4(n),
                v4_gateway: gateway4(n),
                v4_prefix: 30,
                v6_prefix: Some(prefix6(n)),
                mtu: 1500,
            };
            self.tell(&ToFirewall::Client { port, client });
            accept_all::messages(port).iter().for_each(|message| self.tell(message));
        }
    }

    fn tell(&mut self, message: &ToFirewall) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).expect("a short message");
        self.dom0.send(&Meta::MESSAGE, &[bytes]).expect("room");
        self.dom0.publish();
        self.run();
    }

    /// netvm says what there is, with this MTU.
    pub(crate) fn uplink(&mut self, mtu: u16) {
        let v4 = V4 { address: UPLINK4, prefix: 24, gateway: None, dns: [FAR4].into_iter().collect() };
        let v6 = V6 { address: uplink6(), prefix: 64, gateway: None, dns: [far6()].into_iter().collect() };
        let uplink = Uplink { link_up: true, mac: NIC, mtu, v4: Some(v4), v6: Some(v6) };
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(&NetToFirewall::Uplink(uplink), &mut buffer).expect("a short message");
        self.net.send(&Meta::MESSAGE, &[bytes]).expect("room");
        self.net.publish();
        self.run();
        self.collect();
    }

    /// Polls until there is nothing to do.
    fn run(&mut self) {
        for _ in 0..100_000 {
            self.now_us += 5;
            if let Next::Idle { .. } = self.firewall.poll(self.now_us) {
                return;
            }
        }
        panic!("the firewall never sleeps");
    }

    /// Lets time pass; what the firewall says meanwhile is thrown away, drops that expiry counted are told.
    pub(crate) fn pass(&mut self, seconds: u64) -> Seen {
        let before = self.counters();
        for _ in 0..seconds {
            self.now_us += 1_000_000;
            self.run();
        }
        let mut seen = self.collect();
        seen.drops = self.since(&before);
        seen
    }

    /// Flows of both families.
    pub(crate) fn flows(&self) -> u32 {
        let core = self.firewall.core();
        core.v4.flows.len() + core.v6.flows.len()
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.firewall.core().drops.iter().collect()
    }

    fn since(&self, before: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let more = self.counters().into_iter().map(|(name, now)| (name, now - before[name]));
        more.filter(|(_, count)| *count > 0).collect()
    }

    /// Takes what left from the links, and audits it.
    fn collect(&mut self) -> Seen {
        let mut seen = Seen { net: drain(&mut self.net, &mut self.buffer), ..Seen::default() };
        for (n, client) in self.clients.iter_mut().enumerate() {
            seen.client[n] = drain(client, &mut self.buffer);
        }
        drain_messages(&mut self.dom0, &mut self.buffer);
        let to_net = seen.net.iter().map(|frame| (frame, audit::to_net(frame).map(Some)));
        let to_clients = seen.client.iter().enumerate();
        let to_clients =
            to_clients.flat_map(|(n, frames)| frames.iter().map(move |f| (f, audit::to_client(n, f))));
        for (frame, sound) in to_net.chain(to_clients) {
            match sound {
                Err(why) => panic!("{why}: {frame:02x?}"),
                // Who sends a wrong checksum through the firewall has it arrive wrong.
                Ok(Some(packet)) if !packet.summed && !self.careless => panic!("checksum: {frame:02x?}"),
                Ok(_) => {}
            }
        }
        seen
    }

    /// A frame of client `n`, byte for byte.
    pub(crate) fn frame_from_client(&mut self, n: usize, bytes: &[u8]) -> Seen {
        let before = self.counters();
        self.clients[n].send(&Meta::default(), &[bytes]).expect("room");
        self.clients[n].publish();
        self.run();
        let mut seen = self.collect();
        seen.drops = self.since(&before);
        seen
    }

    /// A frame of netvm, byte for byte.
    pub(crate) fn frame_from_net(&mut self, bytes: &[u8]) -> Seen {
        let before = self.counters();
        self.net.send(&Meta::default(), &[bytes]).expect("room");
        self.net.publish();
        self.run();
        let mut seen = self.collect();
        seen.drops = self.since(&before);
        seen
    }

    /// An IP packet of client `n`.
    pub(crate) fn client_sends(&mut self, n: usize, packet: &[u8]) -> Seen {
        self.frame_from_client(n, &frame(FIREWALL_MAC, client_mac(n), packet))
    }

    /// An IP packet of the network.
    pub(crate) fn net_sends(&mut self, packet: &[u8]) -> Seen {
        self.frame_from_net(&frame(FIREWALL_MAC, NIC, packet))
    }

    /// Has client 0 send a packet that passes; gives what the network sees of its transport.
    #[track_caller]
    pub(crate) fn out(&mut self, packet: &[u8]) -> audit::Sound {
        let seen = self.client_sends(0, packet);
        assert!(seen.net.len() == 1 && seen.drops.is_empty(), "{seen:?}");
        audit::to_net(&seen.net[0]).expect("audited")
    }

    /// Has the network send a packet that reaches client 0; gives what the client sees of its transport.
    #[track_caller]
    pub(crate) fn inward(&mut self, packet: &[u8]) -> audit::Sound {
        let seen = self.net_sends(packet);
        assert!(seen.client[0].len() == 1 && seen.drops.is_empty(), "{seen:?}");
        audit::to_client(0, &seen.client[0][0]).expect("audited").expect("an IP packet")
    }
}

fn drain(link: &mut Link<CountBell>, buffer: &mut [u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((meta, len)) = link.recv(buffer).expect("the firewall keeps the link's protocol") {
        assert_eq!(meta.kind, Kind::Frame);
        frames.push(buffer[..len].to_vec());
    }
    link.release();
    frames
}

fn drain_messages(link: &mut Link<CountBell>, buffer: &mut [u8]) {
    while link.recv(buffer).expect("the firewall keeps the link's protocol").is_some() {}
    link.release();
}
