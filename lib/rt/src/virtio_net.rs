//! A virtio network device: whole frames in and out by copy, no offloads.
//!
//! For machines that are not ours (stock QEMU): under our monitor a domain has links and assigned devices.
//! What the device says is bounded: a buffer number that is not out, or a length beyond its buffer, is a fault.

use crate::interrupts::Interrupt;
use crate::machine::Machine;
use crate::pci::Function;
use crate::virtio::{self, Memory, Transport};
use alloc::boxed::Box;
use core::fmt;
use heapless::Vec;
use virtio_drivers::device::net::VirtIONetRaw;

/// Buffers each way.
const QUEUE: usize = 64;
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
    raw: VirtIONetRaw<Memory, Transport, QUEUE>,
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
        self.pci().iter().filter(|f| virtio::is(f, virtio::TYPE_NETWORK)).find_map(VirtioNet::open)
    }
}

fn buffer() -> Buffer {
    Box::leak(Box::new([0; BUFFER]))
}

impl VirtioNet {
    /// Takes `function` over and gives it buffers to receive into.
    #[must_use]
    pub fn open(function: &Function) -> Option<Self> {
        let interrupt = Interrupt::take()?;
        let transport = Transport::open(function, Some(&interrupt))?;
        let raw = VirtIONetRaw::new(transport).ok()?;
        let mut net = Self {
            raw,
            receiving: [const { None }; QUEUE],
            sending: [const { None }; QUEUE],
            spare: Vec::new(),
            interrupt,
            faulty: false,
        };
        net.raw.enable_interrupts();
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
        self.raw.mac_address()
    }

    /// The interrupt that tells of frames received and buffers sent.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Gives the device a buffer to receive into.
    fn offer(&mut self, buffer: Buffer) {
        // SAFETY: the buffer lives for ever, and waits untouched in `receiving` until the device is done.
        let token = unsafe { self.raw.receive_begin(buffer) };
        match token.ok().and_then(|token| self.receiving.get_mut(usize::from(token))) {
            Some(slot) => *slot = Some(buffer),
            None => self.faulty = true,
        }
    }

    /// Copies the next frame to `out` and returns its length; `None` when there is none. A frame longer than
    /// `out` is cut.
    ///
    /// # Errors
    /// [`DeviceFault`], from then on always.
    pub fn receive(&mut self, out: &mut [u8]) -> Result<Option<usize>, DeviceFault> {
        if self.faulty {
            return Err(DeviceFault);
        }
        let Some(token) = self.raw.poll_receive() else { return Ok(None) };
        let taken = self.receiving.get_mut(usize::from(token)).and_then(Option::take);
        let Some(buffer) = taken else { return self.fault() };
        // SAFETY: the buffer that was offered with this token.
        let lengths = unsafe { self.raw.receive_complete(token, buffer) };
        let Ok((header, len)) = lengths else { return self.fault() };
        let frame = header.checked_add(len).and_then(|end| buffer.get(header..end));
        let Some(frame) = frame else { return self.fault() };
        let copied = frame.len().min(out.len());
        out[..copied].copy_from_slice(&frame[..copied]);
        self.offer(buffer);
        Ok(Some(copied))
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
        let Ok(mut len) = self.raw.fill_buffer_header(&mut buffer[..]) else { return Err(NotSent::Fault) };
        for part in parts {
            // In bounds: header (12) and FRAME_MAX fit the buffer.
            buffer[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        // SAFETY: the buffer lives for ever, and waits untouched in `sending` until the device is done.
        let token = unsafe { self.raw.transmit_begin(&buffer[..len]) };
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
            let Some(token) = self.raw.poll_transmit() else { break };
            let taken = self.sending.get_mut(usize::from(token)).and_then(Option::take);
            let Some((buffer, len)) = taken else { return self.fault() };
            // SAFETY: the buffer that was sent with this token.
            if unsafe { self.raw.transmit_complete(token, &buffer[..len]) }.is_err() {
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
