//! Spaces over a top table in ordinary memory; frames are real.
use super::*;
use std::vec;
use std::vec::Vec;

#[derive(Debug)]
struct Fake {
    slots: Vec<u64>,
    forgotten: Vec<Range>,
}

impl Top for Fake {
    fn get(&self, slot: usize) -> u64 {
        self.slots[slot]
    }
    fn set(&mut self, slot: usize, entry: u64) {
        self.slots[slot] = entry;
    }
    fn forget(&mut self, range: Range) {
        self.forgotten.push(range);
    }
}

fn space(frames: u64) -> Tables<Fake> {
    let frames = Frames::take(frames * PAGE).unwrap();
    Tables { frames, top: Fake { slots: vec![0; 256], forgotten: Vec::new() } }
}

fn range(start: u64, pages: u64) -> Range {
    Range { start, end: start + pages * PAGE }
}

const AT: u64 = 0x5555_5555_5000;

#[test]
fn what_is_mapped_is_zero_and_holds_what_is_written() {
    let mut space = space(64);
    space.map(range(AT, 5), Access::Write).unwrap();
    let mut out = vec![1; 5 * 4096];
    space.read(AT, &mut out).unwrap();
    assert!(out.iter().all(|&byte| byte == 0));
    let data: Vec<u8> = (0..9000u32).map(|i| i.to_le_bytes()[0]).collect();
    space.write(AT + 4095, &data).unwrap();
    let mut back = vec![0; 9000];
    space.read(AT + 4095, &mut back).unwrap();
    assert_eq!(back, data);
}

#[test]
fn addresses_are_checked_before_anything_is_written() {
    let mut space = space(64);
    space.map(range(AT, 2), Access::Write).unwrap();
    space.map(range(AT + 2 * PAGE, 1), Access::Read).unwrap();
    assert_eq!(space.write(AT + PAGE, &[7; 4097]), Err(BadAddress));
    let mut out = [1; 8];
    space.read(AT + PAGE, &mut out).unwrap();
    assert_eq!(out, [0; 8], "nothing was written");
    for at in [0, 0x10_0000, FIRST - 8, END - 4, END, u64::MAX - 3, 1 << 63, AT - 4, AT + 3 * PAGE - 4] {
        assert_eq!(space.read(at, &mut out), Err(BadAddress), "{at:#x}");
        assert_eq!(space.write(at, &out), Err(BadAddress), "{at:#x}");
    }
    assert_eq!(space.read(u64::MAX, &mut []), Ok(()));
    assert_eq!(space.write(u64::MAX, &[]), Ok(()));
}

#[test]
fn loading_asks_for_a_page_alone() {
    let mut space = space(64);
    space.map(range(AT, 1), Access::Execute).unwrap();
    space.map(range(AT + PAGE, 1), Access::None).unwrap();
    space.load(AT + 4000, &[5; 200]).unwrap();
    let mut out = [0; 96];
    space.read(AT + 4000, &mut out).unwrap();
    assert_eq!(out, [5; 96]);
    assert_eq!(space.load(AT + 4000, &[5; 5000]), Err(BadAddress));
    assert_eq!(space.load(0x10_0000, &[5]), Err(BadAddress));
}

#[test]
fn access_follows_protect() {
    let mut space = space(64);
    let page = range(AT, 1);
    space.map(page, Access::Write).unwrap();
    space.write(AT, &[9]).unwrap();
    let mut out = [0];
    for (access, readable) in [(Access::Read, true), (Access::Execute, true), (Access::None, false)] {
        space.protect(page, access).unwrap();
        assert_eq!(space.entry(AT).and_then(Access::of), Some(access));
        assert_eq!(space.write(AT, &[1]), Err(BadAddress));
        assert_eq!(space.read(AT, &mut out).is_ok(), readable);
    }
    space.protect(page, Access::Write).unwrap();
    space.read(AT, &mut out).unwrap();
    assert_eq!(out, [9], "kept while nobody might look");
    assert_eq!(space.protect(range(AT, 2), Access::Read), Err(MapError::Missing));
    assert_eq!(space.entry(AT).and_then(Access::of), Some(Access::Write));
    assert_eq!(space.top.forgotten.len(), 4);
}

#[test]
fn entries_are_what_the_processor_should_see() {
    let mut space = space(64);
    for (i, (access, bits)) in [
        (Access::Read, 1 << 63 | 0x65),
        (Access::Write, 1 << 63 | 0x67),
        (Access::Execute, 0x65),
        (Access::None, 0x200),
    ]
    .into_iter()
    .enumerate()
    {
        let at = AT + i as u64 * PAGE;
        space.map(range(at, 1), access).unwrap();
        assert_eq!(space.entry(at).unwrap() & !FRAME, bits, "{access:?}");
    }
    assert_eq!(space.top.get(index(AT, 3)) & 7, 7);
}

