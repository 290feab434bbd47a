use super::*;
use crate::fake::FakeDisk;
use proptest::prelude::*;

fn reload(disk: FakeDisk) -> (Found, Vec<u8>) {
    Store::new(Some(disk)).load()
}

#[test]
fn what_is_stored_is_there_again() {
    let disk = FakeDisk::new(64);
    let mut store = Store::new(Some(disk.clone()));
    assert_eq!(store.load(), (Found::Blank, vec![]));
    for piece in [&b"one"[..], b"", &[7; 5000]] {
        assert_eq!(store.save(piece), Ok(true));
        assert_eq!(reload(disk.clone()), (Found::Newest, piece.to_vec()));
        assert_eq!(store.save(piece), Ok(false), "not twice");
    }
    assert_eq!(store.save(&[1; 32 * SECTOR]), Err(StoreFault::TooLong));
    assert_eq!(Store::new(None::<FakeDisk>).save(b"x"), Ok(false));
    assert_eq!(Store::new(None::<FakeDisk>).load().0, Found::NoDisk);
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let disk = FakeDisk::new(8);
    let mut store = Store::new(Some(disk.clone()));
    store.load();
    assert_eq!(store.save(&[1; 600]), Ok(true));
    assert_eq!(store.save(&[2; 600]), Ok(true));
    // The second piece is in the slot that begins at sector 4.
    for at in
        [0, 20, 30, 40, 70, 95].map(|at| at + 4 * SECTOR).into_iter().chain([5 * SECTOR, 5 * SECTOR + 599])
    {
        let damaged = disk.copy();
        damaged.change(at, |byte| byte ^ 1);
        assert_eq!(reload(damaged.clone()), (Found::Older, vec![1; 600]), "byte {at}");
        damaged.change(600, |byte| byte ^ 1);
        assert_eq!(reload(damaged), (Found::Damaged, vec![]), "byte {at} and the other slot");
    }
    let interrupted = disk.copy();
    interrupted.change(600, |byte| byte ^ 1);
    assert_eq!(reload(interrupted), (Found::Newest, vec![2; 600]), "the older one is not missed");
}

#[test]
fn a_failing_disk_is_an_error_and_no_more() {
    let disk = FakeDisk::new(64);
    let mut store = Store::new(Some(disk.clone()));
    store.load();
    assert_eq!(store.save(b"one"), Ok(true));
    for failing in 0..4 {
        disk.fail_after(failing);
        assert_eq!(store.save(b"two"), Err(StoreFault::Disk));
        disk.fail_after(usize::MAX);
        let (found, bytes) = reload(disk.clone());
        assert!(found == Found::Newest && (bytes == b"one" || bytes == b"two"), "{failing}: {bytes:?}");
    }
    assert_eq!(store.save(b"three"), Ok(true));
    assert_eq!(reload(disk.clone()), (Found::Newest, b"three".to_vec()));
    disk.fail_after(0);
    assert_eq!(reload(disk), (Found::Damaged, vec![]), "nothing can be read");
    assert_eq!(reload(FakeDisk::new(0)), (Found::Damaged, vec![]));
}

#[test]
fn what_could_not_be_read_at_the_start_never_wins_over_what_is_stored_since() {
    let disk = FakeDisk::new(64);
    let mut store = Store::new(Some(disk.clone()));
    store.load();
    for piece in [&b"one"[..], b"two", b"three", b"four"] {
        assert_eq!(store.save(piece), Ok(true));
        let disk = disk.copy();
        let mut later = Store::new(Some(disk.clone()));
        disk.fail_after(0);
        assert_eq!(later.load(), (Found::Damaged, vec![]));
        assert_eq!(later.save(b"new"), Err(StoreFault::Disk));
        disk.fail_after(usize::MAX);
        for new in [&b"new"[..], b"newer"] {
            assert_eq!(later.save(new), Ok(true));
            assert_eq!(reload(disk.clone()), (Found::Newest, new.to_vec()));
        }
    }
}

proptest! {
    /// The power goes at any sector, and the disk did what was not flushed in any part: the old piece is there, or the
    /// new one, and what was said to be stored is not lost.
    #[test]
    fn a_power_cut_leaves_the_old_piece_or_the_new_one(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..6),
        cut in 0..60_usize,
        lost in any::<u64>(),
    ) {
        let disk = FakeDisk::new(32);
        let mut store = Store::new(Some(disk.clone()));
        store.load();
        disk.cut_after(cut, lost);
        let (mut before, mut during) = (vec![], None);
        for piece in pieces {
            if store.save(&piece).is_err() || disk.is_cut() {
                during = Some(piece);
                break;
            }
            before = piece;
        }
        disk.power_on();
        let (found, bytes) = reload(disk);
        prop_assert!(bytes == before || Some(&bytes) == during.as_ref(), "{found:?}: {} bytes", bytes.len());
        prop_assert!(matches!(found, Found::Newest | Found::Blank), "{found:?}");
    }
}
