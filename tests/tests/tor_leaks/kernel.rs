//! Finds in the kernel where the program's calls arrive. The image has no symbols; the debugger looks whether it is
//! right.

use elf::ElfBytes;
use elf::abi::{PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use std::path::Path;

/// The first instructions there (`rt::user::entry::call`): the program's stack pointer is put away, that of its state
/// taken, and RAX stored there. `None` stands for a byte of an address.
const FIRST: [Option<u8>; 18] = {
    const ANY: Option<u8> = None;
    const fn is(byte: u8) -> Option<u8> {
        Some(byte)
    }
    [
        is(0x48),
        is(0x89),
        is(0x25),
        ANY,
        ANY,
        ANY,
        ANY, // mov [rip + …], rsp
        is(0x48),
        is(0x8b),
        is(0x25),
        ANY,
        ANY,
        ANY,
        ANY, // mov rsp, [rip + …]
        is(0x48),
        is(0x89),
        is(0x84),
        is(0x24), // mov [rsp + …], rax
    ]
};

/// The address at which calls arrive in this image.
pub(crate) fn arrival(image: &Path) -> u64 {
    let bytes = std::fs::read(image).unwrap();
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes).unwrap();
    let mut found = Vec::new();
    for segment in file.segments().unwrap().iter() {
        if segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0 {
            let code = file.segment_data(&segment).unwrap();
            let places = code.windows(FIRST.len()).zip(segment.p_vaddr..);
            found.extend(places.filter(|(code, _)| matches(code)).map(|(_, address)| address));
        }
    }
    let [arrival] = found[..] else { panic!("calls arrive at one place, not at {found:#x?}") };
    arrival
}

fn matches(code: &[u8]) -> bool {
    code.iter().zip(FIRST).all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte))
}
