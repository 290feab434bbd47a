use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ON: u16 = ENABLE;

fn program(msix: &mut Msix, vector: u16, address: u64, data: u32) -> Vec<Change> {
    let base = u64::from(vector) * ENTRY;
    let mut changes = msix.table_write(base, &address.to_le_bytes());
    changes.extend(msix.table_write(base + 8, &data.to_le_bytes()));
    changes
}

fn mask(msix: &mut Msix, vector: u16, bit: u32) -> Vec<Change> {
    msix.table_write(u64::from(vector) * ENTRY + 12, &bit.to_le_bytes())
}

#[test]
fn programming_while_masked_is_silent_and_unmasking_reports_once() {
    let mut msix = Msix::new(4).unwrap();
    assert_eq!(msix.set_control(ON), []);
    assert_eq!(program(&mut msix, 2, 0xFEE0_1000, 0x41), []);
    let live = Change::Unmasked { vector: 2, address: 0xFEE0_1000, data: 0x41 };
    assert_eq!(mask(&mut msix, 2, 0), [live]);
    assert_eq!(mask(&mut msix, 2, 0), [], "no change, no report");
    assert_eq!(mask(&mut msix, 2, 1), [Change::Masked { vector: 2 }]);
}

#[test]
fn enabling_and_the_function_mask_report_the_open_vectors() {
    let mut msix = Msix::new(3).unwrap();
    program(&mut msix, 1, 0xFEE0_0000, 7);
    assert_eq!(mask(&mut msix, 1, 0), [], "not enabled yet");
    assert_eq!(msix.set_control(ON | FUNCTION_MASK), []);
    assert_eq!(msix.set_control(ON), [Change::Unmasked { vector: 1, address: 0xFEE0_0000, data: 7 }]);
    assert_eq!(msix.set_control(0), [Change::Masked { vector: 1 }]);
}

#[test]
fn moving_a_live_vector_reports_its_new_place() {
    let mut msix = Msix::new(1).unwrap();
    msix.set_control(ON);
    mask(&mut msix, 0, 0);
    let moved = msix.table_write(0, &0xFEE0_3000_u32.to_le_bytes());
    assert_eq!(moved, [Change::Unmasked { vector: 0, address: 0xFEE0_3000, data: 0 }]);
}

#[test]
fn pending_bits_show_masked_vectors_only() {
    let mut msix = Msix::new(70).unwrap();
    msix.set_control(ON);
    mask(&mut msix, 65, 0);
    let mut bits = [0; 16];
    msix.pba_read(0, &mut bits, |v| v == 3 || v >= 64);
    assert_eq!(bits[0], 1 << 3);
    assert_eq!(bits[8], 0b11_1101, "65 delivers, 70 and above do not exist");
    msix.pba_read(16, &mut bits[..4], |_| true);
    assert_eq!(bits[..4], [0xFF; 4]);
}

#[test]
fn capability_names_table_and_pending_bits() {
    let msix = Msix::new(33).unwrap();
    let place = Place { table_bar: 1, table_offset: 0, pba_bar: 1, pba_offset: 0x800 };
    let (body, writable) = msix.capability(&place);
    assert_eq!(body, [32, 0, 1, 0, 0, 0, 1, 8, 0, 0]);
    assert_eq!(writable, [0, 0xC0]);
    assert_eq!(Msix::new(0).err(), Some(BadVectorCount(0)));
    assert_eq!(Msix::new(2049).err(), Some(BadVectorCount(2049)));
}

proptest! {
    /// For arbitrary accesses nothing panics, and a follower of the reported changes always knows exactly
    /// which vectors are live and where they go.
    #[test]
    fn reported_changes_are_complete(
        steps in prop::collection::vec(
            (any::<bool>(), any::<u16>(), 0u64..96, prop::collection::vec(any::<u8>(), 0..9)), 0..200)
    ) {
        let mut msix = Msix::new(5).unwrap();
        let mut followed = BTreeMap::new();
        for (control, value, offset, data) in steps {
            let changes = if control { msix.set_control(value) } else { msix.table_write(offset, &data) };
            for change in changes {
                match change {
                    Change::Unmasked { vector, address, data } => followed.insert(vector, (address, data)),
                    Change::Masked { vector } => followed.remove(&vector),
                };
            }
            for v in 0..5u16 {
                let entry = msix.entries[usize::from(v)];
                let truth = msix.live(v).then_some((entry.address, entry.data));
                prop_assert_eq!(followed.get(&v).copied(), truth);
            }
            let mut out = [0; 8];
            msix.table_read(offset, &mut out);
            msix.pba_read(offset, &mut out, |_| true);
        }
    }
}
