//! What is asked of a network port: Ethernet frames in and out. Implemented for links here, for virtio-net by `main`.

use link::{Armed, Doorbell, Link, Meta, PeerFault, SendError};

/// The port is dead until another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFault(pub &'static str);

/// A port that can be polled.
pub trait Frames {
    /// Copies the next frame into `buffer`; returns its length and what is said about its checksum and how it is to be
    /// cut. `None`: there is none now.
    ///
    /// # Errors
    /// [`PortFault`], from then on always.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault>;

    /// Stages one frame; the peer sees it after [`Self::flush`]. `false`: there is no room now, and nothing was done.
    fn send(&mut self, meta: &Meta, frame: &[u8]) -> bool;

    /// Whether a frame of `len` bytes would find room now.
    fn has_room(&mut self, len: usize) -> bool;

    /// Ends a burst: shows the peer what was staged, and gives back the room of what was received.
    fn flush(&mut self);

    /// Whether the other end completes a checksum that was left to it ([`link::Csum::Partial`]), and cuts a long frame
    /// ([`link::Gso`]). If not, plain frames are sent only.
    fn finishes_checksums(&self) -> bool {
        true
    }

    /// Asks to be woken at the next frame (and, if something found no room, at room); `true` when there is nothing to do
    /// already, so that one may sleep.
    fn arm(&mut self) -> bool;
}

impl<D: Doorbell> Frames for Link<D> {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        self.recv(buffer).map_err(|fault: PeerFault| PortFault(fault.as_str()))
    }

    fn send(&mut self, meta: &Meta, frame: &[u8]) -> bool {
        // A frame that never fits is lost; the sockets do not make any that long.
        !matches!(Link::send(self, meta, &[frame]), Err(SendError::Full))
    }

    fn has_room(&mut self, len: usize) -> bool {
        Link::has_room(self, len)
    }

    fn flush(&mut self) {
        self.publish();
        self.release();
    }

    fn arm(&mut self) -> bool {
        Link::arm(self) == Armed::Sleep
    }
}
