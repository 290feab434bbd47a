//! A Linux network stack where an AppVM would be: a namespace with an address on the gateway's link, and a second
//! end of that link for frames that no stack sends.

use super::namespace::Namespace;
use dom0::tap;
use rustix::fd::OwnedFd;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::JoinHandle;

/// `struct virtio_net_hdr`, which precedes frames on a tap as dom0 opens it. Zeros: nothing was offloaded.
const VNET_HEADER: usize = 10;
/// The gateway's link-local address on every client's link.
const GATEWAY_V6: &str = "fe80::fcff:ffff:feff:ffff";

/// An AppVM's place.
pub(crate) struct AppVm {
    /// Domain name.
    pub(crate) name: &'static str,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// The gateway's address on its link.
    pub(crate) gateway: Ipv4Addr,
    /// Its /64.
    pub(crate) prefix: Ipv6Addr,
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
    namespace: Namespace,
    raw: OwnedFd,
}

impl AppVm {
    /// The client with this number, 0 or 1.
    pub(crate) fn new(number: u8) -> Self {
        let namespace = Namespace::new();
        let raw = namespace.inside(|| tap::open("raw0").unwrap());
        let appvm = Self {
            name: ["anon", "veiled"][usize::from(number)],
            address: Ipv4Addr::new(10, 137, number, 6),
            gateway: Ipv4Addr::new(10, 137, number, 5),
            prefix: Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, u16::from(number) + 1, 0, 0, 0, 0),
            mac: [2, 0x62, 0x6b, 0, 0x7f, number + 1],
            namespace,
            raw,
        };
        appvm.configure();
        appvm
    }

    /// A bridge is the AppVM's card; it stays while the gateway comes and goes. The route over IPv6 leaves room for the one
    /// that the gateway advertises.
    fn configure(&self) {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        self.namespace.ip(&format!(
            "link set lo up
link add eth0 address {mac} type bridge forward_delay 0 mcast_snooping 0
link set raw0 master eth0 up
link set eth0 up
addr add {}/30 dev eth0
addr add {}6/64 dev eth0 nodad
route add default via {}
route add default via {GATEWAY_V6} dev eth0 metric 2048
",
            self.address, self.prefix, self.gateway
        ));
    }

    /// Takes the gateway's end of the link, which another namespace has, into this one.
    pub(crate) fn plug(&self, interface: &str) {
        self.namespace.take(interface);
        self.namespace.ip(&format!("link set {interface} master eth0 up\n"));
    }

    /// Runs a part of the test with this AppVM's network.
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.namespace.inside(body)
    }

    /// Starts a thread with this AppVM's network.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.namespace.spawn(body)
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&self, frame: &[u8]) {
        let bytes = [&[0; VNET_HEADER], frame].concat();
        // With nobody at the other end, or no room, the frame is lost, as on any cable.
        let _ = rustix::io::write(&self.raw, &bytes);
    }
}
