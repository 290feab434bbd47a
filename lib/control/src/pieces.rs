//! What is longer than a message travels in pieces.

use heapless::Vec;

/// The pieces of `whole` in order, each with the offset of its first byte, and none but the last shorter than `N`.
pub(crate) fn pieces<const N: usize>(whole: &[u8]) -> impl Iterator<Item = (u32, Vec<u8, N>)> {
    (0..).zip(whole.chunks(N)).map(|(number, piece): (u32, _)| {
        let before = u32::try_from(N).unwrap_or(u32::MAX).saturating_mul(number);
        (before, piece.iter().copied().collect())
    })
}
