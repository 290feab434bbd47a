//! The chain as an ordinary process: firewallvm and netvm, each as it is in its domain, between three tap devices of
//! this network namespace. For suites that speak to a packet filter over the wire (`cargo xtask suites`).
//!
//! `firewall_on_taps CLIENT_A CLIENT_B UPLINK` says "ready" once packets pass, and ends when its standard input does;
//! then it says what was dropped and why. Client A is 10.137.0.6 with fd09:24ef:4179:1::/64, client B 10.137.0.10
//! with fd09:24ef:4179:2::/64; the uplink is 192.0.2.50 and 2001:db8:7::50, its router ends in 1. Rules: everything
//! may leave.

#[path = "../tests/suites/accept_all.rs"]
mod accept_all;

use abi::link_device::Role;
use control::{
    codec,
    message::{Client, Nic as NicConfig, ToFirewall, ToNet, V4, V4Config, V6, V6Config},
};
use firewallvm::{Firewall, Next, state::Setup};
use link::{Geometry, Kind, Link, MAX_PAYLOAD, Meta, host, host::CountBell};
use netvm::{
    Netvm, Progress,
    fake::{Card, Wire as CardWire},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::io::{self, IoSlice, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

/// The virtio header before each frame of a tap; all zero, as nothing is offloaded.
const HEADER: [u8; 10] = [0; 10];
/// Frames taken from a tap in one round.
const BURST: usize = 64;
/// The longest sleep, in microseconds.
const NAP_US: u64 = 1_000_000;
const CARD: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const FIRST_CLIENT: u8 = 2;

struct Tap(OwnedFd);

impl Tap {
    fn open(name: &str) -> Result<Self, String> {
        dom0::tap::open(name).map(Self).map_err(|problem| format!("{problem:?}"))
    }

    /// Reads one frame; `None` when there is none.
    fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let len = rustix::io::read(&self.0, &mut *buffer).ok()?;
        buffer.get(HEADER.len()..len)
    }

    /// Writes one frame; a full queue drops it, as a network card does.
    fn write(&self, frame: &[u8]) {
        let _ = rustix::io::writev(&self.0, &[IoSlice::new(&HEADER), IoSlice::new(frame)]);
    }
}

/// netvm's end of the uplink's tap. Whoever sleeps watches the tap itself.
struct Uplink(Rc<Tap>, Vec<u8>);

impl CardWire for Uplink {
    fn take(&mut self, sink: impl FnOnce(&[u8])) -> bool {
        self.0.read(&mut self.1).map(sink).is_some()
    }

    fn put(&mut self, frame: &[u8]) {
        self.0.write(frame);
    }
}

/// A client's tap and the far end of its link.
struct Wire {
    tap: Tap,
    link: Link<CountBell>,
}

impl Wire {
    /// Carries frames both ways; `true` if there were any.
    fn carry(&mut self, buffer: &mut [u8]) -> bool {
        let mut any = false;
        for _ in 0..BURST {
            if !self.link.has_room(MAX_PAYLOAD) {
                break;
            }
            let Some(frame) = self.tap.read(buffer) else { break };
            any |= self.link.send(&Meta::default(), &[frame]).is_ok();
        }
        self.link.publish();
        while let Ok(Some((meta, len))) = self.link.recv(buffer) {
            any = true;
            // Nothing behind a tap leaves work to others, so nothing comes with work left.
            if meta.kind == Kind::Frame && meta.gso.is_none() {
                self.tap.write(&buffer[..len]);
            }
        }
        self.link.release();
        any
    }
}

struct Chain {
    firewall: Firewall<CountBell>,
    netvm: Netvm<Card<Uplink>, CountBell>,
    firewalls_dom0: Link<CountBell>,
    netvms_dom0: Link<CountBell>,
    wires: Vec<Wire>,
    uplink: Rc<Tap>,
    begin: Instant,
    buffer: Vec<u8>,
}

fn pair() -> Result<(Link<CountBell>, Link<CountBell>), String> {
    host::pair(Geometry::DEFAULT, 1).map_err(|error| format!("{error:?}"))
}

fn tell<T: serde::Serialize>(link: &mut Link<CountBell>, message: &T) -> Result<(), String> {
    let mut buffer = [0; codec::MAX_LEN];
    let bytes = codec::encode(message, &mut buffer).map_err(|error| format!("{error:?}"))?;
    link.send(&Meta::MESSAGE, &[bytes]).map_err(|error| format!("{error:?}"))?;
    link.publish();
    Ok(())
}

impl Chain {
    fn new(names: &[String; 3]) -> Result<Self, String> {
        let [a, b, uplink] = names;
        let mut seed = [0; 64];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| e.to_string())?;
        let setup = Setup { v4_flows: 16_384, v6_flows: 4_096, seed };
        let mut firewall = Firewall::new(&setup).map_err(|error| error.to_string())?;
        let mut attach = |port, role| {
            let (near, far) = pair()?;
            firewall.attach(port, role, near);
            Ok::<_, String>(far)
        };
        let firewalls_dom0 = attach(0, Role::Dom0)?;
        let up = attach(1, Role::Upstream)?;
        let mut wires = Vec::new();
        for (port, name) in (FIRST_CLIENT..).zip([a, b]) {
            wires.push(Wire { tap: Tap::open(name)?, link: attach(port, Role::Downstream)? });
        }
        let uplink = Rc::new(Tap::open(uplink)?);
        let wire = Uplink(Rc::clone(&uplink), vec![0; HEADER.len() + MAX_PAYLOAD]);
        let [low, ..] = seed;
        let mut netvm =
            Netvm::new(Card { mac: CARD, wire }, u64::from(low)).map_err(|error| error.to_string())?;
        netvm.attach_firewall(1, up);
        let (near, netvms_dom0) = pair()?;
        netvm.attach_dom0(0, near);
        let buffer = vec![0; HEADER.len() + MAX_PAYLOAD];
        Ok(Self {
            firewall,
            netvm,
            firewalls_dom0,
            netvms_dom0,
            wires,
            uplink,
            begin: Instant::now(),
            buffer,
        })
    }

    /// What bulkheadd says to both domains.
    fn describe(&mut self) -> Result<(), String> {
        for (n, name) in ["work", "personal"].into_iter().enumerate() {
            let n = u8::try_from(n).map_err(|e| e.to_string())?;
            let port = FIRST_CLIENT + n;
            let client = Client {
                name: name.try_into().map_err(|_| "a name too long".to_owned())?,
                mac: [2, 0x62, 0x6B, 0, 0, n + 1],
                v4: Ipv4Addr::new(10, 137, 0, 6 + 4 * n),
                v4_gateway: Ipv4Addr::new(10, 137, 0, 5 + 4 * n),
                v4_prefix: 30,
                v6_prefix: Some(Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, u16::from(n) + 1, 0, 0, 0, 0)),
                mtu: 1500,
            };
            tell(&mut self.firewalls_dom0, &ToFirewall::Client { port, client })?;
            for message in accept_all::messages(port) {
                tell(&mut self.firewalls_dom0, &message)?;
            }
        }
        let router4 = Ipv4Addr::new(192, 0, 2, 1);
        let router6 = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1);
        let v4 = V4 {
            address: Ipv4Addr::new(192, 0, 2, 50),
            prefix: 24,
            gateway: Some(router4),
            dns: [router4].into_iter().collect(),
        };
        let v6 = V6 {
            address: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x50),
            prefix: 64,
            gateway: Some(router6),
            dns: [router6].into_iter().collect(),
        };
        let config = NicConfig { v4: V4Config::Static(v4), v6: V6Config::Static(v6) };
        tell(&mut self.netvms_dom0, &ToNet::Nic(config))
    }

    /// Serves everything once; gives when something is due if there is nothing to do now.
    fn round(&mut self) -> Result<Option<u64>, String> {
        let now_us = u64::try_from(self.begin.elapsed().as_micros()).map_err(|e| e.to_string())? + 1;
        let mut any = self.wires.iter_mut().fold(false, |any, wire| wire.carry(&mut self.buffer) | any);
        let next = self.firewall.poll(now_us);
        let progress = self.netvm.step(now_us).map_err(|error| error.to_string())?;
        for link in [&mut self.firewalls_dom0, &mut self.netvms_dom0] {
            while let Ok(Some(_)) = link.recv(&mut self.buffer) {
                any = true;
            }
            link.release();
        }
        match (next, progress) {
            (Next::Idle { until_us }, Progress::Idle { until_us: netvm }) if !any => {
                let due = until_us.unwrap_or(u64::MAX).min(netvm);
                Ok(Some(due.saturating_sub(now_us).min(NAP_US)))
            }
            (Next::Stop, _) | (_, Progress::Stop) => Err("asked to stop".to_owned()),
            _ => Ok(None),
        }
    }

    /// Sleeps until a tap has a frame or the time is over; `false` when standard input has ended.
    fn sleep(&self, us: u64) -> bool {
        let stdin = io::stdin();
        let taps = self.wires.iter().map(|wire| &wire.tap.0).chain([&self.uplink.0]);
        let mut watched: Vec<_> = taps.map(|tap| PollFd::new(tap, PollFlags::IN)).collect();
        watched.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        let seconds = i64::try_from(us / 1_000_000).unwrap_or(1);
        let nanoseconds = i64::try_from(us % 1_000_000).unwrap_or(0) * 1000;
        let timeout = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let _ = poll(&mut watched, Some(&timeout));
        watched.last().is_none_or(|stdin| stdin.revents().is_empty())
    }

    fn run(&mut self) -> Result<(), String> {
        let mut ready = false;
        loop {
            let Some(us) = self.round()? else { continue };
            let core = self.firewall.core();
            if !ready && core.v4.address.is_some() && core.v6.address.is_some() {
                ready = true;
                println!("ready");
                io::stdout().flush().map_err(|error| error.to_string())?;
            }
            if !self.sleep(us) {
                return Ok(());
            }
        }
    }
}

fn run() -> Result<(), String> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let names: [String; 3] =
        names.try_into().map_err(|_| "usage: firewall_on_taps CLIENT_A CLIENT_B UPLINK".to_owned())?;
    let mut chain = Chain::new(&names)?;
    chain.describe()?;
    chain.run()?;
    for (name, count) in chain.firewall.core().drops.iter().filter(|(_, count)| *count > 0) {
        println!("{name} {count}");
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("firewall_on_taps: {why}");
            ExitCode::FAILURE
        }
    }
}
