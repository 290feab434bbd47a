//! One TCP connection: a smoltcp socket on an interface of its own.
//!
//! An interface of its own, because smoltcp asks every socket of an interface about every segment; here a segment's
//! connection is looked up first (`net::table`), so that its cost does not depend on how many there are. It also gives
//! every connection a secret of its own to draw sequence numbers from.

use super::wire::{Nowhere, Outlet, Wire};
use crate::headroom;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    socket::tcp::{CongestionControl, Socket, SocketBuffer},
    time::{Duration, Instant},
    wire::{HardwareAddress, IpCidr},
};

pub(super) use smoltcp::socket::tcp::State;

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Our end.
    pub(super) local: SocketAddr,
    /// Largest IP packet.
    pub(super) mtu: u16,
    /// Secret, for the sequence number.
    pub(super) seed: u64,
    /// Bytes of the buffers.
    pub(super) buffers: Buffers,
    /// Microseconds of silence after which the peer is asked whether it is still there.
    pub(super) keep_alive_us: Option<u64>,
    /// Whether every burst is acknowledged at once.
    pub(super) ack_at_once: bool,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffers {
    /// For what arrives.
    pub(super) receive: usize,
    /// For what leaves.
    pub(super) send: usize,
}

impl Buffers {
    /// Both together.
    pub(super) const fn total(self) -> usize {
        self.receive + self.send
    }
}

/// A connection.
pub(super) struct Tcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    mtu: u16,
    seed: u64,
    address: IpAddr,
}

/// The clock as smoltcp reads it.
fn instant(now_us: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_us).unwrap_or(i64::MAX))
}

fn interface(address: IpAddr, mtu: u16, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut wire = Wire { packet: None, outlet: &mut Nowhere, mtu };
    let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        // The first of several places.
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let _ = addresses.push(IpCidr::new(address.into(), whole));
    });
    interface
}

impl Tcp {
    fn new(setup: &Setup) -> Option<Self> {
        let receive = headroom::zeros(setup.buffers.receive)?;
        let send = headroom::zeros(setup.buffers.send)?;
        let mut socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(send));
        // What is written is sent when the program has nothing more to do, so that writes are joined already.
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::None);
        if setup.ack_at_once {
            socket.set_ack_delay(None);
        }
        socket.set_keep_alive(setup.keep_alive_us.map(Duration::from_micros));
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        let (mtu, seed, address) = (setup.mtu, setup.seed, setup.local.ip());
        Some(Self { interface: interface(address, mtu, seed), sockets, handle, mtu, seed, address })
    }

    /// A connection that waits for the peer's first segment, which is fed next; `None`: there is no memory for it.
    pub(super) fn accept(setup: &Setup) -> Option<Self> {
        let mut tcp = Self::new(setup)?;
        tcp.socket_mut().listen(setup.local).ok()?;
        Some(tcp)
    }

    /// A connection to `peer`, whose first segment is yet to be sent; `None`: there is no memory for it.
    pub(super) fn connect(setup: &Setup, peer: SocketAddr) -> Option<Self> {
        let mut tcp = Self::new(setup)?;
        let context = tcp.interface.context();
        let socket: &mut Socket<'_> = tcp.sockets.get_mut(tcp.handle);
        socket.connect(context, peer, setup.local).ok()?;
        Some(tcp)
    }

    /// The socket.
    pub(super) fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    /// The socket.
    pub(super) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Where the connection is in its life.
    pub(super) fn state(&self) -> State {
        self.socket().state()
    }

    /// Whether it is over and its peer, if it has to be told, was.
    pub(super) fn is_gone(&self) -> bool {
        let socket = self.socket();
        socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    /// Takes in an IP packet that belongs here and whose checksums were looked at.
    pub(super) fn feed(&mut self, now_us: u64, packet: &[u8], outlet: &mut impl Outlet) {
        let mut wire = Wire { packet: Some(packet), outlet, mtu: self.mtu };
        self.interface.poll_ingress_single(instant(now_us), &mut wire, &mut self.sockets);
    }

    /// Sends one packet if there is something to be said; `false`: there is not, or no room.
    pub(super) fn drain(&mut self, now_us: u64, outlet: &mut impl Outlet) -> bool {
        let mut wire = Wire { packet: None, outlet, mtu: self.mtu };
        self.interface.poll_egress(instant(now_us), &mut wire, &mut self.sockets) != PollResult::None
    }

    /// When [`Self::drain`] is worth calling (microseconds); the past means now.
    pub(super) fn due(&mut self, now_us: u64) -> Option<u64> {
        let at = self.interface.poll_at(instant(now_us), &self.sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0))
    }

    /// Makes packets no longer than this from now on; what is lost is cut anew.
    pub(super) fn set_mtu(&mut self, mtu: u16) {
        if mtu < self.mtu {
            self.mtu = mtu;
            // The interface knows nothing of the connection.
            self.interface = interface(self.address, mtu, self.seed);
        }
    }
}
