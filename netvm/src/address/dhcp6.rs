//! DHCPv6 (RFC 8415), as far as a host with one address needs it: an address and name servers where the router
//! advertisement says "managed", name servers alone where it says "other".
//!
//! Written here because no maintained `no_std` client exists. Bounded like the rest: one exchange at a time, one
//! address, three servers, options walked once.

use crate::{
    address::{earlier, is_host_v6},
    firewall_to_nic::header,
    frames::Frame,
};
use core::net::Ipv6Addr;
use heapless::Vec;
use packet::{
    checksum::pseudo_v6,
    ethernet::{self, HEADER_LEN, Mac},
    ipv4::UDP,
    ipv6::{self, Ipv6},
    ndp,
    udp::{self, Udp},
};

const CLIENT: u16 = 546;
const SERVER: u16 = 547;
/// All DHCP relay agents and servers on the link (§7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;

const OPTION_CLIENT_ID: u16 = 1;
const OPTION_SERVER_ID: u16 = 2;
const OPTION_IA_NA: u16 = 3;
const OPTION_IA_ADDRESS: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const OPTION_ELAPSED: u16 = 8;
const OPTION_STATUS: u16 = 13;
const OPTION_DNS: u16 = 23;

/// Longest server identifier (§11.1).
const MAX_DUID: usize = 130;
/// Options looked at in one message.
const MAX_OPTIONS: usize = 32;
/// First wait for an answer, and the longest (§7.6: SOL_TIMEOUT and SOL_MAX_RT, the latter kept short).
const FIRST_WAIT_US: u64 = 1_000_000;
const LONGEST_WAIT_US: u64 = 120_000_000;
/// A lease is renewed no more often than this, and believed no longer than a week.
const SHORTEST_RENEWAL_US: u64 = 60_000_000;
const LONGEST_LEASE_US: u64 = 7 * 24 * 3600 * 1_000_000;
/// Name servers are asked for again after this long (§7.6: IRT_DEFAULT).
const REFRESH_US: u64 = 24 * 3600 * 1_000_000;

/// An address that a server gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv6Addr,
    pub(crate) valid_us: u64,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Dhcp6 {
    mac: Mac,
    random: u64,
    state: State,
    transaction: [u8; 3],
    wait_us: u64,
    /// When to send next.
    at_us: Option<u64>,
    server: Vec<u8, MAX_DUID>,
    address: Option<Ipv6Addr>,
    dns: Vec<Ipv6Addr, 3>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    /// Asks for name servers.
    Information,
    /// Looks for a server.
    Soliciting,
    /// Asks the server that it found.
    Requesting,
    /// Has an address; asks for more of it in time.
    Renewing,
}

impl State {
    /// What is sent in this state, and the answer that is waited for.
    const fn exchange(self) -> Option<(u8, u8)> {
        match self {
            Self::Stopped => None,
            Self::Information => Some((INFORMATION_REQUEST, REPLY)),
            Self::Soliciting => Some((SOLICIT, ADVERTISE)),
            Self::Requesting => Some((REQUEST, REPLY)),
            Self::Renewing => Some((RENEW, REPLY)),
        }
    }
}

impl Dhcp6 {
    pub(crate) fn new(mac: Mac, seed: u64) -> Self {
        Self {
            mac,
            random: seed | 1,
            state: State::Stopped,
            transaction: [0; 3],
            wait_us: FIRST_WAIT_US,
            at_us: None,
            server: Vec::new(),
            address: None,
            dns: Vec::new(),
        }
    }

    /// Wants an address, unless it is at that already.
    pub(crate) fn start_stateful(&mut self, now_us: u64) {
        if matches!(self.state, State::Stopped | State::Information) {
            self.enter(State::Soliciting, now_us);
        }
    }

    /// Wants name servers only.
    pub(crate) fn start_stateless(&mut self, now_us: u64) {
        if self.state == State::Stopped {
            self.enter(State::Information, now_us);
        }
    }

    /// Gives everything up.
    pub(crate) fn stop(&mut self) {
        (self.state, self.at_us, self.address) = (State::Stopped, None, None);
        self.dns.clear();
        self.server.clear();
    }

    /// Name servers, if a server named some.
    pub(crate) fn dns(&self) -> &[Ipv6Addr] {
        &self.dns
    }

    /// When there is something to send.
    pub(crate) fn next_us(&self) -> Option<u64> {
        earlier(self.at_us, None)
    }

