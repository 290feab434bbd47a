//! What a network device sends frames to and receives them from: a link, or a tap.

use super::header::Offloads;
use crate::virtio::worker::{Next, Poller};
use link::Meta;

/// Whether a frame can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Now.
    Yes,
    /// When the other side has taken something; the wire wakes the thread.
    Later,
    /// Nobody is there.
    Down,
}

/// The frame was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What the device waits for when it goes to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Frames; not while the guest has no room for the one at hand.
    pub frames: bool,
    /// Room for a frame of this length.
    pub room: Option<usize>,
}

/// The far side of a network device.
pub trait Wire: Send + 'static {
    /// What the control thread may ask for.
    type Command: Send + 'static;

    /// A session began: the guest takes these offloads, or none at its end.
    fn guest_takes(&mut self, offloads: Offloads);
    /// Carries out a command.
    fn command(&mut self, command: Self::Command, poller: &Poller);
    /// Whether the guest is to see a carrier.
    fn is_up(&self) -> bool;
    /// Whether a frame of `len` bytes can be sent.
    fn room(&mut self, len: usize) -> Room;
    /// Sends a frame for which there was room.
    ///
    /// # Errors
    /// [`Refused`] when this frame can never be sent.
    fn send(&mut self, meta: &Meta, frame: &[u8]) -> Result<(), Refused>;
    /// Takes the next frame into `buffer`.
    fn recv(&mut self, buffer: &mut [u8]) -> Option<(Meta, usize)>;
    /// Ends a burst that another one follows at once.
    fn flush(&mut self);
    /// Ends a burst, and makes sure that what is wanted wakes the thread; [`Next::Again`] if it is there.
    fn arm(&mut self, wants: Wants, poller: &Poller) -> Next;
}
