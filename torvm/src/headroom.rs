//! The kernel's memory for what is large: connections' buffers and files. A small allocation that fails ends the
//! domain, so a large one is refused while there is still room for everything that is small, all of which is bounded.

use alloc::vec::Vec;
use core::hint::black_box;

/// What is left at least, in blocks of [`BLOCK`] bytes, so that holes of that size count: sets, descriptors and names
/// of files, areas, questions and streams inside the machine take less than this together.
const BLOCKS: usize = 9;
const BLOCK: usize = 1 << 20;

/// `len` zeros; `None` when too little memory would be left.
pub(crate) fn zeros(len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).ok()?;
    if !is_left() {
        return None;
    }
    out.resize(len, 0);
    Some(out)
}

/// Whether there is enough: takes it, and gives it back untouched.
fn is_left() -> bool {
    let mut blocks: [Vec<u8>; BLOCKS] = Default::default();
    // What nobody looks at need not be allocated, and the compiler would know.
    black_box(&mut blocks).iter_mut().all(|block| {
        let room = block.try_reserve_exact(BLOCK).is_ok();
        black_box(block);
        room
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_and_the_rest_is_zero() {
        assert_eq!(zeros(isize::MAX.unsigned_abs()), None);
        assert_eq!(zeros(usize::MAX), None);
        assert_eq!(zeros(3), Some(alloc::vec![0; 3]));
    }
}