    fn enter(&mut self, state: State, at_us: u64) {
        self.state = state;
        self.wait_us = FIRST_WAIT_US;
        self.at_us = Some(at_us);
        // xorshift: a transaction id has to be fresh and hard to guess from outside, not more (§16.1).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let [a, b, c, ..] = self.random.to_be_bytes();
        self.transaction = [a, b, c];
    }

    /// The message that is due now, as a frame.
    pub(crate) fn ask(&mut self, now_us: u64, us: Ipv6Addr) -> Option<Frame> {
        let (kind, _) = self.state.exchange()?;
        if self.at_us.is_none_or(|at| at > now_us) {
            return None;
        }
        let frame = self.message(kind, us);
        self.at_us = Some(now_us.saturating_add(self.wait_us));
        self.wait_us = (self.wait_us * 2).min(LONGEST_WAIT_US);
        if self.state == State::Requesting && self.wait_us > 32 * FIRST_WAIT_US {
            // The server that advertised does not reply: look for another.
            self.enter(State::Soliciting, now_us.saturating_add(FIRST_WAIT_US));
        }
        frame
    }

    fn message(&self, kind: u8, us: Ipv6Addr) -> Option<Frame> {
        let mut body: Vec<u8, 512> = Vec::new();
        let [a, b, c] = self.transaction;
        body.extend_from_slice(&[kind, a, b, c]).ok()?;
        option(&mut body, OPTION_CLIENT_ID, &[&[0, 3, 0, 1], &self.mac])?;
        option(&mut body, OPTION_ELAPSED, &[&[0, 0]])?;
        option(&mut body, OPTION_REQUEST, &[&OPTION_DNS.to_be_bytes()])?;
        if matches!(kind, REQUEST | RENEW) {
            option(&mut body, OPTION_SERVER_ID, &[&self.server])?;
        }
        if kind != INFORMATION_REQUEST {
            self.identity_association(&mut body)?;
        }
        datagram(self.mac, us, &body)
    }

    /// The IA_NA option, with the address that we want if one was offered.
    fn identity_association(&self, body: &mut Vec<u8, 512>) -> Option<()> {
        let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let Some(address) = self.address else { return option(body, OPTION_IA_NA, &[&head]) };
        let mut inner: Vec<u8, 512> = Vec::new();
        option(&mut inner, OPTION_IA_ADDRESS, &[&address.octets(), &[0; 8]])?;
        option(body, OPTION_IA_NA, &[&head, &inner])
    }

    /// Whether a frame is for the DHCPv6 client at all.
    pub(crate) fn is_answer(&self, frame: &[u8]) -> bool {
        message_of(frame).is_some()
    }

    /// Takes an answer; gives the address when it has one.
    pub(crate) fn hear(&mut self, frame: &[u8], now_us: u64) -> Option<Lease> {
        let (_, expected) = self.state.exchange()?;
        let (head, options) = message_of(frame)?.split_first_chunk::<4>()?;
        let [kind, a, b, c] = *head;
        if kind != expected || [a, b, c] != self.transaction {
            return None;
        }
        let answer = Answer::read(options)?;
        if answer.client
            != Some(&[
                0,
                3,
                0,
                1,
                self.mac[0],
                self.mac[1],
                self.mac[2],
                self.mac[3],
                self.mac[4],
                self.mac[5],
            ])
        {
            return None;
        }
        match self.state {
            State::Soliciting => {
                self.server = Vec::from_slice(answer.server?).ok()?;
                self.address = Some(answer.lease?.address);
                self.enter(State::Requesting, now_us);
                None
            }
            State::Requesting | State::Renewing => self.granted(&answer, now_us),
            State::Information => {
                self.dns = answer.dns;
                self.at_us = Some(now_us.saturating_add(REFRESH_US));
                None
            }
            State::Stopped => None,
        }
    }

    fn granted(&mut self, answer: &Answer<'_>, now_us: u64) -> Option<Lease> {
        if answer.server != Some(&*self.server) {
            return None;
        }
        let Some(lease) = answer.lease else {
            // Refused: look for another server, unhurriedly.
            self.address = None;
            self.enter(State::Soliciting, now_us.saturating_add(SHORTEST_RENEWAL_US));
            return None;
        };
        self.address = Some(lease.address);
        self.dns.clone_from(&answer.dns);
        let renewal = (lease.valid_us / 2).max(SHORTEST_RENEWAL_US);
        self.enter(State::Renewing, now_us.saturating_add(renewal));
        Some(lease)
    }
}

/// What a server said.
struct Answer<'m> {
    client: Option<&'m [u8]>,
    server: Option<&'m [u8]>,
    lease: Option<Lease>,
    dns: Vec<Ipv6Addr, 3>,
}

