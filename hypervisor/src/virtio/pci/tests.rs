use super::*;
use crate::irq::IrqBackend;
use crate::virtio::counters::Registry;
use crate::virtio::device::{F_COMMON, F_EVENT_IDX, F_VERSION_1};
use crate::virtio::rng;
use crate::virtio::testing::{Driver, Piece, memory, wait_until};
use kvm_bindings::kvm_irq_routing_entry;
use kvm_ioctls::IoEventAddress;
use proptest::prelude::*;
use vmm_sys_util::eventfd::EventFd;

struct Accepting;

impl IrqBackend for Accepting {
    fn set_routes(&self, _: &[kvm_irq_routing_entry]) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
    fn attach(&self, _: &EventFd, _: u32) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
    fn attach_level(&self, _: &EventFd, _: &EventFd, _: u32) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
    fn detach(&self, _: &EventFd, _: u32) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
}

impl IoEventBackend for Accepting {
    fn register(&self, _: &EventFd, _: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
    fn unregister(&self, _: &EventFd, _: &IoEventAddress) -> Result<(), kvm_ioctls::Error> {
        Ok(())
    }
}

struct Machine {
    function: VirtioPci,
    driver: Driver,
}

const STATUS: u64 = 0x14;

impl Machine {
    fn new() -> Self {
        let memory = memory(0x10_0000);
        let driver = Driver::new(&memory, 0, 16);
        let irq = IrqRouter::new(Arc::new(Accepting)).unwrap();
        let device = rng::device("rng", &Registry::default()).unwrap();
        let function = VirtioPci::new(device, memory, &irq, Arc::new(Accepting)).unwrap();
        Self { function, driver }
    }

