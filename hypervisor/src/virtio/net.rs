//! Network device (virtio 1.2, section 5.1) with two back ends: a link (`vif`) and a tap (`tap`).
//!
//! Here: the device's configuration and the loop that moves bursts both ways in one thread. `from_guest` and
//! `to_guest` are the directions, `header` what guest and wire say about a frame, `wire` what a back end is.
//! Frames pass through private buffers: neither the guest nor the peer can change one after it was judged.

mod from_guest;
pub mod header;
pub mod tap;
mod to_guest;
pub mod vif;
pub mod wire;

use super::config_space::ConfigSpace;
use super::counters::{Counter, Registry};
use super::device::{Device, Interrupt, Kind, Session};
use super::queue::{QueueFault, VirtQueue};
use super::worker::{Backend, Next, Poller, Ready, Stage, Worker, notifiers};
use from_guest::FromGuest;
use header::Offloads;
use std::io;
use std::sync::Arc;
use to_guest::{Buffers, ToGuest};
use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};
use wire::{Wants, Wire};

const TO_GUEST: u16 = 0;
const FROM_GUEST: u16 = 1;
const QUEUE_SIZE: u16 = 256;
/// Frames at most in each direction between two looks at the other one and at the mailbox.
const BUDGET: usize = 64;
/// Offset of the status in `struct virtio_net_config`.
const STATUS: usize = 6;

const FEATURES: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_MTU
    | 1 << VIRTIO_NET_F_MAC
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_MRG_RXBUF
    | 1 << VIRTIO_NET_F_STATUS;

/// What a guest is told about its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet, without segmentation, in bytes.
    pub mtu: u16,
}

/// Makes the device around a wire, and its thread.
fn device<W: Wire>(
    name: &str,
    identity: Identity,
    wire: W,
    registry: &Registry,
) -> io::Result<(Device, Arc<Worker<W::Command>>)> {
    let notify = notifiers(2)?;
    let mut bytes = identity.mac.to_vec();
    bytes.extend(status(wire.is_up()));
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(identity.mtu.to_le_bytes());
    let config = Arc::new(ConfigSpace::new(bytes));
    let backend = Net {
        up: wire.is_up(),
        wire,
        config: config.clone(),
        from_guest: FromGuest::new(identity.mtu),
        to_guest: ToGuest::new(),
        counters: Counters::new(name, registry),
    };
    let worker = Worker::spawn(name, &notify, registry, backend)?;
    let device = Device {
        kind: Kind::Net,
        features: FEATURES,
        queue_sizes: vec![QUEUE_SIZE; 2],
        config,
        notify,
        control: worker.clone(),
    };
    Ok((device, worker))
}

fn status(up: bool) -> [u8; 2] {
    let status = if up { VIRTIO_NET_S_LINK_UP } else { 0 };
    u16::try_from(status).unwrap_or(0).to_le_bytes()
}

/// How a burst ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Burst {
    /// Nothing is left.
    Drained,
    /// The budget is used up.
    More,
    /// The next frame, of this length, has no room.
    NoRoom(usize),
}

struct Counters {
    frames_from_guest: Counter,
    bytes_from_guest: Counter,
    frames_to_guest: Counter,
    bytes_to_guest: Counter,
    interrupts: Counter,
    interrupts_suppressed: Counter,
    bad_length: Counter,
    bad_header: Counter,
    refused: Counter,
    no_peer: Counter,
    no_driver: Counter,
    no_buffers: Counter,
    bad_buffers: Counter,
    not_a_frame: Counter,
    not_taken: Counter,
}

impl Counters {
    fn new(name: &str, registry: &Registry) -> Self {
        let counter = |what| registry.counter(name, what);
        Self {
            frames_from_guest: counter("frames_from_guest"),
            bytes_from_guest: counter("bytes_from_guest"),
            frames_to_guest: counter("frames_to_guest"),
            bytes_to_guest: counter("bytes_to_guest"),
            interrupts: counter("interrupts"),
            interrupts_suppressed: counter("interrupts_suppressed"),
            bad_length: counter("drop.bad_length"),
            bad_header: counter("drop.bad_header"),
            refused: counter("drop.refused_by_wire"),
            no_peer: counter("drop.no_peer"),
            no_driver: counter("drop.no_driver"),
            no_buffers: counter("waits_for_buffers"),
            bad_buffers: counter("drop.buffers_too_small"),
            not_a_frame: counter("drop.not_a_frame"),
            not_taken: counter("drop.guest_takes_no_gso"),
        }
    }
}

