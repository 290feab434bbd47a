//! The header of a vsock packet (virtio 1.2, section 5.10.6). All fields are the sender's claims.

/// Bytes of a header.
pub const LEN: usize = 44;
/// The host's context identifier.
pub const HOST: u64 = 2;
/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub const TYPE_STREAM: u16 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE`: the sender will not receive any more.
pub const NO_RECEIVE: u32 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_F_SEND`: the sender will not send any more.
pub const NO_SEND: u32 = 2;

/// `VIRTIO_VSOCK_OP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Accepts one.
    Response = 2,
    /// Refuses or ends one.
    Reset = 3,
    /// Closes one or both directions.
    Shutdown = 4,
    /// Carries data.
    Data = 5,
    /// Says how much room there is.
    CreditUpdate = 6,
    /// Asks how much room there is.
    CreditRequest = 7,
}

impl Op {
    fn from_u16(n: u16) -> Option<Self> {
        Some(match n {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sender's context identifier.
    pub from_cid: u64,
    /// Receiver's context identifier.
    pub to_cid: u64,
    /// Sender's port.
    pub from_port: u32,
    /// Receiver's port.
    pub to_port: u32,
    /// Bytes of data that follow.
    pub len: u32,
    /// Stream or something else.
    pub kind: u16,
    /// What it is about.
    pub op: Op,
    /// With [`Op::Shutdown`]: which directions.
    pub flags: u32,
    /// Size of the sender's receive buffer.
    pub buffer: u32,
    /// Bytes that the sender has taken out of it since the connection began.
    pub forwarded: u32,
}

impl Header {
    /// Reads a header; `None` for an operation that does not exist.
    #[must_use]
    pub fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Some(Self {
            from_cid: u64_at(0),
            to_cid: u64_at(8),
            from_port: u32_at(16),
            to_port: u32_at(20),
            len: u32_at(24),
            kind: u16_at(28),
            op: Op::from_u16(u16_at(30))?,
            flags: u32_at(32),
            buffer: u32_at(36),
            forwarded: u32_at(40),
        })
    }

    /// Writes a header.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(&self.from_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.to_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.from_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.to_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&(self.op as u16).to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buffer.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.forwarded.to_le_bytes());
        bytes
    }

    /// Makes the reset that answers this packet.
    #[must_use]
    pub fn refusal(&self) -> Self {
        Self {
            from_cid: self.to_cid,
            to_cid: self.from_cid,
            from_port: self.to_port,
            to_port: self.from_port,
            len: 0,
            kind: self.kind,
            op: Op::Reset,
            flags: 0,
            buffer: 0,
            forwarded: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in any::<[u8; 32]>(), op in 0u8..9, tail in any::<[u8; 10]>()) {
            let mut all = [0; LEN];
            all[..32].copy_from_slice(&bytes);
            all[30] = op;
            all[31] = 0;
            all[34..].copy_from_slice(&tail);
            match Header::decode(&all) {
                Some(header) => prop_assert_eq!(header.encode(), all),
                None => prop_assert!(op == 0 || op == 8),
            }
        }
    }
}
