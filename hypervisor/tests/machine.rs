//! Whole machines under real KVM: tiny guests, each showing one promise. Skipped aloud where KVM does not
//! work; `BULKHEAD_VMM` names the program when it is not where it was built.

#[path = "machine/guest.rs"]
mod guest;
#[path = "machine/host.rs"]
mod host;
#[path = "machine/linux.rs"]
mod linux;

use abi::link_device as regs;
use abi::memory_map::{EXIT_PANIC, EXIT_PORT};
use guest::Guest;
use host::{LinkPair, Vm, needs_kvm};
use std::time::Duration;
use vmm_api::message::{End, Ended, Event, What};

/// Where the probes put the BARs of the link device: not where they were assigned.
const REGS: u32 = 0xD000_0000;
const MSIX: u32 = 0xD001_0000;
const WINDOWS: u32 = 0xD400_0000;
const BELLS: u16 = 0xD000;

fn port_register(port: u32, register: u32) -> u32 {
    REGS + regs::PORT_BASE + port * regs::PORT_STRIDE + register
}

/// Programs and enables the link device in slot 1.
fn with_link_device() -> Guest {
    Guest::new()
        .config_write(1, 0x10, REGS)
        .config_write(1, 0x14, MSIX)
        .config_write(1, 0x18, WINDOWS)
        .config_write(1, 0x20, BELLS.into())
        .config_write(1, 0x04, 3)
}

#[test]
fn a_guest_says_how_it_ended() {
    needs_kvm!();
    let cases = [
        (Guest::new().exit(0), Ended::Exited(0)),
        (Guest::new().exit(7), Ended::Exited(7)),
        (Guest::new().out32(EXIT_PORT, EXIT_PANIC), Ended::Panicked),
        (Guest::new().out8(0x611, 5 << 2 | 1 << 5), Ended::PoweredOff),
        (Guest::new().out8(0x610, 1), Ended::Rebooted),
        (Guest::new().triple_fault(), Ended::TripleFault),
    ];
    for (guest, expected) in cases {
        let mut vm = Vm::start(&guest, "");
        assert_eq!(vm.next(), Event::Running);
        assert_eq!(vm.next(), Event::Ended(expected));
    }
}

#[test]
fn absent_hardware_reads_as_all_ones() {
    needs_kvm!();
    let guest = Guest::new()
        .in32(0x64)
        .expect_al(0xFF, 1)
        .load(0xDFFF_0000)
        .expect(u32::MAX, 2)
        .config_read(31, 0)
        .expect(u32::MAX, 3)
        .config_read(0, 0)
        .expect(u32::from(regs::VENDOR), 4)
        .exit(0);
    Vm::start(&guest, "").ends(&Ended::Exited(0));
}

#[test]
fn the_console_carries_text() {
    needs_kvm!();
    let mut vm = Vm::start(&Guest::new().print("bulkhead\n").exit(0), "");
    vm.ends(&Ended::Exited(0));
    vm.console.wait_for("bulkhead\n");
}

