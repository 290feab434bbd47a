//! The device that TCP sees: one packet in, packets out, one connection at a time.

use smoltcp::{
    phy::{self, Checksum, DeviceCapabilities, Medium},
    time::Instant,
};

/// Where a connection's packets go.
pub(super) trait Outlet {
    /// Whether a packet of any length that the connection may send would find room now.
    fn ready(&mut self) -> bool;

    /// Lets `write` fill in an IP packet of `len` bytes and sends it.
    fn send<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R;
}

/// The device: IP packets, whose checksums of TCP are others' business on both ways.
pub(super) struct Wire<'a, O> {
    /// What arrived.
    pub(super) packet: Option<&'a [u8]>,
    /// Where answers go.
    pub(super) outlet: &'a mut O,
    /// Largest packet.
    pub(super) mtu: u16,
}

/// What the device can do.
pub(super) fn capabilities(mtu: u16) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = usize::from(mtu);
    capabilities.checksum.ipv4 = Checksum::Tx;
    capabilities.checksum.tcp = Checksum::None;
    capabilities
}

impl<O: Outlet> phy::Device for Wire<'_, O> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Room<'t, O>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        Some((Received(self.packet.take()?), Room(self.outlet)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        self.outlet.ready().then_some(Room(self.outlet))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// The packet that arrived.
pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Room for a packet that leaves.
pub(super) struct Room<'a, O>(&'a mut O);

impl<O: Outlet> phy::TxToken for Room<'_, O> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        self.0.send(len, write)
    }
}

/// An outlet for when nothing is to be said.
pub(super) struct Nowhere;

impl Outlet for Nowhere {
    fn ready(&mut self) -> bool {
        false
    }

    fn send<R>(&mut self, _: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        // Not reached: nothing arrives here, and there never is room.
        write(&mut [])
    }
}
