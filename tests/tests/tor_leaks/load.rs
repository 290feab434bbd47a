//! What an AppVM sends when it sends everything: all of it at once, from several threads, until it is told to end.

use super::appvm::AppVm;
use super::machine::{MARK, NAME_MARK};
use super::network::Network;
use super::questions::question;
use rustix::net::{AddressFamily, SendFlags, SocketType, socket};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of one answer.
const BULK: usize = 60_000;
const WAIT: Duration = Duration::from_secs(8);
/// Between two rounds of a thread that would otherwise only keep the emulated processor from the others.
const PAUSE: Duration = Duration::from_millis(150);

/// Load that runs until it is dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Answers that came through Tor, complete.
    pub(crate) pages: Arc<AtomicUsize>,
    /// Datagrams and packets that were sent and may not leave.
    pub(crate) forbidden: Arc<AtomicUsize>,
}

impl Load {
    /// Starts every kind of traffic in an AppVM.
    pub(crate) fn start(appvm: &AppVm, network: &Network) -> Self {
        let load = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            pages: Arc::default(),
            forbidden: Arc::default(),
        };
        let web = network.web;
        let strangers = strangers(network);
        let (pages, forbidden) = (Arc::clone(&load.pages), Arc::clone(&load.forbidden));
        let mut load = load;
        for _ in 0..2 {
            let pages = Arc::clone(&pages);
            load.run(appvm, move || {
                if download((web, 80).into(), BULK).is_some() {
                    pages.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        load.run(appvm, move || upload((web, 80).into()));
        let web_v6 = network.web_v6;
        load.run(appvm, move || {
            let _ = download((web_v6, 80).into(), BULK);
        });
        load.run(appvm, move || strangers.iter().for_each(|stranger| knock(*stranger)));
        let gateway = appvm.gateway;
        let count = Arc::clone(&forbidden);
        load.run(appvm, move || {
            count.fetch_add(datagrams(web, gateway), Ordering::SeqCst);
        });
        load.run(appvm, move || {
            forbidden.fetch_add(packets(web), Ordering::SeqCst);
        });
        load.run(appvm, || names(Ipv4Addr::new(10, 139, 1, 1)));
        load
    }

    fn run(&mut self, appvm: &AppVm, round: impl Fn() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(appvm.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                round();
                std::thread::sleep(PAUSE);
            }
        }));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the load panicked");
        }
    }
}

/// Ends of connections that nobody serves, or that must not be reached but through Tor: name servers over TCP and
/// TLS, the uplink's own router, and every relay, directly.
fn strangers(network: &Network) -> Vec<SocketAddr> {
    let fixed = [
        (Ipv4Addr::new(9, 9, 9, 9), 53),
        (Ipv4Addr::new(9, 9, 9, 9), 853),
        (Ipv4Addr::new(10, 0, 2, 2), 80),
        (Ipv4Addr::new(10, 0, 2, 3), 53),
        (Ipv4Addr::new(198, 51, 100, 99), 443),
    ];
    // The same over IPv6, and IPv4 addresses in disguise.
    let v6 = ["[2001:4860:4860::8888]:853", "[fec0::2]:80", "[64:ff9b::a00:202]:80", "[2002:a00:202::1]:80"];
    let v6 = v6.into_iter().filter_map(|end| end.parse().ok());
    let relays = network.relays.iter().take(2).map(|relay| (*relay).into());
    fixed.into_iter().map(SocketAddr::from).chain(v6).chain(relays).collect()
}

/// Fetches so many bytes; `None` when less came.
pub(crate) fn download(web: SocketAddr, length: usize) -> Option<Vec<u8>> {
    let body = get(web, &format!("bytes/{length}"))?;
    (body.len() == length).then_some(body)
}

/// Fetches a page over a connection of its own; the marked payload goes with the request.
pub(crate) fn get(web: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&web, WAIT).ok()?;
    stream.set_read_timeout(Some(WAIT)).ok()?;
    stream.set_write_timeout(Some(WAIT)).ok()?;
    let mark = String::from_utf8_lossy(MARK);
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: page.test\r\nX-Mark: {mark}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    answer.starts_with(b"HTTP/1.").then(|| answer.split_off(end + 4))
}

