//! Exit reason → action, one match. The only place where a guest access finds its device.

use crate::pci::bus::{PciBus, Target, lock};
use crate::power::{self, Power};
use crate::serial::{self, SerialPort};
use crate::stats::{Stats, count};
use crate::virtio::counters::Registry;
use abi::memory_map::{COM1, ECAM_BASE, ECAM_LEN, EXIT_PANIC, EXIT_PORT};
use kvm_ioctls::VcpuExit;
use std::sync::{Arc, Mutex};
use vmm_api::message::Ended;

/// First port of the PCI configuration mechanism.
const PCI_CONFIG: u16 = 0xCF8;
const PCI_CONFIG_LAST: u16 = 0xCFF;
const COM1_LAST: u16 = COM1 + serial::PORTS - 1;
const POWER_LAST: u16 = power::BLOCK + power::BLOCK_LEN - 1;

/// Everything that answers guest accesses.
pub struct Exits {
    /// The PCI bus.
    pub pci: Mutex<PciBus>,
    /// The serial port.
    pub serial: SerialPort,
    /// Power management.
    pub power: Power,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Counters of the devices.
    pub registry: Registry,
}

impl Exits {
    /// All counters: the machine's, then the devices'.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut counters = self.stats.snapshot();
        counters.extend(self.registry.snapshot());
        counters
    }

    /// Acts on one exit; `Some` when it ends the machine.
    pub fn handle(&self, exit: VcpuExit<'_>) -> Option<Ended> {
        count(&self.stats.exits);
        match exit {
            VcpuExit::IoIn(port, data) => self.port_in(port, data),
            VcpuExit::IoOut(port, data) => return self.port_out(port, data),
            VcpuExit::MmioRead(address, data) => self.memory_in(address, data),
            VcpuExit::MmioWrite(address, data) => self.memory_out(address, data),
            VcpuExit::Intr => count(&self.stats.exit_signal),
            VcpuExit::Shutdown => return Some(Ended::TripleFault),
            VcpuExit::InternalError => return Some(host("KVM could not emulate an instruction")),
            VcpuExit::FailEntry(reason, cpu) => {
                return Some(host(&format!("KVM could not enter the guest: {reason:#x} on CPU {cpu}")));
            }
            VcpuExit::SystemEvent(kind, _) => return Some(host(&format!("KVM system event {kind}"))),
            VcpuExit::MemoryFault { gpa, .. } => {
                return Some(host(&format!("KVM could not map guest memory at {gpa:#x}")));
            }
            VcpuExit::Unsupported(reason) => {
                return Some(host(&format!("KVM exit reason {reason} is not known")));
            }
            other => {
                count(&self.stats.exit_other);
                tracing::debug!(?other, "exit ignored");
            }
        }
        None
    }

    /// Reads are all ones unless somebody answers: what absent hardware gives.
    fn port_in(&self, port: u16, data: &mut [u8]) {
        data.fill(0xFF);
        match port {
            COM1..=COM1_LAST => {
                count(&self.stats.exit_serial_in);
                self.serial.read(port - COM1, data);
            }
            PCI_CONFIG..=PCI_CONFIG_LAST => {
                count(&self.stats.exit_pci_config);
                lock(&self.pci).port_read(port - PCI_CONFIG, data);
            }
            power::BLOCK..=POWER_LAST => {
                count(&self.stats.exit_power);
                self.power.read(port, data);
            }
            _ => {
                let hit = lock(&self.pci).port_target(port, data.len());
                count(if hit.is_some() { &self.stats.exit_pio_in } else { &self.stats.exit_unclaimed });
                read(hit, data);
            }
        }
    }

    fn port_out(&self, port: u16, data: &[u8]) -> Option<Ended> {
        match port {
            COM1..=COM1_LAST => {
                count(&self.stats.exit_serial_out);
                self.serial.write(port - COM1, data);
            }
            PCI_CONFIG..=PCI_CONFIG_LAST => {
                count(&self.stats.exit_pci_config);
                lock(&self.pci).port_write(port - PCI_CONFIG, data);
            }
            power::BLOCK..=POWER_LAST => {
                count(&self.stats.exit_power);
                return self.power.write(port, data);
            }
            EXIT_PORT => return Some(exited(data)),
            _ => {
                let hit = lock(&self.pci).port_target(port, data.len());
                count(if hit.is_some() { &self.stats.exit_pio_out } else { &self.stats.exit_unclaimed });
                write(hit, data);
            }
        }
        None
    }

    fn memory_in(&self, address: u64, data: &mut [u8]) {
        data.fill(0xFF);
        if let Some(offset) = in_ecam(address) {
            count(&self.stats.exit_pci_config);
            return lock(&self.pci).ecam_read(offset, data);
        }
        let hit = lock(&self.pci).memory_target(address, data.len());
        count(if hit.is_some() { &self.stats.exit_mmio_in } else { &self.stats.exit_unclaimed });
        read(hit, data);
    }

    fn memory_out(&self, address: u64, data: &[u8]) {
        if let Some(offset) = in_ecam(address) {
            count(&self.stats.exit_pci_config);
            return lock(&self.pci).ecam_write(offset, data);
        }
        let hit = lock(&self.pci).memory_target(address, data.len());
        count(if hit.is_some() { &self.stats.exit_mmio_out } else { &self.stats.exit_unclaimed });
        write(hit, data);
    }
}

fn in_ecam(address: u64) -> Option<u64> {
    address.checked_sub(ECAM_BASE).filter(|offset| *offset < ECAM_LEN)
}

fn read(target: Option<Target>, data: &mut [u8]) {
    if let Some(Target { device, bar, offset }) = target {
        lock(&device).bar_read(bar, offset, data);
    }
}

fn write(target: Option<Target>, data: &[u8]) {
    if let Some(Target { device, bar, offset }) = target {
        lock(&device).bar_write(bar, offset, data);
    }
}

fn exited(data: &[u8]) -> Ended {
    let mut code = [0; 4];
    for (to, from) in code.iter_mut().zip(data) {
        *to = *from;
    }
    match u32::from_le_bytes(code) {
        EXIT_PANIC => Ended::Panicked,
        code => Ended::Exited(code),
    }
}

fn host(text: &str) -> Ended {
    Ended::HostError(text.to_owned())
}
