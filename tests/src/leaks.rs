//! Judges what passed on a cable behind which only the Tor gateway may speak: every frame has to be explained, by a
//! connection to a relay or by the card's own bring-up. What cannot be read is a leak like any other.
//!
//! `docs/leaks.md` says what is allowed and what is not looked at; `tests/tests/tor_detector.rs` shows that each kind
//! of leak is noticed among ten thousand good frames.

mod arp;
pub mod capture;
mod dhcp;
mod discovery;
mod hexdump;
mod ipv4;
mod tcp;

use capture::Capture;
use pnet_packet::ethernet::{EtherTypes, EthernetPacket};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A hardware address.
pub type Mac = [u8; 6];

/// The longest frame, without its check sequence.
const LONGEST: usize = 1514;
/// The shortest frame on a real cable: what follows a packet up to here is padding.
const SHORTEST: usize = 60;
/// A secret shorter than this could occur in encrypted bytes by chance.
const SHORTEST_SECRET: usize = 6;

/// What a card says for itself before anything else can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BringUp {
    /// The address is fixed: ARP for the routers.
    Arp,
    /// netvm's: DHCP, ARP for the routers, router solicitation and neighbour discovery.
    Netvm,
}

/// A cable, and what may be on it.
#[derive(Clone, Debug)]
pub struct Cable {
    /// Hardware address of the card; whatever else sends must be a station.
    pub card: Mac,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Length of the segment's prefix.
    pub prefix: u8,
    /// Whom ARP may be asked for.
    pub routers: Vec<Ipv4Addr>,
    /// Hardware addresses of the outer network.
    pub stations: Vec<Mac>,
    /// Where connections may go: this address and this port, not one of them.
    pub relays: BTreeSet<SocketAddrV4>,
    /// Time to live of whatever the gateway sends; what an AppVM sent and somebody forwarded would have less.
    pub ttl: u8,
    /// Kinds of the TCP options in every SYN, in order: those of the gateway's stack.
    pub syn_options: &'static [u8],
    /// What the card says for itself.
    pub bring_up: BringUp,
    /// What must not occur anywhere: an AppVM's hardware address, host name, payload.
    pub secrets: Vec<Vec<u8>>,
}

/// The TCP options of a SYN by smoltcp: segment size, window scale, selective acknowledgements, end of list.
pub const SMOLTCP_SYN: &[u8] = &[2, 3, 4, 0];

/// Why a frame is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A connection to a relay.
    Relay(SocketAddrV4),
    /// ARP of the card or of the segment.
    Arp,
    /// The card's own DHCP.
    Dhcp,
    /// The card's own neighbour and router discovery.
    Discovery,
}

/// A frame that nothing explains.
#[derive(Clone, Debug)]
pub struct Leak {
    /// Which record of the capture, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub why: String,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// Every frame that nothing explains.
#[derive(Clone, Debug)]
pub struct Leaks {
    /// In the capture's order.
    pub found: Vec<Leak>,
    frames: usize,
}

/// What was on a cable without leaks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Frames in the capture.
    pub frames: usize,
    /// How many of them each cause explains.
    pub causes: BTreeMap<Cause, usize>,
    /// Connections opened to relays.
    pub connections: usize,
}

impl Report {
    /// Frames of connections to relays.
    #[must_use]
    pub fn relay_frames(&self) -> usize {
        self.causes.iter().filter(|(cause, _)| matches!(cause, Cause::Relay(_))).map(|(_, count)| count).sum()
    }

    /// The relays that were spoken to.
    #[must_use]
    pub fn relays(&self) -> BTreeSet<SocketAddrV4> {
        let relay = |cause: &Cause| if let Cause::Relay(relay) = cause { Some(*relay) } else { None };
        self.causes.keys().filter_map(relay).collect()
    }
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The card sent it.
    Out,
    /// The outer network sent it.
    In,
}

/// The outcome for one frame: what explains it, or what is wrong.
type Verdict = Result<Cause, String>;