fn upload(web: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect_timeout(&web, WAIT) else { return };
    let body = MARK.repeat(1_000);
    let _ = stream.set_read_timeout(Some(WAIT));
    let _ = stream.set_write_timeout(Some(WAIT));
    let _ = write!(stream, "POST /sink HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&body);
    let _ = stream.read(&mut [0; 512]);
}

/// Opens a connection and says something in plain text.
fn knock(stranger: SocketAddr) {
    if let Ok(mut stream) = TcpStream::connect_timeout(&stranger, Duration::from_millis(500)) {
        let _ = stream.write_all(MARK);
    }
}

/// Every datagram that programs of a desktop send, and fragments; how many were sent.
pub(crate) fn datagrams(web: Ipv4Addr, gateway: Ipv4Addr) -> usize {
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
    let broadcast = IpAddr::V4(Ipv4Addr::from_bits(gateway.to_bits() | 3));
    let targets = [
        // QUIC, NTP, STUN, WireGuard, SIP, traceroute, DNS over QUIC.
        (IpAddr::V4(web), 443),
        (IpAddr::V4(web), 123),
        (v4(198, 51, 100, 81), 3478),
        (v4(198, 51, 100, 81), 51_820),
        (v4(198, 51, 100, 81), 5060),
        (v4(198, 51, 100, 81), 33_434),
        (v4(9, 9, 9, 9), 853),
        // The uplink's own router and name server, and a relay.
        (v4(10, 0, 2, 2), 69),
        (v4(10, 0, 2, 3), 5353),
        (v4(100, 64, 0, 10), 9064),
        // mDNS, LLMNR, SSDP, NetBIOS, DHCP, DNS to everybody.
        (v4(224, 0, 0, 251), 5353),
        (v4(224, 0, 0, 252), 5355),
        (v4(239, 255, 255, 250), 1900),
        (broadcast, 137),
        (broadcast, 138),
        (v4(255, 255, 255, 255), 67),
        (v4(255, 255, 255, 255), 53),
        // The same over IPv6.
        (v6("2001:db8:80::80"), 443),
        (v6("2001:db8:80::80"), 53),
        (v6("2001:4860:4860::8888"), 123),
        (v6("fd09:24ef:4179::53"), 853),
    ];
    let [Ok(small), Ok(small6)] = [UdpSocket::bind("0.0.0.0:0"), UdpSocket::bind("[::]:0")] else { return 0 };
    let _ = small.set_broadcast(true);
    let mut sent = 0;
    for (address, port) in targets {
        let socket = if address.is_ipv4() { &small } else { &small6 };
        for length in [MARK.len(), 1_200, 3_000] {
            let payload: Vec<u8> = MARK.iter().copied().cycle().take(length).collect();
            sent += usize::from(socket.send_to(&payload, (address, port)).is_ok());
        }
    }
    sent
}

/// Packets of other protocols: echo and timestamp requests, large ones in fragments, tunnels; how many were sent.
fn packets(web: Ipv4Addr) -> usize {
    let mut sent = 0;
    let payload: Vec<u8> = MARK.iter().copied().cycle().take(1_000).collect();
    for (protocol, head) in
        [(1u32, [8u8, 0]), (1, [13, 0]), (1, [0, 0]), (2, [0x16, 0]), (47, [0, 0]), (50, [0, 0])]
    {
        sent += raw(SocketAddr::from((web, 0)), protocol, head, &payload);
    }
    for (protocol, head) in [(4, [0x45, 0]), (41, [0x60, 0]), (132, [0, 0]), (136, [0, 0]), (255, [0, 0])] {
        sent += raw(SocketAddr::from((web, 0)), protocol, head, &payload);
    }
    let large: Vec<u8> = payload.iter().copied().cycle().take(4_000).collect();
    sent += raw(SocketAddr::from((web, 0)), 1, [8, 0], &large);
    let server: Ipv6Addr = "2001:db8:80::80".parse().unwrap();
    for (protocol, head) in [(58, [128, 0]), (47, [0, 0]), (50, [0, 0]), (132, [0, 0])] {
        sent += raw(SocketAddr::from((server, 0)), protocol, head, &payload);
    }
    sent + raw(SocketAddr::from((server, 0)), 58, [128, 0], &large)
}

fn raw(to: SocketAddr, protocol: u32, head: [u8; 2], payload: &[u8]) -> usize {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let Some(number) = std::num::NonZeroU32::new(protocol) else { return 0 };
    let Ok(socket) = socket(family, SocketType::RAW, Some(rustix::net::Protocol::from_raw(number))) else {
        return 0;
    };
    let mut message = vec![head[0], head[1], 0, 0];
    message.extend(payload);
    let sum = pnet_packet::util::checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    usize::from(rustix::net::sendto(&socket, &message, SendFlags::empty(), &to).is_ok())
}

/// Questions for names nobody may see outside, to the gateway's name servers and past them.
fn names(server: Ipv4Addr) {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { return };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(300)));
    for (number, kind) in [1, 28, 12, 15, 16, 255].into_iter().enumerate() {
        for server in [server, Ipv4Addr::new(9, 9, 9, 9)] {
            let name = format!("{NAME_MARK}.page.test");
            let _ = socket.send_to(&question(u16::try_from(number).unwrap_or(0), &name, kind), (server, 53));
            let _ = socket.recv(&mut [0; 1_500]);
        }
    }
}
