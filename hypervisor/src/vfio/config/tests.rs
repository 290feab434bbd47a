use super::*;
use crate::pci::config::{COMMAND, SPACE};
use crate::vfio::hardware::tests::Fake;
use proptest::prelude::*;

/// The 82574 as QEMU makes it.
pub(in crate::vfio) fn card() -> Fake {
    let mut fake = Fake::default();
    fake.put(0x00, &[0x86, 0x80, 0xD3, 0x10, 0x06, 0x00, 0x10, 0x00, 0x03, 0, 0, 2]);
    fake.put(0x18, &[0x01]);
    fake.put(0x2C, &[0x86, 0x80, 0x1F, 0xA0]);
    fake.put(0x30, &[0x01, 0, 0xF0, 0xFE]);
    fake.put(0x34, &[0xC8]);
    fake.put(0xC8, &[ID_POWER, 0xD0, 0x23, 0xC8]);
    fake.put(0xD0, &[ID_MSI, 0xE0, 0x80, 0]);
    fake.put(0xE0, &[ID_EXPRESS, 0xA0, 1, 0]);
    fake.put(0xA0, &[ID_MSIX, 0x09, 4, 0, 3, 0, 0, 0, 3, 0x20, 0, 0]);
    fake.sizes = [0x2_0000, 0x2_0000, 0x20, 0x4000, 0, 0];
    fake.counts = [1, 1, 5];
    fake
}

fn capabilities(config: &PciConfig) -> Vec<u8> {
    let mut found = Vec::new();
    let mut at = config.u16_at(0x34) & 0xFF;
    while at != 0 {
        found.push(config.u16_at(at).to_le_bytes()[0]);
        at = config.u16_at(at) >> 8;
    }
    found
}

#[test]
fn the_guest_sees_identity_bars_and_safe_capabilities() {
    let shown = show(&card()).unwrap();
    let config = shown.config;
    assert_eq!((config.u32_at(0), config.u32_at(8)), (0x10D3_8086, 0x0200_0003));
    assert_eq!(config.u32_at(0x2C), 0xA01F_8086);
    assert_eq!(config.u32_at(0x30), 0, "no expansion ROM");
    assert_eq!(config.u16_at(COMMAND), 0, "nothing is decoded or mastered at first");
    assert_eq!(capabilities(&config), [ID_POWER, ID_EXPRESS, ID_MSI]);
    let kinds: Vec<_> = (0..6).map(|bar| config.bar(bar).map(|bar| (bar.kind, bar.size))).collect();
    let memory = Some((BarKind::Memory32, 0x2_0000));
    let table = Some((BarKind::Memory32, 0x4000));
    assert_eq!(kinds, [memory, memory, Some((BarKind::Io, 0x20)), table, None, None]);
    let place = Place { table_bar: 3, table_offset: 0, pba_bar: 3, pba_offset: 0x2000 };
    assert_eq!(shown.msix, Some(MsixShape { vectors: 5, place }));
    assert!((0x100..SPACE).step_by(4).all(|at| config.u32_at(at.try_into().unwrap()) == 0));
}

#[test]
fn power_state_express_control_and_rom_do_not_follow_the_guest() {
    let mut config = show(&card()).unwrap().config;
    let mut before = [0; SPACE];
    config.read(0, &mut before);
    for at in (0..SPACE).step_by(4) {
        config.write(at.try_into().unwrap(), &[0xFF; 4]);
    }
    let mut after = [0; SPACE];
    config.read(0, &mut after);
    let msi = usize::from(show(&card()).unwrap().msi.unwrap());
    let changed: Vec<_> = (0..SPACE).filter(|at| before[*at] != after[*at]).collect();
    let allowed =
        |at: &usize| matches!(at, 0x04 | 0x05 | 0x0C | 0x10..0x28 | 0x3C) || (msi + 2..msi + 14).contains(at);
    assert!(changed.iter().all(allowed), "{changed:x?}");
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let mut fake = card();
    fake.put(0x0E, &[1]);
    assert_eq!(show(&fake).err(), Some(Unsuitable::HeaderType(1)));
    let mut fake = card();
    fake.counts[2] = 4;
    assert_eq!(show(&fake).err(), Some(Unsuitable::MsixCount(5, 4)));
    for place in [[3, 0x40, 0, 0], [0xF3, 0x3F, 0, 0], [2, 0, 0, 0], [5, 0, 0, 0], [3, 0, 0, 0xFF]] {
        let mut fake = card();
        fake.put(0xA4, &place);
        assert_eq!(show(&fake).err(), Some(Unsuitable::MsixPlace), "{place:x?}");
    }
    let mut fake = card();
    fake.sizes[0] = 0x1_8000;
    assert_eq!(show(&fake).err(), Some(Unsuitable::Layout(BadLayout::BarSize(0x1_8000))));
}

#[test]
fn a_looping_capability_list_ends() {
    let mut fake = card();
    fake.put(0xD0, &[0x09, 0xC8]);
    fake.put(0xC8, &[0x09, 0xD0]);
    assert!(capabilities(&show(&fake).unwrap().config).is_empty());
}

proptest! {
    #[test]
    fn no_configuration_space_shows_anything_else(
        bytes in prop::collection::vec(any::<u8>(), LEGACY),
        sizes in prop::array::uniform6(prop_oneof![Just(0), (4_u32..20).prop_map(|bit| 1_u64 << bit), any::<u64>()]),
        counts in prop::array::uniform3(0_u16..10),
        writes in prop::collection::vec((0_u16..4096, prop::collection::vec(any::<u8>(), 1..5)), 0..40),
    ) {
        let mut fake = Fake::default();
        (fake.sizes, fake.counts) = (sizes, counts);
        fake.put(0, &bytes);
        fake.put(0x0E, &[bytes[0x0E] & 0x80]);
        if let Ok(Shown { mut config, .. }) = show(&fake) {
            let safe = |config: &PciConfig| {
                capabilities(config).iter().all(|id| [ID_POWER, ID_EXPRESS, ID_MSI].contains(id))
                    && config.u32_at(0x30) == 0
                    && (0x100..SPACE).step_by(4).all(|at| config.u32_at(at.try_into().unwrap()) == 0)
            };
            prop_assert!(safe(&config));
            for (at, data) in &writes {
                config.write(*at, data);
            }
            prop_assert!(safe(&config));
        }
    }
}