struct Net<W> {
    wire: W,
    up: bool,
    config: Arc<ConfigSpace>,
    from_guest: FromGuest,
    to_guest: ToGuest,
    counters: Counters,
}

impl<W: Wire> Net<W> {
    /// Shows the guest whether somebody is at the other end.
    fn show_carrier(&mut self, session: Option<&Session>) {
        let up = self.wire.is_up();
        if up == self.up {
            return;
        }
        self.up = up;
        self.config.update(STATUS, &status(up));
        if let Some(session) = session {
            session.interrupt.config();
        }
    }

    fn idle(&mut self, poller: &Poller) -> Next {
        match self.to_guest.discard(&mut self.wire, &self.counters) {
            Burst::More => Next::Again,
            _ => self.wire.arm(Wants { frames: true, room: None }, poller),
        }
    }

    /// Tells the driver about what was given back, if it wants to hear of it.
    fn signal(&self, interrupt: &dyn Interrupt, index: u16, queue: &mut VirtQueue) -> Result<(), QueueFault> {
        let before = queue.considered();
        if queue.wants_interrupt()? {
            self.counters.interrupts.bump();
            interrupt.queue(index);
        } else if queue.considered() != before {
            self.counters.interrupts_suppressed.bump();
        }
        Ok(())
    }

    /// Goes to sleep on what is still wanted; [`Next::Again`] if it has come meanwhile.
    fn rest(
        &mut self,
        bursts: [Burst; 2],
        queues: [&mut VirtQueue; 2],
        poller: &Poller,
    ) -> Result<Next, QueueFault> {
        let ([out, back], [from_guest, to_guest]) = (bursts, queues);
        if out == Burst::More || back == Burst::More {
            self.wire.flush();
            return Ok(Next::Again);
        }
        let room = if let Burst::NoRoom(len) = out { Some(len.min(link::MAX_PAYLOAD)) } else { None };
        let missing = self.to_guest.waits_for();
        let mut next = self.wire.arm(Wants { frames: missing.is_none(), room }, poller);
        // Look at a queue again unless its frames wait for the wire, which then wakes us.
        if room.is_none() && from_guest.listen()? {
            next = Next::Again;
        }
        // Buffers that are too few for the frame at hand are no reason to try again; more of them are.
        if let Some(missing) = missing
            && to_guest.listen_beyond(missing)?
        {
            next = Next::Again;
        }
        Ok(next)
    }
}

impl<W: Wire> Backend for Net<W> {
    type Command = W::Command;

    fn start(&mut self, session: &Session) {
        self.from_guest.offloads = Offloads::from_guest(session.features);
        self.to_guest.offloads = Offloads::to_guest(session.features);
        let several = session.has(1 << VIRTIO_NET_F_MRG_RXBUF);
        self.to_guest.buffers = if several { Buffers::Several } else { Buffers::One };
        self.wire.guest_takes(self.to_guest.offloads);
    }

    fn stop(&mut self, _poller: &Poller) {
        self.to_guest.forget();
        self.wire.guest_takes(Offloads::default());
    }

    fn command(&mut self, command: W::Command, stage: &mut Stage) {
        self.wire.command(command, &stage.poller);
    }

    fn run(&mut self, stage: &mut Stage, _ready: &[Ready]) -> Result<Next, QueueFault> {
        self.show_carrier(stage.session.as_ref());
        let Some(session) = stage.session.as_mut() else { return Ok(self.idle(&stage.poller)) };
        let Session { queues, interrupt, .. } = session;
        let [Some(to_guest), Some(from_guest)] = queues.as_mut_slice() else {
            return Ok(self.idle(&stage.poller));
        };
        from_guest.mute()?;
        to_guest.mute()?;
        let out = self.from_guest.run(from_guest, &mut self.wire, &self.counters)?;
        let back = self.to_guest.run(to_guest, &mut self.wire, &self.counters)?;
        self.signal(interrupt.as_ref(), TO_GUEST, to_guest)?;
        self.signal(interrupt.as_ref(), FROM_GUEST, from_guest)?;
        let next = self.rest([out, back], [from_guest, to_guest], &stage.poller)?;
        // A wire may have gone down on the way.
        self.show_carrier(Some(session));
        Ok(next)
    }
}