    fn read(&mut self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.function.bar_read(BAR, offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    fn write(&mut self, offset: u64, value: u64, len: usize) {
        self.function.bar_write(BAR, offset, &value.to_le_bytes()[..len]);
    }

    fn status(&mut self) -> u64 {
        self.read(STATUS, 1)
    }

    fn negotiate(&mut self, features: u64) {
        self.write(STATUS, 0, 1);
        self.write(STATUS, 1, 1);
        self.write(STATUS, 3, 1);
        for select in 0..2 {
            self.write(8, select, 4);
            self.write(0xC, features >> (32 * select) & 0xFFFF_FFFF, 4);
        }
        self.write(STATUS, 0xB, 1);
    }

    fn set_up_queue(&mut self, base: u64) {
        self.write(0x16, 0, 2);
        self.write(0x18, 16, 2);
        self.write(0x1A, 1, 2);
        for (offset, address) in [(0x20, base), (0x28, base + 0x1000), (0x30, base + 0x2000)] {
            self.write(offset, address & 0xFFFF_FFFF, 4);
            self.write(offset + 4, address >> 32, 4);
        }
        self.write(0x1C, 1, 2);
    }

    fn start(&mut self) {
        self.negotiate(F_VERSION_1 | F_EVENT_IDX);
        self.set_up_queue(0);
        self.write(STATUS, 0xF, 1);
        assert_eq!(self.status(), 0xF);
    }

    /// Offers one buffer and notifies through the BAR, as a driver without ioeventfd would.
    fn works(&mut self) {
        self.driver = Driver::new(&self.driver.memory.clone(), 0, 16);
        self.driver.put(0x1002, 0u16);
        self.driver.put(0x2002, 0u16);
        self.start();
        self.driver.offer(&[Piece::In(0x8000, 64)]);
        self.write(NOTIFY.into(), 0, 2);
        assert_eq!(self.driver.wait_used(1)[0].1, 64);
    }

    fn set_up(&mut self) -> Vec<u64> {
        (0x18..0x38).step_by(8).map(|offset| self.read(offset, 8)).collect()
    }
}

#[test]
fn driver_finds_its_way_by_capabilities() {
    let mut machine = Machine::new();
    let config = machine.function.config();
    assert_eq!(config.u32_at(0), 0x1044_1AF4);
    let mut at = config.u16_at(0x34) & 0xFF;
    let mut found = Vec::new();
    while at != 0 {
        if config.u16_at(at) & 0xFF == 9 {
            let (kind, bar) = (config.u16_at(at + 2) >> 8, config.u16_at(at + 4) & 0xFF);
            found.push((kind, bar, config.u32_at(at + 8), config.u32_at(at + 12)));
        }
        at = config.u16_at(at) >> 8;
    }
    found.sort_unstable();
    let page = |kind, offset| (kind, 0, offset, 0x1000);
    assert_eq!(found, [page(1, 0), page(2, 0x3000), page(3, 0x1000), page(4, 0x2000)]);
}

#[test]
fn device_works_after_negotiation_and_again_after_reset() {
    let mut machine = Machine::new();
    machine.works();
    // No MSI-X: the cause shows in the ISR byte, once.
    wait_until("ISR", || machine.read(ISR.into(), 1) == 1);
    assert_eq!(machine.read(ISR.into(), 1), 0);
    machine.works();
}

#[test]
fn interrupts_go_to_the_chosen_vector() {
    let mut machine = Machine::new();
    let capability = {
        let config = machine.function.config();
        let mut at = config.u16_at(0x34) & 0xFF;
        while config.u16_at(at) & 0xFF != 0x11 {
            at = config.u16_at(at) >> 8;
        }
        at
    };
    machine.function.config_write(capability + 2, &0x8000u16.to_le_bytes());
    machine.works();
    wait_until("vector 1", || machine.function.msix.vector(1).unwrap().pending());
    assert!(!machine.function.msix.vector(0).unwrap().pending());
    assert_eq!(machine.read(ISR.into(), 1), 0);
    // A vector that does not exist is refused.
    machine.write(STATUS, 0, 1);
    machine.write(0x1A, 2, 2);
    assert_eq!(machine.read(0x1A, 2), 0xFFFF);
}

#[test]
fn features_are_agreed_once_and_only_those_offered() {
    let mut machine = Machine::new();
    machine.write(0, 1, 4);
    assert_eq!(machine.read(4, 4), F_COMMON >> 32);
    machine.write(0, 7, 4);
    assert_eq!(machine.read(4, 4), 0);
    machine.negotiate(F_VERSION_1 | 1 << 5);
    assert_eq!(machine.status(), 3);
    machine.negotiate(F_EVENT_IDX);
    assert_eq!(machine.status(), 3);
    // Without agreement the device does not start.
    machine.write(STATUS, 0xF, 1);
    assert_eq!(machine.status(), 3);
    machine.negotiate(F_VERSION_1);
    assert_eq!(machine.status(), 0xB);
    machine.write(8, 0, 4);
    machine.write(0xC, 1 << 29, 4);
    assert_eq!(machine.read(0xC, 4), 0);
}

/// The class of CVE-2026-5747: a driver that moves a queue after the device has looked at it.
#[test]
fn queue_is_immutable_once_enabled_and_once_started() {
    let mut machine = Machine::new();
    machine.start();
    let before = machine.set_up();
    machine.set_up_queue(0x4_0000);
    machine.write(0x1A, 0, 2);
    machine.write(0x1C, 0, 2);
    machine.write(0x20, u64::MAX, 8);
    assert_eq!(machine.set_up(), before);
    machine.write(STATUS, 0, 1);
    machine.set_up_queue(0x4_0000);
    machine.write(0x20, 0x5_0000, 8);
    assert_eq!(machine.read(0x20, 8), 0x4_0000);
}

#[test]
fn impossible_queues_do_not_start() {
    for base in [0xF_F000, 0x10_0000, !0xFFF_FFFF, 0x8] {
        let mut machine = Machine::new();
        machine.negotiate(F_VERSION_1);
        machine.set_up_queue(base);
        machine.write(STATUS, 0xF, 1);
        assert_eq!(machine.status(), 0x4F, "{base:#x}");
        machine.works();
    }
    // Sizes that make no sense are not taken.
    let mut machine = Machine::new();
    for size in [0, 3, 65, 128, 0x8000] {
        machine.write(0x18, size, 2);
        assert_eq!(machine.read(0x18, 2), 64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any register accesses of any width: no panic, and the device works after a reset.
    #[test]
    fn survives_any_accesses(accesses in proptest::collection::vec(
        (0u8..2, prop_oneof![0u64..0x40, 0u64..0x4000], prop_oneof![0u64..16, any::<u64>()],
         proptest::sample::select(vec![1usize, 2, 4, 8]), any::<bool>()), 1..80)
    ) {
        let mut machine = Machine::new();
        for (bar, offset, value, len, write) in accesses {
            if write {
                machine.function.bar_write(bar, offset, &value.to_le_bytes()[..len]);
            } else {
                machine.function.bar_read(bar, offset, &mut [0; 8][..len]);
            }
        }
        machine.works();
        machine.function.shut_down();
    }
}
