//! The serial port: a 16550 at COM1, its line an eventfd.

use crate::console::Output;
use crate::irq::{IrqError, IrqRouter};
use crate::pci::bus::lock;
use std::io;
use std::sync::{Arc, Mutex};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Interrupt line of COM1.
pub const LINE: u32 = 4;
/// Ports that the device takes.
pub const PORTS: u16 = 8;

struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;
    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The port; clones are the same device.
#[derive(Clone)]
pub struct SerialPort {
    device: Arc<Mutex<Serial<Line, NoEvents, Output>>>,
}

impl SerialPort {
    /// Attaches the line and sends what the guest writes to `output`.
    ///
    /// # Errors
    /// [`IrqError`] when there is no eventfd or KVM refuses it.
    pub fn new(irq: &IrqRouter, output: Output) -> Result<Self, IrqError> {
        let event = EventFd::new(EFD_NONBLOCK)?;
        irq.edge_line(LINE, &event)?;
        Ok(Self { device: Arc::new(Mutex::new(Serial::new(Line(event), output))) })
    }

    /// Serves a read of register `offset`; only single bytes answer.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        if let (Ok(offset), [byte]) = (u8::try_from(offset), data) {
            *byte = lock(&self.device).read(offset);
        }
    }

    /// Serves a write to register `offset`. A lost interrupt shows as a stuck console, nothing worse.
    pub fn write(&self, offset: u16, data: &[u8]) {
        if let (Ok(offset), [byte]) = (u8::try_from(offset), data)
            && let Err(error) = lock(&self.device).write(offset, *byte)
        {
            tracing::debug!(%error, "serial port");
        }
    }

    /// Gives typed bytes to the guest; returns how many it has room for now.
    #[must_use]
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        lock(&self.device).enqueue_raw_bytes(bytes).unwrap_or(0)
    }
}
