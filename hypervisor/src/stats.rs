//! Counters that dom0 can ask for, by name and in a stable order.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The machine's counters. Relaxed: each is a count of its own, nothing is ordered by it.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Stats {
            /// Name and value of every counter.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(String, u64)> {
                vec![$((stringify!($name).to_owned(), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Exits to this process, all reasons.
    exits,
    /// Exits for reads of the serial port.
    exit_serial_in,
    /// Exits for writes to the serial port.
    exit_serial_out,
    /// Exits for PCI configuration, by port or ECAM.
    exit_pci_config,
    /// Exits for power management registers.
    exit_power,
    /// Exits for reads of a port BAR.
    exit_pio_in,
    /// Exits for writes to a port BAR; a doorbell that shows up here has no ioeventfd.
    exit_pio_out,
    /// Exits for reads of a memory BAR.
    exit_mmio_in,
    /// Exits for writes to a memory BAR.
    exit_mmio_out,
    /// Exits for accesses that nothing answers: reads give all ones, writes are dropped.
    exit_unclaimed,
    /// Exits because a signal arrived.
    exit_signal,
    /// Exits for other reasons.
    exit_other,
    /// Console bytes dropped because the reader stalled.
    console_dropped,
    /// Link ends attached.
    links_attached,
    /// Link ends detached.
    links_detached,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
