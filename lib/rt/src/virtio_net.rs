//! A virtio network device: whole frames in and out by copy, no offloads.
//!
//! For machines that are not ours (stock QEMU): under our monitor a domain has links and assigned devices.
//! What the device says is bounded: a buffer number that is not out, or a length beyond its buffer, is a fault.
//!
//! Both sides tell each other up to where they need no notice (virtio 1.2 §2.7.10), so both must store, fence, and
//! look again before they rely on being told. The queue of `virtio-drivers` fences neither way, nor does its network
//! driver; so the fences are here, between the crate's single steps.

use crate::interrupts::Interrupt;
use crate::machine::Machine;
use crate::pci::Function;
use crate::virtio::{self, Memory, Transport};
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{Ordering, fence};
use heapless::Vec;
use virtio_drivers::Hal;
use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport as _;

/// Buffers each way.
const QUEUE: usize = 64;
/// The header before every frame (virtio 1.2 §5.1.6): all zero without offloads.
const HEADER: usize = 12;
/// The device has an address of its own (`VIRTIO_NET_F_MAC`), at the start of its configuration.
const MAC: u64 = 1 << 5;
/// Queue numbers.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Room for one frame and the device's header.
const BUFFER: usize = 2048;
/// Longest frame, without the device's header.
pub const FRAME_MAX: usize = 1514;

type Buffer = &'static mut [u8; BUFFER];

/// The device broke the protocol, or gave up; it is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFault;

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the virtio network device broke the protocol")
    }
}

impl core::error::Error for DeviceFault {}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Every buffer is on its way; the interrupt tells when one is back.
    Full,
    /// Longer than [`FRAME_MAX`].
    TooLong,
    /// See [`DeviceFault`].
    Fault,
}

/// A virtio network device.
pub struct VirtioNet {
    transport: Transport,
    mac: [u8; 6],
    received: VirtQueue<Memory, QUEUE>,
    sent: VirtQueue<Memory, QUEUE>,
    receiving: [Option<Buffer>; QUEUE],
    sending: [Option<(Buffer, usize)>; QUEUE],
    spare: Vec<Buffer, QUEUE>,
    interrupt: Interrupt,
    faulty: bool,
}

impl fmt::Debug for VirtioNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioNet").field("spare", &self.spare.len()).finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens the first virtio network device; `None` when there is none that works.
    #[must_use]
    pub fn virtio_net(&self) -> Option<VirtioNet> {
        self.virtio_nets().next()
    }

    /// Opens the virtio network devices that work, one after the other.
    pub fn virtio_nets(&self) -> impl Iterator<Item = VirtioNet> {
        self.pci().iter().filter(|f| virtio::is(f, virtio::TYPE_NETWORK)).filter_map(VirtioNet::open)
    }
}

fn buffer() -> Buffer {
    Box::leak(Box::new([0; BUFFER]))
}

fn negotiated(transport: &mut Transport) -> Option<u64> {
    virtio::negotiate(transport, Feature::VERSION_1.bits() | MAC, Feature::RING_EVENT_IDX.bits())
}

/// The next buffer that the device is done with. `None` promises an interrupt for the one that comes next.
fn used<H: Hal>(queue: &VirtQueue<H, QUEUE>) -> Option<u16> {
    queue.peek_used().or_else(|| {
        // How far we have read is out before we look once more: from here on the device interrupts.
        fence(Ordering::SeqCst);
        queue.peek_used()
    })
}

impl VirtioNet {
    /// Takes `function` over and gives it buffers to receive into.
    #[must_use]
    pub fn open(function: &Function) -> Option<Self> {
        let interrupt = Interrupt::take()?;
        let mut transport = Transport::open(function, Some(&interrupt))?;
        let Some(agreed) = negotiated(&mut transport) else {
            log::error!("virtio network device {}: too old, or without an address", function.address());
            return None;
        };
        let event_index = agreed & Feature::RING_EVENT_IDX.bits() != 0;
        let mac = transport.read_consistent(|| transport.read_config_space(0)).ok()?;
        let received = VirtQueue::new(&mut transport, RECEIVE, false, event_index).ok()?;
        let sent = VirtQueue::new(&mut transport, TRANSMIT, false, event_index).ok()?;
        transport.finish_init();
        let mut net = Self {
            transport,
            mac,
            received,
            sent,
            receiving: [const { None }; QUEUE],
            sending: [const { None }; QUEUE],
            spare: Vec::new(),
            interrupt,
            faulty: false,
        };
        for _ in 0..QUEUE {
            // Exactly as many as fit.
            let _ = net.spare.push(buffer());
            net.offer(buffer());
        }
        (!net.faulty).then_some(net)
    }