impl Cable {
    /// Judges every frame of a capture.
    ///
    /// # Errors
    /// All the leaks, with the frames.
    ///
    /// # Panics
    /// When a secret is so short that it occurs by chance.
    pub fn judge(&self, capture: &Capture) -> Result<Report, Leaks> {
        assert!(self.secrets.iter().all(|secret| secret.len() >= SHORTEST_SECRET), "a secret is too short");
        let mut report = Report { frames: capture.records.len(), ..Report::default() };
        let mut found = Vec::new();
        let mut connections = tcp::Connections::default();
        for (index, record) in capture.records.iter().enumerate() {
            match self.explain(record, &mut connections) {
                Ok(cause) => *report.causes.entry(cause).or_default() += 1,
                Err(why) => found.push(Leak { index, why, frame: record.bytes.clone() }),
            }
        }
        if let Some(why) = &capture.damage {
            let (index, frame) = (capture.records.len(), capture.rest.clone());
            found.push(Leak { index, why: why.clone(), frame });
        }
        report.connections = connections.opened();
        if found.is_empty() { Ok(report) } else { Err(Leaks { found, frames: report.frames }) }
    }

    fn explain(&self, record: &capture::Record, connections: &mut tcp::Connections) -> Verdict {
        let bytes = &record.bytes;
        if record.length != bytes.len() {
            return Err(format!("truncated: {} of {} bytes", bytes.len(), record.length));
        }
        let frame = EthernetPacket::new(bytes).ok_or("no Ethernet header")?;
        if bytes.len() > LONGEST {
            return Err(format!("longer than a frame: {} bytes", bytes.len()));
        }
        if let Some(secret) = self.secrets.iter().find(|secret| contains(bytes, secret)) {
            return Err(format!("has a secret of an AppVM: {:?}", String::from_utf8_lossy(secret)));
        }
        let way = self.way(&frame)?;
        match frame.get_ethertype() {
            EtherTypes::Arp => arp::explain(self, way, bytes),
            EtherTypes::Ipv4 => ipv4::explain(self, way, bytes, connections),
            EtherTypes::Ipv6 if way == Way::Out && self.bring_up == BringUp::Arp => {
                Err("IPv6, where there is none".to_owned())
            }
            EtherTypes::Ipv6 => discovery::explain(self, way, bytes),
            other => Err(format!("unknown EtherType {:#06x}", other.0)),
        }
    }

    /// Who sent it, and whether the receiver exists.
    fn way(&self, frame: &EthernetPacket<'_>) -> Result<Way, String> {
        let (from, to) = (frame.get_source().octets(), frame.get_destination().octets());
        let group = to[0] & 1 == 1;
        if from == self.card {
            if !group && !self.stations.contains(&to) {
                return Err("sent to a hardware address that nobody has".to_owned());
            }
            Ok(Way::Out)
        } else if self.stations.contains(&from) {
            if !group && to != self.card {
                return Err("from outside, to somebody other than the card".to_owned());
            }
            Ok(Way::In)
        } else {
            Err("sent from a hardware address that is neither the card's nor the outer network's".to_owned())
        }
    }

    /// Whether an address is on the segment.
    fn is_near(&self, address: Ipv4Addr) -> bool {
        let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        (address.to_bits() ^ self.address.to_bits()) & !host == 0
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = what.first().and_then(|first| rest.iter().position(|byte| byte == first)) {
        if rest[at..].starts_with(what) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// What follows a packet in its frame: nothing, or zeros up to the shortest frame's length.
fn padding(frame: &[u8], end: usize) -> Result<(), String> {
    let rest = frame.get(end..).ok_or("the packet is longer than its frame")?;
    // QEMU's user network pads its own ARP answers to 64 bytes.
    if !rest.is_empty() && frame.len() > SHORTEST + 4 {
        return Err(format!("{} bytes after the packet", rest.len()));
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err("padding that is not zero".to_owned());
    }
    Ok(())
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} frames are leaks:", self.found.len(), self.frames)?;
        for leak in &self.found {
            writeln!(f, "frame {}: {}", leak.index, leak.why)?;
            hexdump::write(f, &leak.frame)?;
        }
        Ok(())
    }
}

impl std::error::Error for Leaks {}
