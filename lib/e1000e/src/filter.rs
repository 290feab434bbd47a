//! Which destination addresses the card accepts (§7.1.1): own address, broadcast, chosen multicast groups.

use crate::chip::Chip;
use crate::regs::{self, RAH_AV, Regs, rctl};
use hal::mmio::Mmio;
use heapless::Vec;

/// Groups that are filtered one by one; beyond that the card accepts all multicast.
pub const MAX_GROUPS: usize = 32;

/// The multicast groups in force; kept so that a reset can restore them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<[u8; 6], MAX_GROUPS>,
    all: bool,
}

impl Groups {
    /// Takes a new list; too long a list, or one with a unicast address in it, means all multicast.
    pub(crate) fn set(&mut self, groups: &[[u8; 6]]) {
        self.groups.clear();
        self.all =
            groups.iter().any(|group| group[0] & 1 == 0) || self.groups.extend_from_slice(groups).is_err();
    }

    /// Writes the multicast table (MTA) and RCTL.MPE.
    pub(crate) fn apply<M: Mmio>(&self, regs: &Regs<M>, chip: &Chip) {
        for index in 0..chip.mta_registers {
            let bits = self.groups.iter().map(hash).filter(|hash| slot(*hash, chip).0 == index);
            regs.write(regs::MTA + 4 * index, bits.fold(0, |word, hash| word | slot(hash, chip).1));
        }
        let (set, clear) = if self.all { (rctl::MPE, 0) } else { (0, rctl::MPE) };
        regs.modify(regs::RCTL, set, clear);
    }
}

/// The 12 hash bits for RCTL.MO = 00b: bits 47 to 36 of the address (§7.1.1.2.1).
fn hash(group: &[u8; 6]) -> u32 {
    u32::from(group[4]) >> 4 | u32::from(group[5]) << 4
}

/// Table register and bit of a hash.
fn slot(hash: u32, chip: &Chip) -> (u32, u32) {
    (hash >> 5 & (chip.mta_registers - 1), 1 << (hash & 31))
}

/// Accepts frames for `mac` and for no other unicast address (RAL/RAH, §10.2.5).
pub(crate) fn set_station<M: Mmio>(regs: &Regs<M>, chip: &Chip, mac: [u8; 6]) {
    let [a, b, c, d, e, f] = mac;
    // The low half first, with the entry invalid meanwhile.
    regs.write(regs::rah(0), 0);
    regs.write(regs::ral(0), u32::from_le_bytes([a, b, c, d]));
    regs.write(regs::rah(0), u32::from(u16::from_le_bytes([e, f])) | RAH_AV);
    for index in 1..u32::from(chip.receive_addresses) {
        regs.write(regs::rah(index), 0);
        regs.write(regs::ral(index), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_takes_the_last_twelve_bits() {
        // Destination 12:AA:00:12:34:56 has 0x563 in bits 47 to 36.
        assert_eq!(hash(&[0x12, 0xAA, 0x00, 0x12, 0x34, 0x56]), 0x563);
        let chip = Chip::find(0x10D3).unwrap();
        assert_eq!(slot(0x563, chip), (0x2B, 1 << 3));
    }

    #[test]
    fn too_many_groups_mean_all_multicast() {
        let mut groups = Groups::default();
        groups.set(&[[1, 0, 0x5E, 0, 0, 1]; MAX_GROUPS]);
        assert!(!groups.all);
        groups.set(&[[1, 0, 0x5E, 0, 0, 1]; MAX_GROUPS + 1]);
        assert!(groups.all);
        groups.set(&[[2, 0, 0, 0, 0, 1]]);
        assert!(groups.all, "not a group address");
    }
}
