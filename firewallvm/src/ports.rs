//! The links by port: who is at the other end, and which of them have something to be published.

use crate::{flows::PORTS, verdict::DropReason};
use abi::link_device::Role;
use link::{Doorbell, Link, Meta, SendError};

/// One link in use.
#[derive(Debug)]
pub struct Port<D> {
    /// What the peer is to us.
    pub role: Role,
    /// The link.
    pub link: Link<D>,
    /// Whether the ring is large enough for the longest frame; if not, we cannot wait for room.
    pub roomy: bool,
    /// Whether records were staged since they were last published.
    staged: bool,
}

/// All links.
#[derive(Debug)]
pub struct Ports<D> {
    ports: [Option<Port<D>>; PORTS],
    uplink: Option<u8>,
}

impl<D: Doorbell> Ports<D> {
    /// No link.
    #[must_use]
    pub const fn new() -> Self {
        Self { ports: [const { None }; PORTS], uplink: None }
    }

    /// Puts a link in place of whatever was there; `false` for a port that cannot be.
    pub fn attach(&mut self, port: u8, role: Role, mut link: Link<D>) -> bool {
        let Some(place) = self.ports.get_mut(usize::from(port)) else { return false };
        let roomy = link.has_room(link::MAX_PAYLOAD);
        *place = Some(Port { role, link, roomy, staged: false });
        self.uplink = self.find_uplink();
        true
    }

    /// Takes a link away.
    pub fn detach(&mut self, port: u8) {
        if let Some(place) = self.ports.get_mut(usize::from(port)) {
            *place = None;
        }
        self.uplink = self.find_uplink();
    }

    fn find_uplink(&self) -> Option<u8> {
        let is_uplink =
            |port: &Option<Port<D>>| port.as_ref().is_some_and(|port| port.role == Role::Upstream);
        self.ports.iter().position(is_uplink).and_then(|port| u8::try_from(port).ok())
    }

    /// The port that netvm is on.
    #[inline]
    #[must_use]
    pub const fn uplink(&self) -> Option<u8> {
        self.uplink
    }

    /// The link on a port.
    #[inline]
    pub fn get(&mut self, port: u8) -> Option<&mut Port<D>> {
        self.ports.get_mut(usize::from(port))?.as_mut()
    }

    /// Every link with its port.
    pub fn iter(&mut self) -> impl Iterator<Item = (u8, &mut Port<D>)> {
        (0..).zip(&mut self.ports).filter_map(|(number, port)| port.as_mut().map(|port| (number, port)))
    }

    /// Stages a record for the peer on `port`.
    ///
    /// # Errors
    /// [`DropReason::LinkDown`], [`DropReason::QueueFull`], [`DropReason::TooBig`].
    #[inline]
    pub fn send(&mut self, port: u8, meta: &Meta, parts: &[&[u8]]) -> Result<(), DropReason> {
        let port = self.get(port).ok_or(DropReason::LinkDown)?;
        port.link.send(meta, parts).map_err(|error| match error {
            SendError::Full => DropReason::QueueFull,
            SendError::TooLong => DropReason::TooBig,
            SendError::BadMeta => DropReason::Internal,
        })?;
        port.staged = true;
        Ok(())
    }

    /// Shows every peer what was staged for it.
    pub fn publish(&mut self) {
        for port in self.ports.iter_mut().flatten().filter(|port| port.staged) {
            port.staged = false;
            port.link.publish();
        }
    }
}

impl<D: Doorbell> Default for Ports<D> {
    fn default() -> Self {
        Self::new()
    }
}
