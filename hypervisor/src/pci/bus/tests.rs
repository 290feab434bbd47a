use super::*;
use crate::pci::config::{BarKind, COMMAND};
use proptest::prelude::*;

/// Answers reads with its tag and records what the bus tells it.
struct Probe {
    config: PciConfig,
    tag: u8,
    moved: Vec<(u8, Option<u64>)>,
    written: Vec<(u8, u64, Vec<u8>)>,
}

impl Probe {
    fn shared(tag: u8) -> Arc<Mutex<Self>> {
        let identity = Identity { vendor: 0x1AF4, device: tag.into(), ..Identity::default() };
        let mut config = PciConfig::new(&identity);
        config.add_bar(0, BarKind::Memory32, 0x1000).unwrap();
        config.add_bar(4, BarKind::Io, 0x40).unwrap();
        Arc::new(Mutex::new(Self { config, tag, moved: Vec::new(), written: Vec::new() }))
    }
}

impl PciDevice for Probe {
    fn config(&mut self) -> &mut PciConfig {
        &mut self.config
    }
    fn bar_read(&mut self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(self.tag);
    }
    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        self.written.push((bar, offset, data.to_vec()));
    }
    fn bar_moved(&mut self, bar: u8, base: Option<u64>) {
        self.moved.push((bar, base));
    }
}

fn ecam(slot: u64, register: u64) -> u64 {
    slot * 8 * ECAM_FUNCTION + register
}

#[test]
fn both_mechanisms_reach_the_same_register() {
    let mut bus = PciBus::default();
    assert_eq!(bus.add(Probe::shared(7)).unwrap(), 1);
    let mut by_ecam = [0; 4];
    bus.ecam_read(ecam(1, 0), &mut by_ecam);
    assert_eq!(by_ecam, [0xF4, 0x1A, 7, 0]);
    bus.port_write(0, &0x8000_0800_u32.to_le_bytes());
    let mut by_port = [0; 2];
    bus.port_read(6, &mut by_port);
    assert_eq!(by_port, [7, 0]);
}

#[test]
fn absent_functions_read_as_all_ones() {
    let mut bus = PciBus::default();
    bus.add(Probe::shared(1)).unwrap();
    for offset in [ecam(2, 0), ecam(31, 0), ecam(1, 0) + ECAM_FUNCTION, u64::MAX] {
        let mut data = [0; 4];
        bus.ecam_read(offset, &mut data);
        assert_eq!(data, [0xFF; 4], "at {offset:#x}");
    }
    bus.port_write(0, &0x8001_0800_u32.to_le_bytes());
    let mut data = [0; 4];
    bus.port_read(4, &mut data);
    assert_eq!(data, [0xFF; 4], "bus 1");
}

#[test]
fn accesses_follow_the_programmed_bar() {
    let mut bus = PciBus::default();
    let probe = Probe::shared(9);
    bus.add(probe.clone()).unwrap();
    let base = lock(&probe).config.bar_address(0);
    assert!(bus.memory_target(base, 4).is_none(), "not decoded yet");
    bus.ecam_write(ecam(1, COMMAND.into()), &[3, 0]);
    let hit = bus.memory_target(base + 0xFFC, 4).unwrap();
    assert_eq!((hit.bar, hit.offset), (0, 0xFFC));
    assert!(bus.memory_target(base + 0xFFD, 4).is_none(), "reaches beyond the BAR");
    let moved = base + 0x10_0000;
    bus.ecam_write(ecam(1, 0x10), &u32::try_from(moved).unwrap().to_le_bytes());
    assert!(bus.memory_target(base, 4).is_none());
    assert!(bus.memory_target(moved, 4).is_some());
    let port = lock(&probe).config.bar_address(4);
    assert!(bus.port_target(u16::try_from(port).unwrap() + 8, 4).is_some());
    let heard = lock(&probe).moved.clone();
    assert_eq!(heard, [(0, Some(base)), (4, Some(port)), (0, Some(moved))]);
}

#[test]
fn a_bar_over_guest_memory_is_not_decoded() {
    let mut bus = PciBus::default();
    let probe = Probe::shared(9);
    bus.add(probe.clone()).unwrap();
    bus.ecam_write(ecam(1, COMMAND.into()), &[2, 0]);
    bus.ecam_write(ecam(1, 0x10), &0x10_0000_u32.to_le_bytes());
    assert!(bus.memory_target(0x10_0000, 4).is_none());
    assert_eq!(lock(&probe).moved.last(), Some(&(0, None)));
}

#[test]
fn a_full_bus_says_so() {
    let mut bus = PciBus::default();
    for _ in 1..SLOTS {
        bus.add(Probe::shared(1)).unwrap();
    }
    assert_eq!(bus.add(Probe::shared(1)), Err(CannotAdd::BusFull));
}

proptest! {
    #[test]
    fn arbitrary_accesses_never_panic(
        steps in prop::collection::vec((0u8..6, any::<u64>(), prop::collection::vec(any::<u8>(), 1..9)), 0..200)
    ) {
        let mut bus = PciBus::default();
        bus.add(Probe::shared(1)).unwrap();
        bus.add(Probe::shared(2)).unwrap();
        for (kind, place, mut data) in steps {
            let port = u16::try_from(place & 7).unwrap();
            match kind {
                0 => bus.ecam_read(place & 0xF_FFFF, &mut data),
                1 => bus.ecam_write(place & 0x1_FFFF, &data),
                2 => bus.port_read(port, &mut data),
                3 => bus.port_write(port, &data),
                4 => drop(bus.memory_target(place, data.len())),
                _ => drop(bus.port_target(u16::try_from(place & 0xFFFF).unwrap(), data.len())),
            }
            for mapping in &bus.mappings {
                let kind = if mapping.io { BarKind::Io } else { BarKind::Memory32 };
                prop_assert!(bus.windows.allow(kind, mapping.base, mapping.len));
            }
        }
    }
}
