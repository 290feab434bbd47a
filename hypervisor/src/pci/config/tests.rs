use super::*;
use proptest::prelude::*;

fn device() -> PciConfig {
    let identity = Identity {
        vendor: 0x1AF4,
        device: 0x1041,
        class: 0x02_00_00,
        revision: 1,
        subsystem_vendor: 0x1AF4,
        subsystem: 0x40,
    };
    let mut config = PciConfig::new(&identity);
    config.add_bar(0, BarKind::Memory32, 0x4000).unwrap();
    config.add_bar(1, BarKind::Io, 0x20).unwrap();
    config.add_bar(2, BarKind::Memory64Prefetch, 0x10_0000).unwrap();
    config
}

#[test]
fn identity_stands_where_software_looks() {
    let config = device();
    assert_eq!(config.u32_at(0), 0x1041_1AF4);
    assert_eq!(config.u32_at(8), 0x0200_0001);
    assert_eq!(config.u32_at(0x2C), 0x0040_1AF4);
}

#[test]
fn sizing_finds_kind_and_length() {
    let mut config = device();
    for n in 0..6 {
        config.write(bar_offset(n), &[0xFF; 4]);
    }
    assert_eq!(config.u32_at(0x10), 0xFFFF_C000);
    assert_eq!(config.u32_at(0x14), 0xFFFF_FFE1);
    assert_eq!(config.u32_at(0x18), 0xFFF0_000C);
    assert_eq!(config.u32_at(0x1C), 0xFFFF_FFFF);
    assert_eq!(config.u32_at(0x20), 0, "a BAR that does not exist reads as zero");
}

#[test]
fn a_bar_answers_only_while_decoded() {
    let mut config = device();
    config.set_bar_address(0, 0xC000_0000);
    config.set_bar_address(2, 0x12_3450_0000);
    assert_eq!(config.decoded(0), None);
    config.write(COMMAND, &COMMAND_MEMORY.to_le_bytes());
    assert_eq!(config.decoded(0), Some(0xC000_0000));
    assert_eq!(config.decoded(2), Some(0x12_3450_0000));
    assert_eq!(config.decoded(1), None, "I/O decoding is another bit");
}

#[test]
fn capabilities_are_chained() {
    let mut config = device();
    let first = config.add_capability(0x09, &[1, 2, 3], &[]).unwrap();
    let second = config.add_capability(0x11, &[0; 10], &[0, 0xC0]).unwrap();
    assert_eq!((first, second), (0x40, 0x48));
    assert_eq!(config.u16_at(CAPABILITIES) & 0xFF, 0x40);
    assert_eq!(config.u16_at(0x40), 0x4809);
    assert_eq!(config.u16_at(0x48), 0x0011);
    assert_eq!(config.u16_at(STATUS) & 0x10, 0x10);
    config.write(0x4A, &[0xFF, 0xFF]);
    assert_eq!(config.u16_at(0x4A), 0xC000);
    assert_eq!(config.add_capability(1, &[0; 200], &[]), Err(BadLayout::NoRoom(200)));
}

#[test]
fn impossible_layouts_are_refused() {
    let mut config = device();
    assert_eq!(config.add_bar(0, BarKind::Io, 4), Err(BadLayout::BarNumber(0)));
    assert_eq!(config.add_bar(3, BarKind::Io, 4), Err(BadLayout::BarNumber(3)), "upper half of BAR 2");
    assert_eq!(config.add_bar(5, BarKind::Memory64, 0x1000), Err(BadLayout::BarNumber(5)));
    assert_eq!(config.add_bar(4, BarKind::Memory32, 0x3000), Err(BadLayout::BarSize(0x3000)));
    assert_eq!(config.add_bar(4, BarKind::Io, 512), Err(BadLayout::BarSize(512)));
}

proptest! {
    /// Whatever a guest writes, identity, BAR types and read-only bits stay, and addresses stay aligned.
    #[test]
    fn arbitrary_writes_stay_under_the_mask(
        writes in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..9)), 0..64)
    ) {
        let mut config = device();
        config.add_capability(0x11, &[0; 10], &[0, 0xC0]).unwrap();
        for (offset, data) in writes {
            config.write(offset, &data);
            let mut out = data.clone();
            config.read(offset, &mut out);
            prop_assert_eq!(config.u32_at(0), 0x1041_1AF4);
            prop_assert_eq!(config.u32_at(0x18) & 0xF, 0xC);
            prop_assert_eq!(config.bar_address(0) % 0x4000, 0);
            prop_assert_eq!(config.bar_address(1) % 0x20, 0);
            prop_assert_eq!(config.bar_address(2) % 0x10_0000, 0);
            prop_assert_eq!(config.u16_at(COMMAND) & !COMMAND_WRITABLE, 0);
        }
    }
}
