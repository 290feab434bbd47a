//! Descriptor layouts: two 64-bit words each, built and read as plain numbers.
//!
//! Nothing here touches memory or registers. Every field that a device wrote is masked to its width here
//! and bounded by its reader.

/// Bytes of every descriptor of this family.
pub(crate) const SIZE: usize = 16;
/// What fills a descriptor that no one has handed to the device: an address that no IOMMU maps.
pub(crate) const POISON: u64 = u64::MAX;

/// Word 1 of an extended receive descriptor after write-back (§7.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RxWriteBack(pub(crate) u64);

impl RxWriteBack {
    const DD: u64 = 1 << 0;
    const EOP: u64 = 1 << 1;
    const IXSM: u64 = 1 << 2;
    const UDPCS: u64 = 1 << 4;
    const TCPCS: u64 = 1 << 5;
    const IPCS: u64 = 1 << 6;
    const CE: u64 = 1 << 24;
    const SE: u64 = 1 << 25;
    const SEQ: u64 = 1 << 26;
    const CXE: u64 = 1 << 28;
    const TCPE: u64 = 1 << 29;
    const IPE: u64 = 1 << 30;
    const RXE: u64 = 1 << 31;

    /// Descriptor done: the other fields mean something.
    pub(crate) fn done(self) -> bool {
        self.0 & Self::DD != 0
    }

    /// End of packet: the frame does not continue in the next descriptor.
    pub(crate) fn end_of_packet(self) -> bool {
        self.0 & Self::EOP != 0
    }

    /// The wire garbled the frame (CRC, symbol, sequence, carrier extension, receive data error).
    pub(crate) fn damaged(self) -> bool {
        self.0 & (Self::CE | Self::SE | Self::SEQ | Self::CXE | Self::RXE) != 0
    }

    /// The card checked a checksum and found it wrong.
    pub(crate) fn checksum_error(self) -> bool {
        self.0 & (Self::TCPE | Self::IPE) != 0
    }

    /// The card checked the TCP or UDP checksum (and the IPv4 one, if there is one) and found it right.
    pub(crate) fn checksum_good(self) -> bool {
        self.0 & Self::IXSM == 0 && !self.checksum_error() && self.0 & (Self::TCPCS | Self::UDPCS) != 0
    }

    /// The card checked the IPv4 header checksum and found it right.
    pub(crate) fn ip_checksum_good(self) -> bool {
        self.0 & Self::IXSM == 0 && self.0 & Self::IPE == 0 && self.0 & Self::IPCS != 0
    }

    /// Length of the data in this buffer, as the device claims it.
    pub(crate) fn claimed_len(self) -> usize {
        usize::from(u16::from_le_bytes([self.0.to_le_bytes()[4], self.0.to_le_bytes()[5]]))
    }
}

/// A transmit context descriptor (§7.2, TCP/IP context): offsets that following data descriptors use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxContext {
    pub(crate) ip_start: u8,
    pub(crate) ip_checksum: u8,
    /// Last byte of the IP header; 0 leaves the IP checksum unused.
    pub(crate) ip_end: u16,
    pub(crate) l4_start: u8,
    pub(crate) l4_checksum: u8,
    pub(crate) kind: TxContextKind,
}

/// What the context is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxContextKind {
    /// One checksum insertion, from `l4_start` to the end of the packet.
    Checksum,
    /// TCP segmentation.
    Segment {
        /// Bytes after the headers, in total (20 bits).
        payload: u32,
        /// Bytes of the headers that every segment repeats.
        header: u8,
        /// Largest payload of one segment.
        mss: u16,
        /// Whether the IP header is IPv4 (its length, identification and checksum are then rewritten).
        ipv4: bool,
    },
}

const DEXT: u64 = 1 << 29;

impl TxContext {
    const TUCMD_TCP: u64 = 1 << 24;
    const TUCMD_IPV4: u64 = 1 << 25;
    const TUCMD_TSE: u64 = 1 << 26;

