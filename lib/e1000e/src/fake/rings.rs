//! The two DMA engines.

use super::Model;
use crate::desc::SIZE;
use crate::regs::{self, cause, rctl, tctl};
use std::format;
use std::vec;
use std::vec::Vec;

const DD: u64 = 1;
const EOP: u64 = 2;
const CRC: usize = 4;
const MAX_RECEIVED: usize = 1522;

impl Model {
    /// Both words of a descriptor; `None` outside the arena.
    pub(super) fn descriptor(&self, base: u32, index: usize) -> Option<[u64; 2]> {
        let mut bytes = [0; SIZE];
        let addr = self.ring_base(base) + (index * SIZE) as u64;
        self.bus.read(addr, &mut bytes).then(|| {
            let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
            [word(0), word(8)]
        })
    }

    fn ring_base(&self, base: u32) -> u64 {
        u64::from(self.get(base)) | u64::from(self.get(base + 4)) << 32
    }

    fn count(&mut self, reg: u32, by: u32) {
        let sum = self.get(reg).wrapping_add(by);
        self.regs.insert(reg, sum);
    }

    pub(super) fn receive(&mut self, frame: &[u8]) -> bool {
        if !self.receiving() || !self.link || frame.len() + CRC > MAX_RECEIVED || !self.accepts(frame) {
            return false;
        }
        self.count(0x4074, 1);
        self.count(0x4088, u32::try_from(frame.len() + CRC).unwrap_or(0));
        self.write_back(DD | EOP | (frame.len() as u64) << 32, frame)
    }

    /// Fills the next descriptor; without one, the frame is lost and counted.
    pub(super) fn write_back(&mut self, status: u64, data: &[u8]) -> bool {
        let (head, tail, count) = (self.get(regs::RDH0), self.get(regs::RDT0), self.get(regs::RDLEN0) / 16);
        if head == tail || count == 0 || self.faults.rx_hang {
            self.count(0x40A0, 1);
            self.raise(cause::RXO);
            return false;
        }
        let Some([buffer, _]) = self.descriptor(regs::RDBAL0, head as usize) else { return false };
        if !self.bus.write(buffer, data) {
            return false;
        }
        let addr = self.ring_base(regs::RDBAL0) + u64::from(head) * SIZE as u64;
        let mut words = [0; SIZE];
        words[8..].copy_from_slice(&status.to_le_bytes());
        let written = self.bus.write(addr, &words);
        self.regs.insert(regs::RDH0, (head + 1) % count);
        self.raise(cause::RXT0 | cause::RXQ0);
        written
    }

    /// Address filter: own address, broadcast, hashed groups.
    fn accepts(&self, frame: &[u8]) -> bool {
        let Some(Ok(dest)) = frame.get(..6).map(<[u8; 6]>::try_from) else { return false };
        let rctl = self.get(regs::RCTL);
        if dest == [0xFF; 6] {
            return rctl & rctl::BAM != 0;
        }
        if dest[0] & 1 != 0 {
            let hash = u32::from(u16::from_le_bytes([dest[4], dest[5]]) >> 4);
            return rctl & rctl::MPE != 0 || self.get(regs::MTA + 4 * (hash >> 5)) >> (hash & 31) & 1 != 0;
        }
        (0..16).any(|index| {
            let (low, high) = (self.get(regs::ral(index)).to_le_bytes(), self.get(regs::rah(index)));
            high & regs::RAH_AV != 0 && dest[..4] == low && dest[4..] == high.to_le_bytes()[..2]
        })
    }

    pub(super) fn transmit(&mut self) {
        let count = self.get(regs::TDLEN0) / 16;
        while self.sending() && !self.faults.tx_hang && count != 0 {
            let head = self.get(regs::TDH0);
            if head == self.get(regs::TDT0) % count {
                break;
            }
            let Some(words) = self.descriptor(regs::TDBAL0, head as usize) else { break };
            self.execute(head, words);
            self.regs.insert(regs::TDH0, (head + 1) % count);
        }
    }

    fn execute(&mut self, index: u32, words: [u64; 2]) {
        let word = words[1];
        if word >> 29 & 1 == 0 || word >> 32 & 0xFF != 0 {
            self.breach(format!("transmit descriptor {index}: {word:#x} is legacy or already done"));
        }
        match word >> 20 & 0xF {
            0 => {
                if !self.frame.is_empty() {
                    self.breach(format!("context descriptor {index} inside a frame"));
                }
                self.context = Some(words);
            }
            1 => self.append(index, words),
            kind => self.breach(format!("transmit descriptor {index} has type {kind}")),
        }
        if word >> 27 & 1 != 0 {
            let addr = self.ring_base(regs::TDBAL0) + u64::from(index) * SIZE as u64 + 8;
            let _ = self.bus.write(addr, &(word | 1 << 32).to_le_bytes());
            self.raise(cause::TXDW | cause::TXQ0);
        }
    }

    fn append(&mut self, index: u32, [addr, word]: [u64; 2]) {
        let len = usize::try_from(word & 0xF_FFFF).unwrap_or(0);
        let mut data = vec![0; len];
        if len == 0 || len > 16_384 || !self.bus.read(addr, &mut data) {
            self.breach(format!("transmit descriptor {index} has buffer {addr:#x}+{len}"));
        }
        if self.frame.is_empty() {
            self.frame_options = word;
        }
        self.frame.extend_from_slice(&data);
        if word >> 24 & 1 != 0 {
            let frame = std::mem::take(&mut self.frame);
            self.finish(frame);
        }
    }

    fn finish(&mut self, frame: Vec<u8>) {
        let options = self.frame_options;
        let (segment, checksum) = (options >> 26 & 1 != 0, options >> 41 & 1 != 0);
        if options >> 25 & 1 == 0 {
            self.breach("a frame without IFCS has no CRC".into());
        }
        let result = match (self.context, segment, checksum) {
            (Some(context), true, true) => super::wire::segment(context, &frame),
            (Some(context), false, true) => super::wire::checksum(context, frame).map(|frame| vec![frame]),
            (_, false, false) => Ok(vec![frame]),
            _ => Err("offload without a context"),
        };
        match result {
            Ok(mut frames) => {
                for frame in &mut frames {
                    if checksum && frame.len() >= 17 && self.get(regs::TCTL) & tctl::PSP != 0 {
                        frame.resize(frame.len().max(60), 0);
                    }
                    self.count(0x4080, 1);
                    if frame.len() < 60 || frame.len() > 1518 {
                        self.breach(format!("{} bytes on the wire", frame.len()));
                    }
                }
                self.sent.extend(frames);
            }
            Err(why) => self.breach(why.into()),
        }
    }
}