#[test]
fn nothing_is_lost_and_nothing_is_left() {
    let mut space = space(64);
    let all = space.frames.left();
    // Across the border of two last-level tables.
    let border = (AT | (TABLE_SPAN - 1)) + 1;
    space.map(range(border - 2 * PAGE, 4), Access::Write).unwrap();
    space.map(range(FIRST, 1), Access::Read).unwrap();
    space.map(range(END - PAGE, 1), Access::Execute).unwrap();
    space.write(border, &[0xEE; 4096]).unwrap();
    assert_eq!(space.map(range(border, 1), Access::Write), Err(MapError::Taken));
    space.unmap(range(border - PAGE, 2)).unwrap();
    assert_eq!(space.entry(border), Some(0));
    space.map(range(border, 1), Access::Write).unwrap();
    let mut out = [1; 4096];
    space.read(border, &mut out).unwrap();
    assert!(out.iter().all(|&byte| byte == 0), "zeroed before it is used again");
    space.clear();
    assert_eq!(space.frames.left(), all);
    assert!(space.top.slots.iter().all(|&entry| entry == 0));
}

#[test]
fn everything_can_be_unmapped_at_once() {
    let mut space = space(64);
    let tables_of_one = 3;
    let all = space.frames.left();
    space.map(range(FIRST, 1), Access::Read).unwrap();
    space.map(range(AT, 3), Access::Read).unwrap();
    space.unmap(Range { start: FIRST, end: END }).unwrap();
    assert_eq!(space.entry(AT), None);
    // The two upper tables of either place stay.
    assert_eq!(space.frames.left(), all - 2 * (tables_of_one - 1) * PAGE);
}

#[test]
fn relocated_pages_keep_their_content() {
    let mut space = space(64);
    space.map(range(AT, 3), Access::Write).unwrap();
    space.write(AT + PAGE, b"here").unwrap();
    let to = FIRST + 17 * PAGE;
    let before = space.frames.left();
    space.relocate(range(AT, 3), to).unwrap();
    let mut out = [0; 4];
    space.read(to + PAGE, &mut out).unwrap();
    assert_eq!(&out, b"here");
    assert_eq!(space.read(AT + PAGE, &mut out), Err(BadAddress));
    assert_eq!(space.frames.left(), before + PAGE - 3 * PAGE, "an empty table came back, three were made");
    assert_eq!(space.relocate(range(to, 3), to + PAGE), Err(MapError::Taken));
    assert_eq!(space.relocate(range(AT, 1), FIRST), Err(MapError::Missing));
    assert_eq!(space.relocate(range(to, 1), END - PAGE / 2), Err(MapError::BadRange));
}

#[test]
fn too_much_is_refused_whole() {
    let mut space = space(16);
    assert_eq!(space.map(range(AT, 16), Access::Write), Err(MapError::NoFrames));
    assert_eq!(space.map(Range { start: FIRST, end: END }, Access::Write), Err(MapError::NoFrames));
    assert_eq!(space.frames.left(), 16 * PAGE);
    for bad in
        [range(AT + 1, 1), range(FIRST - PAGE, 1), range(END, 1), Range { start: AT, end: AT }, range(0, 1)]
    {
        assert_eq!(space.map(bad, Access::Read), Err(MapError::BadRange));
        assert_eq!(space.unmap(bad), Err(MapError::BadRange));
        assert_eq!(space.protect(bad, Access::Read), Err(MapError::BadRange));
    }
}

proptest::proptest! {
    #[test]
    fn any_sequence_keeps_count(steps in proptest::collection::vec((0u8..4, 0u64..40, 1u64..20), 1..60)) {
        let mut space = space(48);
        let all = space.frames.left();
        let base = ((AT | (TABLE_SPAN - 1)) + 1) - 10 * PAGE;
        let mut mapped = [false; 128];
        for (what, first, len) in steps {
            let part = range(base + first * PAGE, len);
            let pages = || (first..first + len).map(|page| usize::try_from(page).unwrap());
            match what {
                0 => if space.map(part, Access::Write).is_ok() {
                    pages().for_each(|page| mapped[page] = true);
                },
                1 => {
                    space.unmap(part).unwrap();
                    pages().for_each(|page| mapped[page] = false);
                }
                2 => {
                    let ok = space.protect(part, Access::Read).is_ok();
                    proptest::prop_assert_eq!(ok, pages().all(|page| mapped[page]));
                }
                _ => {
                    let to = base + (first + 1 + len) * PAGE;
                    let ok = space.relocate(part, to).is_ok();
                    let target = |page: usize| page + usize::try_from(len).unwrap() + 1;
                    if ok {
                        pages().for_each(|page| { mapped[page] = false; mapped[target(page)] = true; });
                    }
                }
            }
            for (page, &is) in mapped.iter().enumerate() {
                let found = space.entry(base + page as u64 * PAGE).is_some_and(|entry| entry != 0);
                proptest::prop_assert_eq!(found, is);
            }
        }
        space.clear();
        proptest::prop_assert_eq!(space.frames.left(), all);
    }
}
