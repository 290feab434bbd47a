//! Statistics: the card's clear-on-read counters (§10.2.7), accumulated to 64 bits, and the driver's own.

use crate::regs::{self, Regs};
use hal::mmio::Mmio;

/// Counters that the card keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Frames with a bad checksum (CRCERRS).
    CrcErrors,
    /// Frames that were not a whole number of bytes (ALGNERRC).
    AlignmentErrors,
    /// Symbol errors (SYMERRS).
    SymbolErrors,
    /// Receive errors (RXERRC).
    ReceiveErrors,
    /// Frames lost because the receive FIFO was full (MPC).
    Missed,
    /// Frames dropped after 16 collisions (ECOL).
    ExcessiveCollisions,
    /// Late collisions (LATECOL).
    LateCollisions,
    /// Frames whose length field lies (RLEC).
    LengthErrors,
    /// Good frames received (GPRC).
    FramesReceived,
    /// Broadcast frames received (BPRC).
    BroadcastReceived,
    /// Multicast frames received (MPRC).
    MulticastReceived,
    /// Good frames sent (GPTC).
    FramesSent,
    /// Good bytes received, checksums included (GORC).
    BytesReceived,
    /// Good bytes sent, checksums included (GOTC).
    BytesSent,
    /// Times a frame found no descriptor (RNBC).
    NoBuffers,
    /// Too short, good checksum (RUC).
    Undersize,
    /// Too short, bad checksum (RFC).
    Fragments,
    /// Too long, good checksum (ROC).
    Oversize,
    /// Too long, bad checksum (RJC).
    Jabber,
    /// Segmentation contexts sent (TSCTC).
    SegmentationContexts,
    /// Segmentation contexts that failed (TSCTFC).
    SegmentationFailures,
}

const COUNTERS: usize = 21;

/// One counter's registers.
struct Row(Counter, u32, Width, &'static str);

#[derive(Clone, Copy)]
enum Width {
    Bits32,
    /// Low half first; reading the high half clears both.
    Bits64,
}

const TABLE: [Row; COUNTERS] = {
    use Counter as C;
    use Width::{Bits32, Bits64};
    [
        Row(C::CrcErrors, 0x4000, Bits32, "crc_errors"),
        Row(C::AlignmentErrors, 0x4004, Bits32, "alignment_errors"),
        Row(C::SymbolErrors, 0x4008, Bits32, "symbol_errors"),
        Row(C::ReceiveErrors, 0x400C, Bits32, "receive_errors"),
        Row(C::Missed, 0x4010, Bits32, "missed"),
        Row(C::ExcessiveCollisions, 0x4018, Bits32, "excessive_collisions"),
        Row(C::LateCollisions, 0x4020, Bits32, "late_collisions"),
        Row(C::LengthErrors, 0x4040, Bits32, "length_errors"),
        Row(C::FramesReceived, 0x4074, Bits32, "frames_received"),
        Row(C::BroadcastReceived, 0x4078, Bits32, "broadcast_received"),
        Row(C::MulticastReceived, 0x407C, Bits32, "multicast_received"),
        Row(C::FramesSent, 0x4080, Bits32, "frames_sent"),
        Row(C::BytesReceived, 0x4088, Bits64, "bytes_received"),
        Row(C::BytesSent, 0x4090, Bits64, "bytes_sent"),
        Row(C::NoBuffers, 0x40A0, Bits32, "no_buffers"),
        Row(C::Undersize, 0x40A4, Bits32, "undersize"),
        Row(C::Fragments, 0x40A8, Bits32, "fragments"),
        Row(C::Oversize, 0x40AC, Bits32, "oversize"),
        Row(C::Jabber, 0x40B0, Bits32, "jabber"),
        Row(C::SegmentationContexts, 0x40F8, Bits32, "segmentation_contexts"),
        Row(C::SegmentationFailures, 0x40FC, Bits32, "segmentation_failures"),
    ]
};

/// The card's counters since the driver started. They are the card's word, which is a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics([u64; COUNTERS]);

impl Statistics {
    /// One counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// All counters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        TABLE.iter().map(|row| (row.3, self.get(row.0)))
    }

    /// Adds what the card counted since the last look.
    pub(crate) fn collect<M: Mmio>(&mut self, regs: &Regs<M>) {
        for Row(counter, register, width, _) in &TABLE {
            let low = u64::from(regs.read(*register));
            let high = match width {
                Width::Bits32 => 0,
                Width::Bits64 => u64::from(regs.read(register + 4)),
            };
            if let Some(sum) = self.0.get_mut(*counter as usize) {
                *sum = sum.wrapping_add(high << 32 | low);
            }
        }
    }
}

/// Clears the whole block by reading it (§4.6.4).
pub(crate) fn clear<M: Mmio>(regs: &Regs<M>) {
    for register in (regs::STATS_BASE..regs::STATS_END).step_by(4) {
        let _ = regs.read(register);
    }
}

/// What the receiver did with the frames that the card reported. Every dropped one is in exactly one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Frames handed to the caller of `poll`.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dropped: the card marked the frame as damaged.
    pub damaged: u64,
    /// Dropped: shorter than an Ethernet header.
    pub runt: u64,
    /// Dropped: the card claimed more bytes than the buffer has, or none.
    pub bad_length: u64,
    /// Dropped: the frame was spread over several descriptors.
    pub fragmented: u64,
}

/// What the transmitter did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Frames queued for sending.
    pub frames: u64,
    /// Their bytes, before segmentation.
    pub bytes: u64,
    /// Queued frames that a reset threw away.
    pub lost: u64,
    /// Tail writes: how many bursts those frames took.
    pub kicks: u64,
}

/// What the driver itself counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// The receiver.
    pub rx: RxCounters,
    /// The transmitter.
    pub tx: TxCounters,
    /// Full resets after the transmitter or receiver hung.
    pub resets: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_rows_are_in_enum_order_inside_the_block() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert!((regs::STATS_BASE..regs::STATS_END).contains(&row.1));
        }
    }
}