    /// The two words of the descriptor.
    pub(crate) fn words(self) -> [u64; 2] {
        let low = u64::from(self.ip_start)
            | u64::from(self.ip_checksum) << 8
            | u64::from(self.ip_end) << 16
            | u64::from(self.l4_start) << 32
            | u64::from(self.l4_checksum) << 40;
        let high = match self.kind {
            TxContextKind::Checksum => DEXT,
            TxContextKind::Segment { payload, header, mss, ipv4 } => {
                let ip = if ipv4 { Self::TUCMD_IPV4 } else { 0 };
                u64::from(payload & 0xF_FFFF)
                    | DEXT
                    | Self::TUCMD_TCP
                    | Self::TUCMD_TSE
                    | ip
                    | u64::from(header) << 40
                    | u64::from(mss) << 48
            }
        };
        [low, high]
    }
}

/// Word 1 of a transmit data descriptor (§7.2, TCP/IP data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxData(pub(crate) u64);

impl TxData {
    const DTYP_DATA: u64 = 1 << 20;
    const EOP: u64 = 1 << 24;
    const IFCS: u64 = 1 << 25;
    const TSE: u64 = 1 << 26;
    const RS: u64 = 1 << 27;
    const DD: u64 = 1 << 32;
    const POPTS_IXSM: u64 = 1 << 40;
    const POPTS_TXSM: u64 = 1 << 41;

    /// A data descriptor of `len` bytes (below 2^20).
    pub(crate) fn new(len: usize) -> Self {
        Self((len as u64 & 0xF_FFFF) | Self::DTYP_DATA | DEXT | Self::IFCS)
    }

    /// Inserts the TCP or UDP checksum as the context says.
    pub(crate) fn with_checksum(self) -> Self {
        Self(self.0 | Self::POPTS_TXSM)
    }

    /// Segments as the context says; `ipv4` also inserts the IP header checksum.
    pub(crate) fn with_segmentation(self, ipv4: Ipv4) -> Self {
        let ip = if ipv4.is_yes() { Self::POPTS_IXSM } else { 0 };
        Self(self.0 | Self::TSE | Self::POPTS_TXSM | ip)
    }

    /// Ends the packet and asks for a write-back.
    pub(crate) fn last(self) -> Self {
        Self(self.0 | Self::EOP | Self::RS)
    }

    /// Whether a written-back word says that the device is done with it.
    pub(crate) fn done(self) -> bool {
        self.0 & Self::DD != 0
    }
}

/// Whether a segmented packet is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv4 {
    Yes,
    No,
}

impl Ipv4 {
    /// Whether the card has an IPv4 header to complete.
    pub(crate) fn is_yes(self) -> bool {
        self == Self::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receive_fields_stand_where_the_datasheet_has_them() {
        let word = RxWriteBack(0x0000_05DC_2000_0023);
        assert!(word.done() && word.end_of_packet() && word.checksum_error() && !word.checksum_good());
        assert_eq!(word.claimed_len(), 1500);
        assert!(RxWriteBack(0x23).checksum_good());
        assert!(!RxWriteBack(0x27).checksum_good(), "IXSM: the card did not look");
        assert!(RxWriteBack(0x8000_0003).damaged());
    }

    #[test]
    fn transmit_words_stand_where_the_datasheet_has_them() {
        let kind = TxContextKind::Segment { payload: 0x1_2345, header: 54, mss: 1460, ipv4: true };
        let context =
            TxContext { ip_start: 14, ip_checksum: 24, ip_end: 33, l4_start: 34, l4_checksum: 50, kind };
        assert_eq!(context.words(), [0x0000_3222_0021_180E, 0x05B4_3600_2701_2345]);
        let data = TxData::new(1514).with_segmentation(Ipv4::Yes).last();
        assert_eq!(data.0, 0x0000_0300_2F10_05EA);
        assert!(!data.done() && TxData(data.0 | 1 << 32).done());
    }
}