impl<'m> Answer<'m> {
    /// Reads the options; `None` when they are malformed or the server refuses.
    fn read(bytes: &'m [u8]) -> Option<Self> {
        let mut answer = Self { client: None, server: None, lease: None, dns: Vec::new() };
        for (code, body) in options(bytes) {
            match code {
                OPTION_CLIENT_ID => answer.client = Some(body),
                OPTION_SERVER_ID => {
                    answer.server = Some(body).filter(|id| !id.is_empty() && id.len() <= MAX_DUID)
                }
                OPTION_IA_NA => answer.lease = answer.lease.or_else(|| lease(body)),
                OPTION_STATUS if status(body) != 0 => return None,
                OPTION_DNS => {
                    let servers = body.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets));
                    for server in servers.filter(|server| is_host_v6(*server)).take(3) {
                        // A fourth server is not used.
                        let _ = answer.dns.push(server);
                    }
                }
                _ => {}
            }
        }
        Some(answer)
    }
}

/// The first usable address of an IA_NA option (§21.4, §21.6).
fn lease(body: &[u8]) -> Option<Lease> {
    let (_, inner) = body.split_first_chunk::<12>()?;
    if options(inner).any(|(code, body)| code == OPTION_STATUS && status(body) != 0) {
        return None;
    }
    options(inner).filter(|(code, _)| *code == OPTION_IA_ADDRESS).find_map(|(_, body)| {
        let (octets, rest) = body.split_first_chunk::<16>()?;
        let [_, _, _, _, a, b, c, d] = *rest.first_chunk::<8>()?;
        let valid_us = u64::from(u32::from_be_bytes([a, b, c, d])) * 1_000_000;
        let address = Ipv6Addr::from(*octets);
        let usable = is_host_v6(address) && valid_us > 0;
        usable.then_some(Lease { address, valid_us: valid_us.min(LONGEST_LEASE_US) })
    })
}

fn status(body: &[u8]) -> u16 {
    body.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))
}

/// Walks options; stops at the first that is malformed.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let ([a, b, c, d], rest) = bytes.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u16::from_be_bytes([*c, *d]).into())?;
        bytes = rest;
        Some((u16::from_be_bytes([*a, *b]), body))
    })
    .take(MAX_OPTIONS)
}

fn option(body: &mut Vec<u8, 512>, code: u16, parts: &[&[u8]]) -> Option<()> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    body.extend_from_slice(&code.to_be_bytes()).ok()?;
    body.extend_from_slice(&u16::try_from(len).ok()?.to_be_bytes()).ok()?;
    for part in parts {
        body.extend_from_slice(part).ok()?;
    }
    Some(())
}

/// The DHCPv6 message in a frame, its UDP checksum verified.
fn message_of(frame: &[u8]) -> Option<&[u8]> {
    let (_, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    let (ip, rest) = body.split_first_chunk()?;
    let ip = Ipv6::parse(ip).ok().filter(|ip| ip.next == UDP && ip.source.is_unicast_link_local())?;
    let datagram = rest.get(..usize::from(ip.payload_len))?;
    let header = Udp::parse(datagram).ok()?;
    let datagram = datagram.get(..usize::from(header.len))?;
    let sum = pseudo_v6(ip.source, ip.destination, UDP, u32::from(header.len)).bytes(datagram);
    let ours = header.destination_port == CLIENT && header.source_port == SERVER && sum.is_valid();
    datagram.get(udp::HEADER_LEN..).filter(|_| ours)
}

fn datagram(mac: Mac, us: Ipv6Addr, body: &[u8]) -> Option<Frame> {
    let len = u16::try_from(udp::HEADER_LEN + body.len()).ok()?;
    let mut udp = Udp { source_port: CLIENT, destination_port: SERVER, len, checksum: 0 };
    let sum = pseudo_v6(us, SERVERS, UDP, u32::from(len)).bytes(&udp.emit()).bytes(body).finish();
    udp.checksum = if sum == 0 { 0xFFFF } else { sum };
    let ip = Ipv6 { source: us, destination: SERVERS, hop_limit: 1, next: UDP, payload_len: len };
    let mut frame = Frame::new();
    frame.extend_from_slice(&header(ndp::multicast_mac(SERVERS), mac, ethernet::IPV6)).ok()?;
    debug_assert_eq!(ip.emit().len(), ipv6::HEADER_LEN);
    frame.extend_from_slice(&ip.emit()).ok()?;
    frame.extend_from_slice(&udp.emit()).ok()?;
    frame.extend_from_slice(body).ok()?;
    Some(frame)
}