    /// The device's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The interrupt that tells of frames received and buffers sent.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Gives the device a buffer to receive into.
    fn offer(&mut self, buffer: Buffer) {
        // SAFETY: the buffer lives for ever, and waits untouched in `receiving` until the device is done.
        let token = unsafe { self.received.add(&[], &mut [&mut buffer[..]]) };
        self.notify(RECEIVE);
        match token.ok().and_then(|token| self.receiving.get_mut(usize::from(token))) {
            Some(slot) => *slot = Some(buffer),
            None => self.faulty = true,
        }
    }

    /// Tells the device of a new buffer, if it wants to hear of it.
    fn notify(&mut self, queue: u16) {
        // The buffer is out before the device's wish is read.
        fence(Ordering::SeqCst);
        let of = if queue == RECEIVE { &self.received } else { &self.sent };
        if of.should_notify() {
            self.transport.notify(queue);
        }
    }

    /// Copies the next frame to `out` and returns its length; `None` when there is none, and then the interrupt
    /// tells of the next. A frame longer than `out` is cut.
    ///
    /// # Errors
    /// [`DeviceFault`], from then on always.
    pub fn receive(&mut self, out: &mut [u8]) -> Result<Option<usize>, DeviceFault> {
        if self.faulty {
            return Err(DeviceFault);
        }
        let Some(token) = used(&self.received) else { return Ok(None) };
        let taken = self.receiving.get_mut(usize::from(token)).and_then(Option::take);
        let Some(buffer) = taken else { return self.fault() };
        // SAFETY: the buffer that was offered with this token.
        let len = unsafe { self.received.pop_used(token, &[], &mut [&mut buffer[..]]) };
        let Some(frame) = len.ok().and_then(|len| buffer.get(HEADER..len as usize)) else {
            return self.fault();
        };
        let copied = frame.len().min(out.len());
        out[..copied].copy_from_slice(&frame[..copied]);
        self.offer(buffer);
        Ok(Some(copied))
    }

    /// Whether a frame can be sent now; if not, the interrupt tells when it can.
    pub fn has_room(&mut self) -> bool {
        self.reclaim().is_ok() && !self.spare.is_empty()
    }

    /// Sends one frame made of `parts`.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), NotSent> {
        self.reclaim().map_err(|DeviceFault| NotSent::Fault)?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total > FRAME_MAX {
            return Err(NotSent::TooLong);
        }
        let buffer = self.spare.pop().ok_or(NotSent::Full)?;
        let mut len = HEADER;
        buffer[..len].fill(0);
        for part in parts {
            // In bounds: header and FRAME_MAX fit the buffer.
            buffer[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        // SAFETY: the buffer lives for ever, and waits untouched in `sending` until the device is done.
        let token = unsafe { self.sent.add(&[&buffer[..len]], &mut []) };
        self.notify(TRANSMIT);
        match token.ok().and_then(|token| self.sending.get_mut(usize::from(token))) {
            Some(slot) => {
                *slot = Some((buffer, len));
                Ok(())
            }
            None => self.fault().map_err(|DeviceFault| NotSent::Fault),
        }
    }

    /// Takes back the buffers that the device has sent.
    fn reclaim(&mut self) -> Result<(), DeviceFault> {
        if self.faulty {
            return Err(DeviceFault);
        }
        for _ in 0..QUEUE {
            let Some(token) = used(&self.sent) else { break };
            let taken = self.sending.get_mut(usize::from(token)).and_then(Option::take);
            let Some((buffer, len)) = taken else { return self.fault() };
            // SAFETY: the buffer that was sent with this token.
            if unsafe { self.sent.pop_used(token, &[&buffer[..len]], &mut []) }.is_err() {
                return self.fault();
            }
            // As many as there are buffers.
            let _ = self.spare.push(buffer);
        }
        Ok(())
    }

    fn fault<T>(&mut self) -> Result<T, DeviceFault> {
        self.faulty = true;
        Err(DeviceFault)
    }
}

#[cfg(test)]
mod tests;
