//! The differentiated system description table: PCI root, serial port, power button, soft-off.

use super::{OEM, REVISION, TABLE};
use crate::{irq, power};
use abi::memory_map;
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Device, EISAName, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, IO, If, Interrupt, Local, Memory32Fixed, Method, Name, Notify, OpRegion,
    OpRegionSpace, Package, Path, ResourceTemplate, Scope, Store, ZERO,
};
use acpi_tables::sdt::Sdt;

/// Slots for which an INTx line is described.
const SLOTS: u32 = 32;

pub(super) fn build() -> Sdt {
    let mut aml = Vec::new();
    let soft_off = 5_u8;
    let s5 = Package::new(vec![&soft_off, &soft_off, &ZERO, &ZERO]);
    Name::new("_S5_".into(), &s5).to_aml_bytes(&mut aml);
    pci_root(&mut aml);
    ecam(&mut aml);
    serial(&mut aml);
    power_button(&mut aml);
    let mut table = Sdt::new(*b"DSDT", 36, 6, OEM, TABLE, REVISION);
    table.append_slice(&aml);
    table.update_checksum();
    table
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

/// Appends a device of the system bus.
fn device(aml: &mut Vec<u8>, name: &str, children: &[&dyn Aml]) {
    let device = Device::new(name.into(), children.to_vec());
    Scope::new("_SB_".into(), vec![&device]).to_aml_bytes(aml);
}

fn pci_root(aml: &mut Vec<u8>) {
    let last = |base: u64, len: u64| narrow(base + len - 1);
    let (memory, memory_len) = (memory_map::MMIO32_BASE, memory_map::MMIO32_LEN);
    let (ports, ports_len) = (memory_map::PIO_BASE, memory_map::PIO_LEN);
    let bus = AddressSpace::new_bus_number(0_u16, 0);
    let config = IO::new(0xCF8, 0xCF8, 1, 8);
    let io = AddressSpace::new_io(ports, ports + (ports_len - 1), None);
    let cacheable = AddressSpaceCacheable::NotCacheable;
    let window = AddressSpace::new_memory(cacheable, true, narrow(memory), last(memory, memory_len), None);
    let resources = ResourceTemplate::new(vec![&bus, &config, &io, &window]);
    let routes: Vec<_> = (0..SLOTS).map(route).collect();
    let entries: Vec<_> =
        routes.iter().map(|(address, gsi)| Package::new(vec![address, &ZERO, &ZERO, gsi])).collect();
    let table = Package::new(entries.iter().map(|e| e as &dyn Aml).collect());
    device(
        aml,
        "PCI0",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_SEG".into(), &ZERO),
            &Name::new("_BBN".into(), &ZERO),
            &Name::new("_CRS".into(), &resources),
            &Name::new("_PRT".into(), &table),
        ],
    );
}

/// Pin A of a slot and the interrupt that it raises.
fn route(slot: u32) -> (u32, u32) {
    (slot << 16 | 0xFFFF, irq::intx_line(slot))
}

/// Linux believes MCFG only when the range is also a reserved resource of the motherboard.
fn ecam(aml: &mut Vec<u8>) {
    let (base, len) = (narrow(memory_map::ECAM_BASE), narrow(memory_map::ECAM_LEN));
    let range = Memory32Fixed::new(true, base, len);
    let resources = ResourceTemplate::new(vec![&range]);
    device(
        aml,
        "ECAM",
        &[&Name::new("_HID".into(), &EISAName::new("PNP0C02")), &Name::new("_CRS".into(), &resources)],
    );
}

fn serial(aml: &mut Vec<u8>) {
    let ports = IO::new(memory_map::COM1, memory_map::COM1, 1, 8);
    let line = Interrupt::new(true, true, false, false, crate::serial::LINE);
    let resources = ResourceTemplate::new(vec![&line, &ports]);
    device(
        aml,
        "COM1",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &resources),
        ],
    );
}

/// A power button behind a generic event device: its interrupt runs `_EVT`, which reads (and so clears) the
/// event register and notifies the button.
fn power_button(aml: &mut Vec<u8>) {
    device(aml, "PWRB", &[&Name::new("_HID".into(), &EISAName::new("PNP0C0C"))]);
    let line = Interrupt::new(true, true, false, false, power::EVENT_LINE);
    let resources = ResourceTemplate::new(vec![&line]);
    let (at, one) = (power::EVENT, 1_u8);
    let region = OpRegion::new("EREG".into(), OpRegionSpace::SystemIO, &at, &one);
    let field = Field::new(
        "EREG".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![FieldEntry::Named(*b"EVNT", 8)],
    );
    let (seen, pressed, mask) = (Local(0), 0x80_u8, power::EVENT_BUTTON);
    let path = Path::new("\\_SB_.PWRB");
    let event = Path::new("EVNT");
    let load = Store::new(&seen, &event);
    let masked = And::new(&ZERO, &seen, &mask);
    let notify = Notify::new(&path, &pressed);
    let check = If::new(&masked, vec![&notify]);
    let method = Method::new("_EVT".into(), 1, true, vec![&load, &check]);
    device(
        aml,
        "GED0",
        &[
            &Name::new("_HID".into(), &"ACPI0013"),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &resources),
            &region,
            &field,
            &method,
        ],
    );
}
