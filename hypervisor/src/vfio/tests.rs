use super::*;
use crate::irq::IrqBackend;
use crate::pci::config::COMMAND_INTX_DISABLE;
use config::tests::card;
use hardware::tests::{Fake, Log};
use kvm_bindings::kvm_irq_routing_entry;
use proptest::prelude::*;
use vmm_sys_util::eventfd::EventFd;

/// Writes what KVM is asked into the log of the function.
struct Wires(Log);

impl Wires {
    fn say(&self, what: String) -> Result<(), kvm_ioctls::Error> {
        self.0.lock().unwrap().push(what);
        Ok(())
    }
}

impl IrqBackend for Wires {
    fn set_routes(&self, _entries: &[kvm_irq_routing_entry]) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
    fn attach(&self, _event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.say(format!("attach {gsi}"))
    }
    fn attach_level(&self, _: &EventFd, _: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.say(format!("attach level {gsi}"))
    }
    fn detach(&self, _event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.say(format!("detach {gsi}"))
    }
}

const LINE: u32 = 18;

fn assigned(fake: Fake) -> (Assigned<Fake>, Log) {
    let log = Arc::clone(&fake.log);
    let router = IrqRouter::new(Arc::new(Wires(Arc::clone(&log)))).unwrap();
    (Assigned::describe(fake, &router, LINE).unwrap().0, log)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// Offset of a capability.
fn find(device: &Assigned<Fake>, id: u8) -> u16 {
    let mut at = device.config.u16_at(0x34) & 0xFF;
    while device.config.u16_at(at).to_le_bytes()[0] != id {
        at = device.config.u16_at(at) >> 8;
    }
    at
}

fn set_command(device: &mut Assigned<Fake>, bits: u16) {
    device.config_write(COMMAND, &bits.to_le_bytes());
}

#[test]
fn a_function_is_reset_decoding_and_no_bus_master_before_the_guest_runs() {
    let (_device, log) = assigned(card());
    let expected =
        ["reset", "write Config 0x4 [03, 00]", "attach level 18", "enable IntX 1", "unmask by resample"];
    assert_eq!(taken(&log), expected);
}

#[test]
fn bus_mastering_follows_the_guest_after_its_interrupts() {
    let (mut device, log) = assigned(card());
    taken(&log);
    set_command(&mut device, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_DISABLE);
    assert_eq!(taken(&log), ["disable IntX", "detach 18", "write Config 0x4 [07, 00]"]);
    set_command(&mut device, COMMAND_MEMORY);
    let expected = ["write Config 0x4 [03, 00]", "attach level 18", "enable IntX 1", "unmask by resample"];
    assert_eq!(taken(&log), expected);
    set_command(&mut device, COMMAND_MEMORY);
    assert!(taken(&log).is_empty(), "decoding is not the function's business");
}

#[test]
fn msix_replaces_the_pin_and_each_vector_has_its_own_mask() {
    let (mut device, log) = assigned(card());
    let at = find(&device, 0x11);
    taken(&log);
    for vector in [0_u64, 2] {
        for (offset, word) in [(0, 0xFEE0_0000_u32), (4, 0), (8, 0x30), (12, 0)] {
            device.bar_write(3, vector * 16 + offset, &word.to_le_bytes());
        }
    }
    device.config_write(at + 2, &0x8000_u16.to_le_bytes());
    let steps = taken(&log);
    let position = |what: &str| steps.iter().position(|step| step == what);
    assert!(position("disable IntX") < position("enable MsiX 5"), "{steps:?}");
    assert!(position("detach 18").is_some() && !steps.iter().any(|step| step.starts_with("write")));
    assert_eq!(steps.iter().filter(|step| step.starts_with("attach")).count(), 2, "{steps:?}");
    device.bar_write(3, 12, &1_u32.to_le_bytes());
    assert_eq!(taken(&log).len(), 1, "one detached, the function untouched");
    device.bar_write(3, 12, &0_u32.to_le_bytes());
    assert_eq!(taken(&log).len(), 1, "one attached, the function untouched");
    device.config_write(at + 2, &0_u16.to_le_bytes());
    let steps = taken(&log);
    assert!(steps.contains(&"disable MsiX".into()) && steps.contains(&"enable IntX 1".into()), "{steps:?}");
}

#[test]
fn the_real_table_is_never_reached_but_its_neighbours_are() {
    let (mut device, log) = assigned(card());
    taken(&log);
    for (offset, data) in [(0, 0xDEAD_BEEF_u32), (76, 1), (0x2000, 7), (0x2004, 7)] {
        device.bar_write(3, offset, &data.to_le_bytes());
    }
    assert!(taken(&log).is_empty());
    let mut word = [0; 4];
    device.bar_read(3, 0, &mut word);
    assert_eq!(u32::from_le_bytes(word), 0xDEAD_BEEC, "our copy of the table, low bits reserved");
    device.bar_write(3, 80, &[1, 2, 3, 4]);
    assert_eq!(taken(&log), ["write Bar(3) 0x50 [01, 02, 03, 04]"]);
    device.bar_read(0, 8, &mut word);
    assert_eq!(word, [0; 4], "BAR 0 of the fake");
}

#[test]
fn msi_is_one_message() {
    let (mut device, log) = assigned(card());
    let at = find(&device, 0x05);
    taken(&log);
    device.config_write(at + 4, &0xFEE0_0000_u32.to_le_bytes());
    device.config_write(at + 12, &0x41_u16.to_le_bytes());
    assert!(taken(&log).is_empty());
    device.config_write(at + 2, &1_u16.to_le_bytes());
    let steps = taken(&log);
    assert_eq!(&steps[..3], ["disable IntX", "detach 18", "enable Msi 1"]);
    assert_eq!(steps.len(), 4, "{steps:?}");
    device.config_write(at + 2, &0_u16.to_le_bytes());
    let steps = taken(&log);
    assert!(steps[0] == "disable Msi" && steps[1].starts_with("detach"), "{steps:?}");
}

#[test]
fn shut_down_leaves_a_function_that_does_nothing() {
    let (mut device, log) = assigned(card());
    let at = find(&device, 0x11);
    set_command(&mut device, COMMAND_MEMORY | COMMAND_MASTER);
    device.config_write(at + 2, &0x8000_u16.to_le_bytes());
    taken(&log);
    device.shut_down();
    assert_eq!(taken(&log), ["write Config 0x4 [03, 00]", "disable MsiX", "reset"]);
}

proptest! {
    #[test]
    fn a_guest_writes_the_command_register_of_the_function_and_nothing_else(
        writes in prop::collection::vec((any::<bool>(), 0_u16..4096, prop::collection::vec(any::<u8>(), 1..9)), 0..60),
    ) {
        let (mut device, log) = assigned(card());
        taken(&log);
        for (table, at, data) in &writes {
            if *table {
                device.bar_write(3, u64::from(at % 80), data);
            } else {
                device.config_write(*at, data);
            }
        }
        for step in taken(&log).iter().filter(|step| step.starts_with("write Config")) {
            let master = step == "write Config 0x4 [07, 00]" || step == "write Config 0x4 [03, 00]";
            prop_assert!(master, "{}", step);
        }
    }
}
