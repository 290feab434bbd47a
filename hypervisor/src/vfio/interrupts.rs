//! Interrupts of an assigned function: the host kernel signals an eventfd, KVM injects from it.
//!
//! Exactly one way is in use: MSI-X if the guest enabled it, else MSI, else the pin. A change first stops
//! the old way, then starts the new one at the function, and only then opens it towards the guest; what
//! arrives in between waits in the eventfds. The function's own MSI-X table is never touched: the host
//! kernel programs it, and masking happens between eventfd and guest.

use super::config::MsixShape;
use super::hardware::{Hardware, IrqKind};
use crate::irq::{IrqError, IrqRouter, LevelLine, MsiVector, MsixVectors};
use crate::pci::config::{COMMAND, COMMAND_INTX_DISABLE, PciConfig};
use std::sync::Arc;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Offsets in the MSI capability (64-bit format).
const MSI_CONTROL: u16 = 2;
const MSI_ADDRESS: u16 = 4;
const MSI_DATA: u16 = 12;
const MSI_ENABLE: u16 = 1;

/// The wiring of one function.
pub struct Interrupts {
    router: Arc<IrqRouter>,
    msix: Option<(MsixVectors, u16)>,
    msi: Option<(MsiVector, u16)>,
    pin: Option<u32>,
    line: Option<LevelLine>,
    active: Option<IrqKind>,
}

impl Interrupts {
    /// Makes the vectors, all closed, and adds MSI-X to `config`. `line` is where the pin would go.
    ///
    /// # Errors
    /// [`IrqError`] when numbers, eventfds or room are lacking.
    pub fn new(
        router: &Arc<IrqRouter>,
        line: u32,
        (msix, msi): (Option<MsixShape>, Option<u16>),
        config: &mut PciConfig,
    ) -> Result<Self, IrqError> {
        let pin = (config.u16_at(crate::pci::config::INTERRUPT_PIN) & 0xFF != 0).then_some(line);
        let msix = msix.map(|msix| {
            let vectors = MsixVectors::new(router, msix.vectors, msix.place, config)?;
            Ok::<_, IrqError>((vectors, msix.vectors))
        });
        let msi = msi.map(|at| Ok::<_, IrqError>((router.vector()?, at)));
        Ok(Self {
            router: Arc::clone(router),
            msix: msix.transpose()?,
            msi: msi.transpose()?,
            pin,
            line: None,
            active: None,
        })
    }

    /// Follows a configuration write that `config` has absorbed.
    pub fn config_written(&mut self, config: &PciConfig, hardware: &impl Hardware) {
        if let Some((vectors, _)) = &mut self.msix {
            // Masking closes vectors at once; unmasking opens them before the function can signal, which
            // is harmless, since nothing is in their eventfds yet.
            vectors.config_written(config);
        }
        let wanted = self.wanted(config);
        if self.active != wanted {
            if let Some(old) = self.active {
                self.leave(old, hardware);
            }
            if let Some(new) = wanted {
                self.enter(new, hardware);
            }
        }
        self.follow_msi(config);
    }

    fn wanted(&self, config: &PciConfig) -> Option<IrqKind> {
        let msi = |at: u16| config.u16_at(at + MSI_CONTROL) & MSI_ENABLE != 0;
        if self.msix.as_ref().is_some_and(|(vectors, _)| vectors.enabled()) {
            Some(IrqKind::MsiX)
        } else if self.msi.as_ref().is_some_and(|(_, at)| msi(*at)) {
            Some(IrqKind::Msi)
        } else {
            let on = config.u16_at(COMMAND) & COMMAND_INTX_DISABLE == 0;
            (self.pin.is_some() && on).then_some(IrqKind::IntX)
        }
    }

    fn enter(&mut self, kind: IrqKind, hardware: &impl Hardware) {
        let entered = match kind {
            IrqKind::MsiX => self.enter_msix(hardware),
            IrqKind::Msi => self.enter_msi(hardware),
            IrqKind::IntX => self.enter_pin(hardware),
        };
        // Remembered even when refused, so that a guest cannot make us try again at every write.
        self.active = Some(kind);
        if let Err(error) = entered {
            tracing::warn!(?kind, %error, "the device's interrupts stay off");
        }
    }

    fn enter_msix(&self, hardware: &impl Hardware) -> Result<(), anyhow::Error> {
        let Some((vectors, count)) = &self.msix else { return Ok(()) };
        let events: Vec<_> = (0..*count).filter_map(|n| vectors.vector(n)).map(MsiVector::event).collect();
        Ok(hardware.enable(IrqKind::MsiX, &events)?)
    }

    fn enter_msi(&self, hardware: &impl Hardware) -> Result<(), anyhow::Error> {
        let Some((vector, _)) = &self.msi else { return Ok(()) };
        Ok(hardware.enable(IrqKind::Msi, &[vector.event()])?)
    }

    /// The line is attached first: the pin may be asserted already, and fires as soon as it is enabled.
    fn enter_pin(&mut self, hardware: &impl Hardware) -> Result<(), anyhow::Error> {
        let Some(gsi) = self.pin else { return Ok(()) };
        let (event, resample) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
        let line = self.line.insert(self.router.level_line(gsi, event, resample)?);
        hardware.enable(IrqKind::IntX, &[line.event()])?;
        Ok(hardware.unmask_by(line.resample())?)
    }

    /// Stops one way of interrupting, if it is in use.
    pub fn leave(&mut self, kind: IrqKind, hardware: &impl Hardware) {
        if self.active != Some(kind) {
            return;
        }
        if let Err(error) = hardware.disable(kind) {
            tracing::warn!(?kind, %error, "the device's interrupts could not be turned off");
        }
        match kind {
            IrqKind::MsiX => {}
            IrqKind::Msi => {
                if let Some((vector, _)) = &mut self.msi {
                    vector.mask();
                }
            }
            IrqKind::IntX => self.line = None,
        }
        self.active = None;
    }

    fn follow_msi(&mut self, config: &PciConfig) {
        if self.active != Some(IrqKind::Msi) {
            return;
        }
        let Some((vector, at)) = &mut self.msi else { return };
        let high = u64::from(config.u32_at(*at + MSI_ADDRESS + 4));
        let address = high << 32 | u64::from(config.u32_at(*at + MSI_ADDRESS));
        if let Err(error) = vector.unmask(address, config.u16_at(*at + MSI_DATA).into()) {
            tracing::warn!(%error, "the device's interrupt stays masked");
        }
    }

    /// Serves a read of MSI-X table or pending bits; `false` when it is neither.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> bool {
        self.msix.as_ref().is_some_and(|(vectors, _)| vectors.bar_read(bar, offset, data))
    }

    /// Serves a write to MSI-X table or pending bits; `false` when it is neither.
    pub fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) -> bool {
        self.msix.as_mut().is_some_and(|(vectors, _)| vectors.bar_write(bar, offset, data))
    }
}
