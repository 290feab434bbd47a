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
}

/// All links.
#[derive(Debug)]
pub struct Ports<D> {
    ports: [Option<Port<D>>; PORTS],
    uplink: Option<u8>,
    /// Ports with a link, as a bitmap.
    in_use: u32,
    /// Ports for which records were staged since they were last published.
    staged: u32,
}

const _: () = assert!(PORTS <= 32);

impl<D: Doorbell> Ports<D> {
    /// No link.
    #[must_use]
    pub const fn new() -> Self {
        Self { ports: [const { None }; PORTS], uplink: None, in_use: 0, staged: 0 }
    }

    /// Puts a link in place of whatever was there; `false` for a port that cannot be.
    pub fn attach(&mut self, port: u8, role: Role, mut link: Link<D>) -> bool {
        let Some(place) = self.ports.get_mut(usize::from(port)) else { return false };
        let roomy = link.has_room(link::MAX_PAYLOAD);
        *place = Some(Port { role, link, roomy });
        self.in_use |= 1 << (port % 32);
        self.uplink = self.find_uplink();
        true
    }

    /// Takes a link away.
    pub fn detach(&mut self, port: u8) {
        if let Some(place) = self.ports.get_mut(usize::from(port)) {
            *place = None;
            self.in_use &= !(1 << (port % 32));
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
        let place = self.get(port).ok_or(DropReason::LinkDown)?;
        place.link.send(meta, parts).map_err(reason)?;
        self.staged |= 1 << (port % 32);
        Ok(())
    }

    /// Stages a frame without metadata for the peer on `port`.
    ///
    /// # Errors
    /// As [`Self::send`].
    #[inline(always)]
    pub fn send_plain(&mut self, port: u8, frame: &[u8]) -> Result<(), DropReason> {
        let place = self.get(port).ok_or(DropReason::LinkDown)?;
        place.link.send_plain(frame).map_err(reason)?;
        self.staged |= 1 << (port % 32);
        Ok(())
    }

    /// The ports that have a link, as a bitmap.
    #[inline]
    #[must_use]
    pub const fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Shows every peer what was staged for it.
    #[inline]
    pub fn publish(&mut self) {
        let mut staged = core::mem::take(&mut self.staged);
        while staged != 0 {
            let port = staged.trailing_zeros() as usize;
            staged &= staged - 1;
            if let Some(port) = self.ports.get_mut(port).and_then(Option::as_mut) {
                port.link.publish();
            }
        }
    }
}

/// The reason for which a frame is dropped that cannot be sent.
const fn reason(error: SendError) -> DropReason {
    match error {
        SendError::Full => DropReason::QueueFull,
        SendError::TooLong => DropReason::TooBig,
        SendError::BadMeta => DropReason::Internal,
    }
}

impl<D: Doorbell> Default for Ports<D> {
    fn default() -> Self {
        Self::new()
    }
}
