//! MSI-X of one function wired to KVM: the pure state machine on one side, vectors on the other.

use super::{IrqError, IrqRouter, MsiVector};
use crate::pci::config::PciConfig;
use crate::pci::msix::{Change, Msix, Place};
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// MSI-X of one function together with the vectors behind it: what a device embeds.
pub struct MsixVectors {
    state: Msix,
    vectors: Vec<MsiVector>,
    place: Place,
    capability: u16,
}

impl MsixVectors {
    /// Makes `count` vectors and adds the capability to `config`.
    ///
    /// # Errors
    /// [`IrqError`] when numbers, eventfds or room are lacking.
    pub fn new(
        router: &Arc<IrqRouter>,
        count: u16,
        place: Place,
        config: &mut PciConfig,
    ) -> Result<Self, IrqError> {
        let state = Msix::new(count)?;
        let vectors = (0..count).map(|_| router.vector()).collect::<Result<_, _>>()?;
        let (body, writable) = state.capability(&place);
        let capability = config.add_capability(crate::pci::msix::CAPABILITY_ID, &body, &writable)?;
        Ok(Self { state, vectors, place, capability })
    }

    /// Takes note of a configuration write that `config` has already absorbed.
    pub fn config_written(&mut self, config: &PciConfig) {
        let changes = self.state.set_control(config.u16_at(self.capability + 2));
        self.apply(&changes);
    }

    /// Serves a read when it falls upon table or pending bits; `false` when it does not.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> bool {
        if let Some(at) = self.in_table(bar, offset) {
            self.state.table_read(at, data);
        } else if let Some(at) = self.in_pba(bar, offset) {
            self.state.pba_read(at, data, |v| self.vector(v).is_some_and(MsiVector::pending));
        } else {
            return false;
        }
        true
    }

    /// Serves a write when it falls upon table or pending bits (read-only); `false` when it does not.
    pub fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) -> bool {
        if let Some(at) = self.in_table(bar, offset) {
            let changes = self.state.table_write(at, data);
            self.apply(&changes);
            return true;
        }
        self.in_pba(bar, offset).is_some()
    }

    fn in_table(&self, bar: u8, offset: u64) -> Option<u64> {
        let at = offset.checked_sub(self.place.table_offset.into())?;
        (bar == self.place.table_bar && at < self.state.table_len()).then_some(at)
    }

    fn in_pba(&self, bar: u8, offset: u64) -> Option<u64> {
        let at = offset.checked_sub(self.place.pba_offset.into())?;
        (bar == self.place.pba_bar && at < self.state.pba_len()).then_some(at)
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let (Change::Unmasked { vector, .. } | Change::Masked { vector }) = *change;
            let Some(wire) = self.vectors.get_mut(usize::from(vector)) else { continue };
            match *change {
                Change::Masked { .. } => wire.mask(),
                Change::Unmasked { address, data, .. } => {
                    if let Err(error) = wire.unmask(address, data) {
                        tracing::warn!(vector, %error, "interrupt stays masked");
                        wire.mask();
                    }
                }
            }
        }
    }

    /// Whether the guest enabled MSI-X.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.state.enabled()
    }

    /// One vector; `None` beyond the last.
    #[must_use]
    pub fn vector(&self, number: u16) -> Option<&MsiVector> {
        self.vectors.get(usize::from(number))
    }

    /// One vector, to rebind its eventfd.
    pub fn vector_mut(&mut self, number: u16) -> Option<&mut MsiVector> {
        self.vectors.get_mut(usize::from(number))
    }

    /// A second handle on a vector's eventfd, for a worker thread.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn signaller(&self, number: u16) -> std::io::Result<Option<EventFd>> {
        self.vector(number).map(|v| v.event.try_clone()).transpose()
    }
}
