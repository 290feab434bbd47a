//! What the program finds on its stack: arguments, environment and the auxiliary vector (System V ABI, AMD64 supplement
//! §3.4.1; numbers from Linux `auxvec.h`). No vDSO: the program asks for the time by calls.

use super::image::{HEADER_LEN, Image};
use super::{Invocation, STACK};
use crate::memory::PAGE;
use alloc::vec::Vec;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// What the stack is made from.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program.
    pub image: &'a Image<'a>,
    /// Where it is loaded.
    pub base: u64,
    /// AT_RANDOM.
    pub seed: [u8; 16],
}

impl Start<'_> {
    /// The bytes that end at `top`; their first is where the stack pointer goes. `None` when they take more than a
    /// quarter of the stack.
    #[must_use]
    pub fn layout(&self, top: u64, invocation: &Invocation<'_>) -> Option<Vec<u8>> {
        // The strings stand at the top, in reading order; pointers to them below.
        let mut strings: Vec<u8> = Vec::new();
        let mut note = |bytes: &[u8]| {
            let at = strings.len() as u64;
            strings.extend_from_slice(bytes);
            strings.push(0);
            at
        };
        let seed = note(&self.seed);
        let path = note(invocation.path);
        let arguments: Vec<u64> = invocation.arguments.iter().map(|text| note(text)).collect();
        let environment: Vec<u64> = invocation.environment.iter().map(|text| note(text)).collect();
        let strings_at = top.checked_sub((strings.len() as u64).checked_next_multiple_of(16)?)?;
        let mut words = Vec::new();
        words.push(arguments.len() as u64);
        words.extend(arguments.iter().map(|at| strings_at + at));
        words.push(0);
        words.extend(environment.iter().map(|at| strings_at + at));
        words.push(0);
        words.extend(self.auxiliary(strings_at + seed, strings_at + path).into_iter().flatten());
        // The stack pointer is a multiple of 16.
        let used = (words.len() as u64 * 8).next_multiple_of(16);
        let len = (top - strings_at).checked_add(used).filter(|len| *len <= STACK / 4)?;
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.resize(usize::try_from(used).ok()?, 0);
        out.extend_from_slice(&strings);
        out.resize(usize::try_from(len).ok()?, 0);
        Some(out)
    }

    fn auxiliary(&self, seed: u64, path: u64) -> [[u64; 2]; 16] {
        let (headers, count) = self.image.headers();
        [
            [AT_PHDR, self.base + headers],
            [AT_PHENT, HEADER_LEN],
            [AT_PHNUM, u64::from(count)],
            [AT_PAGESZ, PAGE],
            [AT_BASE, 0],
            [AT_FLAGS, 0],
            [AT_ENTRY, self.base + self.image.entry()],
            [AT_UID, 0],
            [AT_EUID, 0],
            [AT_GID, 0],
            [AT_EGID, 0],
            [AT_CLKTCK, 100],
            [AT_SECURE, 0],
            [AT_RANDOM, seed],
            [AT_EXECFN, path],
            [AT_NULL, 0],
        ]
    }
}
