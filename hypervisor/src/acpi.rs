//! ACPI tables of a hardware-reduced machine: what an unmodified Linux needs to find its processors,
//! interrupts, PCI bus and serial port, and to switch itself off (ACPI 6.5).

mod dsdt;

use crate::load::place;
use crate::power;
use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const OEM: [u8; 6] = *b"BLKHD ";
const TABLE: [u8; 8] = *b"BULKHEAD";
const REVISION: u32 = 1;

/// FADT `IAPC_BOOT_ARCH` (5.2.9.3): VGA and CMOS clock not present; no 8042 (bit 1 clear).
const BOOT_ARCH: u16 = 1 << 2 | 1 << 5;

/// The tables do not fit below 1 MiB.
#[derive(Debug, thiserror::Error)]
#[error("ACPI tables take {0} bytes, too many for the BIOS area")]
pub struct TooLong(usize);

/// Writes the tables for `vcpus` processors; the root pointer is at [`place::ACPI`].
///
/// # Errors
/// [`TooLong`] when they exceed the BIOS area.
pub fn write(memory: &GuestMemoryMmap, vcpus: u8) -> Result<(), TooLong> {
    let bytes = tables(vcpus);
    let fits = bytes.len() as u64 <= power::RESTART_VECTOR - place::ACPI;
    let written = fits.then(|| memory.write_slice(&bytes, GuestAddress(place::ACPI)).ok()).flatten();
    written.ok_or(TooLong(bytes.len()))
}

/// All tables, the root pointer first, laid out from [`place::ACPI`].
fn tables(vcpus: u8) -> Vec<u8> {
    let mut bytes = vec![0; 64]; // the root pointer's place
    let mut append = |table: &dyn Aml| -> u64 {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let at = place::ACPI + bytes.len() as u64;
        table.to_aml_bytes(&mut bytes);
        at
    };
    let dsdt = append(&dsdt::build());
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    for table in [append(&fadt(dsdt)), append(&madt(vcpus)), append(&mcfg())] {
        xsdt.add_entry(table);
    }
    let xsdt = append(&xsdt);
    let mut root = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    bytes[..root.len()].copy_from_slice(&root);
    bytes
}

fn port(number: u16, width: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, width, 0, access, number.into())
}

fn fadt(dsdt: u64) -> acpi_tables::fadt::FADT {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::Desktop)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = port(power::RESET, 8, AccessSize::ByteAccess);
    fadt.reset_value = power::RESET_VALUE;
    fadt.sleep_control_reg = port(power::SLEEP_CONTROL, 8, AccessSize::ByteAccess);
    fadt.sleep_status_reg = port(power::SLEEP_STATUS, 8, AccessSize::ByteAccess);
    fadt.pm_tmr_blk = u32::from(power::TIMER).into();
    fadt.pm_tmr_len = 4;
    fadt.x_pm_tmr_blk = port(power::TIMER, 32, AccessSize::DwordAccess);
    fadt.finalize()
}

fn madt(vcpus: u8) -> MADT {
    let lapic = u32::try_from(abi::memory_map::LAPIC_BASE).unwrap_or(0);
    let ioapic = u32::try_from(abi::memory_map::IOAPIC_BASE).unwrap_or(0);
    let mut madt = MADT::new(OEM, TABLE, REVISION, LocalInterruptController::Address(lapic));
    for cpu in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, ioapic, 0));
    madt
}

fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM, TABLE, REVISION);
    mcfg.add_ecam(abi::memory_map::ECAM_BASE, 0, 0, 0);
    mcfg
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the pointers as an operating system does and checks every sum.
    #[test]
    fn every_table_is_reachable_and_sums_to_zero() {
        let bytes = tables(3);
        let sum = |range: &[u8]| range.iter().fold(0_u8, |a, b| a.wrapping_add(*b));
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!((sum(&bytes[..20]), sum(&bytes[..36])), (0, 0));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let table = |address: u64| {
            let at = usize::try_from(address - place::ACPI).unwrap();
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            let range = at..at + usize::try_from(len).unwrap();
            assert_eq!(sum(&bytes[range.clone()]), 0, "{:?}", std::str::from_utf8(&bytes[at..at + 4]));
            range
        };
        let xsdt = table(u64_at(24));
        let entries: Vec<_> = (xsdt.start + 36..xsdt.end).step_by(8).map(|at| table(u64_at(at))).collect();
        let names: Vec<_> = entries.iter().map(|r| &bytes[r.start..r.start + 4]).collect();
        assert_eq!(names, [b"FACP", b"APIC", b"MCFG"]);
        let fadt = entries[0].start;
        let dsdt = table(u64_at(fadt + 140));
        assert_eq!(&bytes[dsdt.start..dsdt.start + 4], b"DSDT");
        let flags = u32::from_le_bytes(bytes[fadt + 112..fadt + 116].try_into().unwrap());
        assert_eq!(flags & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10, "hardware-reduced, reset register");
        assert_eq!(bytes[fadt + 109] & 2, 0, "no 8042");
    }

    #[test]
    fn the_tables_of_a_large_machine_fit() {
        let memory = crate::memory::allocate(crate::memory::Layout::new(4 << 20)).unwrap();
        write(&memory, u8::MAX).unwrap();
    }
}