#[test]
fn a_unikernel_finds_its_boot_record() {
    needs_kvm!();
    // EBX → start info → module list → module 0 → record.
    let guest = Guest::new()
        .chase_start_info(0x10)
        .load_at_eax(0)
        .load_at_eax(0)
        .expect(u32::from_le_bytes(*b"BULK"), 1)
        .exit(0);
    Vm::start(&guest, r#","boot_info":true"#).ends(&Ended::Exited(0));
}

#[test]
fn frames_and_doorbells_pass_without_an_exit() {
    needs_kvm!();
    let (ours, theirs) = (WINDOWS, WINDOWS + 0x20_0000);
    let guest = with_link_device()
        .load(REGS)
        .expect(regs::MAGIC, 1)
        .load(REGS + regs::REG_PORTS)
        .expect(2, 2)
        .wait_for(port_register(0, regs::PORT_STATE), regs::STATE_UP)
        .load(port_register(0, regs::PORT_EPOCH_LO))
        .expect(5, 3)
        .load(port_register(0, regs::PORT_RX_OFFSET))
        .expect(0x20_0000, 4)
        .store(ours, 0x1234_5678)
        .out32(BELLS, 1)
        .wait_for(theirs, 0x8765_4321)
        .store(theirs, 0)
        .load(theirs)
        .expect(0x8765_4321, 5)
        .exit(0);
    let mut vm = Vm::start(&guest, r#","link_ports":2"#);
    assert_eq!(vm.next(), Event::Running);
    let link = LinkPair::new();
    vm.attach(End::Port(0), 5, &link);
    assert!(link.rung(Duration::from_secs(20)), "the doorbell arrives");
    assert_eq!(link.read_theirs(0), 0x1234_5678);
    let counters = vm.stats();
    assert_eq!(counters["exit_pio_out"], 0, "the doorbell does not exit: {counters:?}");
    assert_eq!(counters["links_attached"], 1);
    link.write_ours(0, 0x8765_4321);
    assert_eq!(vm.next(), Event::Ended(Ended::Exited(0)));
}

#[test]
fn a_link_is_replaced_and_taken_away() {
    needs_kvm!();
    let guest = with_link_device()
        .wait_for(port_register(1, regs::PORT_EPOCH_LO), 1)
        .store(WINDOWS + 0x40_0000, 0x1111)
        .out32(BELLS + 4, 1)
        .wait_for(port_register(1, regs::PORT_EPOCH_LO), 2)
        .store(WINDOWS + 0x40_0000, 0x2222)
        .out32(BELLS + 4, 1)
        .wait_for(port_register(1, regs::PORT_STATE), regs::STATE_DOWN)
        .load(WINDOWS + 0x40_0000)
        .expect(u32::MAX, 1)
        .exit(0);
    let mut vm = Vm::start(&guest, r#","link_ports":2"#);
    assert_eq!(vm.next(), Event::Running);
    let (first, second) = (LinkPair::new(), LinkPair::new());
    vm.attach(End::Port(1), 1, &first);
    assert!(first.rung(Duration::from_secs(20)));
    vm.attach(End::Port(1), 2, &second);
    assert!(second.rung(Duration::from_secs(20)));
    assert_eq!((first.read_theirs(0), second.read_theirs(0)), (0x1111, 0x2222));
    vm.does(What::DetachLink { end: End::Port(1) });
    assert_eq!(vm.next(), Event::Ended(Ended::Exited(0)));
}

#[test]
fn bad_requests_fail_and_leave_the_machine_running() {
    needs_kvm!();
    let mut vm = Vm::start(&Guest::new().spin(), r#","link_ports":1"#);
    assert_eq!(vm.next(), Event::Running);
    let link = LinkPair::new();
    let end = End::Port(0);
    let attach = |epoch| link.attach_request(end, epoch);
    assert!(vm.fails(attach(1), &link.attach_fds()).contains("PrepareLink"));
    assert!(vm.fails(What::PrepareLink { end: End::Port(9) }, &[link.fresh()]).contains("no such link end"));
    assert!(vm.fails(What::PrepareLink { end }, &[]).contains("needs 1 descriptors"));
    vm.prepare(end, &link);
    let unsealed = link.with_unsealed_region();
    assert!(vm.fails(attach(1), &unsealed).contains("not sealed"));
    vm.connect(end, 3, &link);
    let again = LinkPair::new();
    vm.prepare(end, &again);
    assert!(vm.fails(again.attach_request(end, 3), &again.attach_fds()).contains("epoch 3"));
    assert!(vm.fails(What::VsockConnect { port: 1 }, &[link.fresh()]).contains("no vsock device"));
    vm.does(What::Kill);
    assert_eq!(vm.next(), Event::Ended(Ended::Killed));
}

#[test]
fn the_machine_ends_with_its_manager() {
    needs_kvm!();
    let mut vm = Vm::start(&Guest::new().spin(), "");
    assert_eq!(vm.next(), Event::Running);
    vm.abandon();
    assert!(vm.exits_within(Duration::from_secs(20)));
}

#[test]
fn mistakes_are_told_apart_from_a_failing_guest() {
    let error = host::refused(r#"{"name":"x","kernel":{"path":"/nonexistent/kernel"},"memory_mib":64}"#);
    assert!(error.contains("the kernel (/nonexistent/kernel)"), "{error}");
    let error = host::refused("{");
    assert!(error.contains("not valid"), "{error}");
}
