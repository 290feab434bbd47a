//! The station address: from the receive address registers, which the reset loads, or from the NVM itself.

use crate::error::SetupError;
use crate::regs::{self, RAH_AV, Regs, nvm};
use hal::clock::Clock;
use hal::mmio::Mmio;

/// One NVM word takes well under a millisecond.
const WORD_US: u32 = 5_000;
/// Words 0 to 2 of the NVM hold the address (§6.1.1.1).
const MAC_WORDS: [u16; 3] = [0, 1, 2];

/// Finds the card's own address.
///
/// # Errors
/// [`SetupError::BadMac`] when no source holds a non-zero unicast address.
pub(crate) fn station_address<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C) -> Result<[u8; 6], SetupError> {
    from_receive_address(regs).or_else(|| from_nvm(regs, clock)).ok_or(SetupError::BadMac)
}

/// RAL0/RAH0, if the reset loaded them (§10.2.5, "Receive Address").
fn from_receive_address<M: Mmio>(regs: &Regs<M>) -> Option<[u8; 6]> {
    let (low, high) = (regs.read(regs::ral(0)), regs.read(regs::rah(0)));
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    (high & RAH_AV != 0).then_some([a, b, c, d, e, f]).filter(usable)
}

/// The first three NVM words (§6.1.1.1), through EERD.
fn from_nvm<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    for (bytes, word) in mac.chunks_exact_mut(2).zip(MAC_WORDS) {
        bytes.copy_from_slice(&read_word(regs, clock, word)?.to_le_bytes());
    }
    Some(mac).filter(usable)
}

/// Reads one word (EERD, §10.2.2.4); `None` when the NVM does not answer.
pub(crate) fn read_word<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C, word: u16) -> Option<u16> {
    regs.write(regs::EERD, u32::from(word) << nvm::ADDR_SHIFT | nvm::START);
    if !regs.wait(clock, (regs::EERD, nvm::DONE, nvm::DONE), WORD_US) {
        return None;
    }
    let [low, high, ..] = (regs.read(regs::EERD) >> nvm::DATA_SHIFT).to_le_bytes();
    Some(u16::from_le_bytes([low, high]))
}

/// A usable station address is neither a group address nor empty.
fn usable(mac: &[u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac.iter().any(|byte| *byte != 0)
}
