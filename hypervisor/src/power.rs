//! Power management registers: reset, soft-off, power button and PM timer, all I/O ports.

use crate::irq::{IrqError, IrqRouter};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;
use vmm_api::message::Ended;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// First port of the block; [`BLOCK_LEN`] ports.
pub const BLOCK: u16 = 0x610;
/// Length of the block.
pub const BLOCK_LEN: u16 = 16;
/// Reset register (FADT `RESET_REG`).
pub const RESET: u16 = 0x610;
/// Value that resets.
pub const RESET_VALUE: u8 = 1;
/// Sleep control register (ACPI 6.5, 4.8.3.7).
pub const SLEEP_CONTROL: u16 = 0x611;
/// Sleep status register.
pub const SLEEP_STATUS: u16 = 0x612;
/// Event register behind the generic event device; reading clears it.
pub const EVENT: u16 = 0x613;
/// PM timer, 32 bits at 3.579545 MHz (ACPI 6.5, 4.8.2.1).
pub const TIMER: u16 = 0x618;
/// Event bit: power button pressed.
pub const EVENT_BUTTON: u8 = 1;
/// Interrupt line of the generic event device.
pub const EVENT_LINE: u32 = 5;

/// Where a guest jumps that restarts "by the BIOS", F000:FFF0. Linux does so on a hardware-reduced machine,
/// which it takes for one with EFI.
pub const RESTART_VECTOR: u64 = 0xF_FFF0;

/// Real-mode code for [`RESTART_VECTOR`]: `mov dx, RESET; mov al, RESET_VALUE; out dx, al; hlt`.
pub const RESTART_CODE: [u8; 7] = {
    let [low, high] = RESET.to_le_bytes();
    [0xBA, low, high, 0xB0, RESET_VALUE, 0xEE, 0xF4]
};

const TIMER_HZ: u128 = 3_579_545;
/// Sleep control: enter the sleep type in bits 2 to 4.
const SLEEP_ENABLE: u8 = 1 << 5;
/// Sleep type of S5 in our DSDT.
const SOFT_OFF: u8 = 5 << 2;

/// The registers' state.
pub struct Power {
    events: AtomicU8,
    line: EventFd,
    started: Instant,
}

impl Power {
    /// Attaches the event line.
    ///
    /// # Errors
    /// [`IrqError`] when there is no eventfd or KVM refuses it.
    pub fn new(irq: &IrqRouter) -> Result<Self, IrqError> {
        let line = EventFd::new(EFD_NONBLOCK)?;
        irq.edge_line(EVENT_LINE, &line)?;
        Ok(Self { events: AtomicU8::new(0), line, started: Instant::now() })
    }

    /// Presses the power button.
    pub fn press(&self) {
        self.events.fetch_or(EVENT_BUTTON, Ordering::SeqCst);
        let _ = self.line.write(1);
    }

    /// Serves a read of `port`.
    pub fn read(&self, port: u16, data: &mut [u8]) {
        match (port, data) {
            (EVENT, [byte]) => *byte = self.events.swap(0, Ordering::SeqCst),
            (SLEEP_STATUS | SLEEP_CONTROL | RESET, [byte]) => *byte = 0,
            (TIMER, data) if data.len() == 4 => {
                let ticks = self.started.elapsed().as_nanos() * TIMER_HZ / 1_000_000_000;
                data.copy_from_slice(&ticks.to_le_bytes()[..4]);
            }
            _ => {}
        }
    }

    /// Serves a write to `port`; says when it ends the machine.
    #[must_use]
    pub fn write(&self, port: u16, data: &[u8]) -> Option<Ended> {
        match (port, data) {
            (RESET, [RESET_VALUE]) => Some(Ended::Rebooted),
            (SLEEP_CONTROL, [value]) if value & 0x3C == SLEEP_ENABLE | SOFT_OFF => Some(Ended::PoweredOff),
            _ => None,
        }
    }
}
