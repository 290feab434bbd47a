//! The assembly against the obvious definition, for every small length and alignment.
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test patterns")]

crate::memory_functions!("bulkhead_test_");

unsafe extern "C" {
    fn bulkhead_test_memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
    fn bulkhead_test_memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
    fn bulkhead_test_memset(to: *mut u8, value: i32, len: usize) -> *mut u8;
    fn bulkhead_test_memcmp(a: *const u8, b: *const u8, len: usize) -> i32;
    fn bulkhead_test_bcmp(a: *const u8, b: *const u8, len: usize) -> i32;
    fn bulkhead_test_strlen(s: *const u8) -> usize;
}

const LENGTHS: [usize; 14] = [0, 1, 7, 8, 9, 15, 31, 63, 64, 65, 127, 128, 200, 300];

fn pattern(seed: usize) -> [u8; 700] {
    core::array::from_fn(|i| (i.wrapping_mul(31).wrapping_add(seed) ^ (i >> 3)) as u8)
}

#[test]
fn copies_and_moves() {
    for len in LENGTHS {
        for (to, from) in [(0, 350), (3, 355), (350, 1), (10, 12), (12, 10), (5, 69), (69, 5), (20, 20)] {
            let mut got = pattern(len);
            let mut want = got;
            want.copy_within(from..from + len, to);
            let base = got.as_mut_ptr();
            // SAFETY: both ranges lie in `got` (offset at most 355, length at most 300).
            let result = unsafe { bulkhead_test_memmove(base.add(to), base.add(from), len) };
            assert_eq!(result.addr() - base.addr(), to);
            assert_eq!(got, want, "memmove {to} {from} {len}");
            let source = pattern(1);
            let mut got = pattern(2);
            let mut want = got;
            want[to..to + len].copy_from_slice(&source[from..from + len]);
            // SAFETY: as above, and the arrays are distinct.
            unsafe { bulkhead_test_memcpy(got.as_mut_ptr().add(to), source.as_ptr().add(from), len) };
            assert_eq!(got, want, "memcpy {to} {from} {len}");
        }
    }
}

#[test]
fn fills() {
    for len in LENGTHS {
        for (offset, value) in [(0, 0x100), (3, 0xA5), (17, -1)] {
            let mut got = pattern(len);
            let mut want = got;
            want[offset..offset + len].fill(value as u8);
            // SAFETY: the range lies in `got`.
            unsafe { bulkhead_test_memset(got.as_mut_ptr().add(offset), value, len) };
            assert_eq!(got, want, "memset {offset} {len}");
        }
    }
}

#[test]
fn compares_as_unsigned_bytes() {
    for len in LENGTHS {
        let a = pattern(9);
        // SAFETY: both ranges lie in their arrays.
        assert_eq!(unsafe { bulkhead_test_memcmp(a.as_ptr(), a.as_ptr(), len) }, 0);
        for at in 0..len {
            let mut b = a;
            b[at] ^= 0x80;
            // SAFETY: as above.
            let (order, differs) = unsafe {
                (
                    bulkhead_test_memcmp(a.as_ptr(), b.as_ptr(), len),
                    bulkhead_test_bcmp(a.as_ptr(), b.as_ptr(), len),
                )
            };
            assert_eq!(order.signum(), a[..len].cmp(&b[..len]) as i32, "memcmp {len} at {at}");
            assert_ne!(differs, 0);
        }
    }
}

#[test]
fn measures_strings() {
    for (text, len) in [(&b"\0"[..], 0), (b"a\0b\0", 1), (b"abcdefghijk\0", 11)] {
        // SAFETY: each string ends with a NUL.
        assert_eq!(unsafe { bulkhead_test_strlen(text.as_ptr()) }, len);
    }
}
