use super::*;
use crate::fake::FakeProcessor;
use crate::fake::bundle::{Header, headers, program};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn count_up(out: &mut [u8]) {
    out.iter_mut().zip(1..).for_each(|(to, byte)| *to = byte);
}

const INVOCATION: Invocation<'_> =
    Invocation { path: b"/gateway", arguments: &[b"gateway", b"-x"], environment: &[b"A=b"] };

fn word(memory: &FakeProcessor, at: u64) -> u64 {
    crate::memory::read_u64(memory, at).expect("mapped")
}

fn text(memory: &FakeProcessor, at: u64) -> Vec<u8> {
    let mut out = [0; 64];
    crate::memory::read_string(memory, at, &mut out).expect("mapped").expect("short").to_vec()
}

#[test]
fn segments_lie_where_they_belong_and_no_page_is_writable_and_executable() {
    let mut memory = FakeProcessor::new(8 << 20);
    let loaded = load(&mut memory, &program(&headers()), &INVOCATION, count_up).expect("sound");
    let base = loaded.entry - 0x1410;
    assert!(base.is_multiple_of(PAGE) && base > LOWEST);
    let accesses = [0, 0x1000, 0x2000, 0x3000, 0x4000].map(|at| memory.access(base + at).expect("mapped"));
    assert_eq!(accesses, [Access::Read, Access::Execute, Access::Write, Access::Write, Access::Write]);
    assert_eq!(memory.access(base + 0x5000), None);
    let mut seen = [0; 4];
    for (at, bytes) in [(0x3FC, [0x11; 4]), (0x1400, [0x22; 4]), (0x26FE, [0x33, 0x33, 0, 0])] {
        memory.read(base + at, &mut seen).expect("mapped");
        assert_eq!(seen, bytes, "{at:x}");
    }
    assert!(loaded.heap >= base + 0x5000 && loaded.heap.is_multiple_of(PAGE));
}

#[test]
fn the_stack_says_what_the_program_is_called_with() {
    let mut memory = FakeProcessor::new(8 << 20);
    let loaded = load(&mut memory, &program(&headers()), &INVOCATION, count_up).expect("sound");
    let base = loaded.entry - 0x1410;
    assert!(loaded.stack.is_multiple_of(16));
    let at = |index: u64| word(&memory, loaded.stack + 8 * index);
    assert_eq!((at(0), at(3), at(5)), (2, 0, 0));
    assert_eq!([text(&memory, at(1)), text(&memory, at(2)), text(&memory, at(4))].concat(), b"gateway-xA=b");
    let pairs = (0..32).map(|i| (at(6 + 2 * i), at(7 + 2 * i)));
    let auxiliary: Vec<_> = pairs.take_while(|(kind, _)| *kind != 0).collect();
    for pair in [(3, base + 64), (4, 56), (5, 5), (6, 4096), (9, loaded.entry), (11, 0), (23, 0)] {
        assert!(auxiliary.contains(&pair), "{pair:?}");
    }
    let random = auxiliary.iter().find(|(kind, _)| *kind == 25).expect("AT_RANDOM").1;
    assert_eq!(word(&memory, random).to_le_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(auxiliary.iter().any(|(kind, at)| *kind == 31 && text(&memory, *at) == b"/gateway"));
    // Right below the stack nothing is mapped, nor will anything be.
    let (stack, _) = loaded.areas.at(loaded.stack).expect("the stack");
    assert_eq!(memory.access(stack.start - 1), None);
    assert!(!loaded.areas.is_free(Range { start: stack.start - PAGE, end: stack.start }));
}

#[test]
fn what_is_not_such_a_program_is_refused() {
    let with = |index: usize, change: fn(&mut Header)| {
        let mut headers = headers();
        change(&mut headers[index]);
        program(&headers)
    };
    let byte = |at: usize, value: u8| {
        let mut bytes = program(&headers());
        bytes[at] = value;
        bytes
    };
    let cases: [(Vec<u8>, &str); 14] = [
        (vec![], "not an ELF file"),
        (byte(4, 1), "not an ELF file"),
        (byte(16, 2), "not position-independent"),
        (byte(18, 3), "not for x86-64"),
        (with(0, |h| h.1 = 7), "a segment is writable and executable"),
        (with(0, |h| h.1 = 0), "a segment is for nothing"),
        (with(1, |h| h.3 = 0x400), "segments overlap or are out of order"),
        (with(1, |h| h.4 = 0x800), "a segment is cut off"),
        (with(1, |h| h.2 = u64::MAX), "a segment is cut off"),
        (with(1, |h| h.5 = 0x100), "a segment is longer in the file than in memory"),
        (with(2, |h| h.5 = u64::MAX), "too large"),
        (with(3, |h| h.0 = 3), "not static"),
        (with(4, |h| h.1 = 7), "wants to execute its stack"),
        (byte(25, 0), "begins where no code is"),
    ];
    for (bytes, why) in cases {
        let fault = Image::parse(&bytes).expect_err(why);
        assert_eq!(fault.0, why);
    }
    let mut memory = FakeProcessor::new(64 << 10);
    assert_eq!(load(&mut memory, &program(&headers()), &INVOCATION, count_up).err(), Some(LoadFault::Memory));
    let long = [b'x'; 300_000];
    let invocation = Invocation { arguments: &[&long], ..INVOCATION };
    let mut memory = FakeProcessor::new(8 << 20);
    assert_eq!(
        load(&mut memory, &program(&headers()), &invocation, count_up).err(),
        Some(LoadFault::Arguments)
    );
}

proptest! {
    /// Whatever the file says: it is refused, or every segment lies in the program's part and in the file.
    #[test]
    fn no_file_harms(changes in prop::collection::vec((0..0x160_usize, any::<u8>()), 0..12)) {
        let mut bytes = program(&headers());
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        if let Ok(image) = Image::parse(&bytes) {
            prop_assert!(image.segments().windows(2).all(|pair| pair[0].pages.end <= pair[1].pages.start));
            let mut memory = FakeProcessor::new(256 << 20);
            let loaded = load(&mut memory, &bytes, &INVOCATION, count_up);
            prop_assert!(loaded.is_ok(), "{:?}", loaded.err());
        }
    }
}
