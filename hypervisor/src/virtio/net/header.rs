//! The header before every frame (virtio 1.2, section 5.1.6) and its meaning as a link's metadata.
//!
//! What a guest writes is a claim: here it becomes a [`Meta`] whose every offset lies within the frame, or a
//! reason to drop the frame. Called by both directions and by the tap.

use link::{Csum, Gso, GsoKind, Meta};
use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
};

/// Bytes of a header: always with the number of buffers, as modern devices have it.
pub const LEN: usize = 12;
/// Ethernet header without VLAN tag.
pub const ETHERNET: usize = 14;
/// A VLAN tag.
const VLAN: usize = 4;

/// What one side may leave to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums may be left for the other side to complete.
    pub csum: bool,
    /// Long TCP segments over IPv4 may be left to cut.
    pub tso4: bool,
    /// Long TCP segments over IPv6 may be left to cut.
    pub tso6: bool,
}

impl Offloads {
    /// What the guest may leave to us, by negotiated features.
    #[must_use]
    pub fn from_guest(features: u64) -> Self {
        Self::of(features, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6)
    }

    /// What we may leave to the guest.
    #[must_use]
    pub fn to_guest(features: u64) -> Self {
        Self::of(features, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6)
    }

    fn of(features: u64, csum: u32, tso4: u32, tso6: u32) -> Self {
        let has = |bit: u32| features >> bit & 1 == 1;
        let csum = has(csum);
        // virtio 1.2, 5.1.3.1: segmentation requires checksums.
        Self { csum, tso4: csum && has(tso4), tso6: csum && has(tso6) }
    }

    fn allow(self, kind: GsoKind) -> bool {
        match kind {
            GsoKind::Tcp4 => self.tso4,
            GsoKind::Tcp6 => self.tso6,
            GsoKind::Udp => false,
        }
    }
}

/// Why a frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than an Ethernet header, or longer than allowed.
    Length,
    /// A header that contradicts the frame or the negotiated features.
    Header,
}

/// Reads the header that came with `frame` from a side that may leave `offloads` to us. A frame that is not
/// cut has at most `mtu` bytes beyond its Ethernet header.
///
/// # Errors
/// [`Malformed`] says why the frame must be dropped.
pub fn decode(header: &[u8; LEN], frame: &[u8], offloads: Offloads, mtu: u16) -> Result<Meta, Malformed> {
    let [flags, gso_type, _, _, size_lo, size_hi, start_lo, start_hi, offset_lo, offset_hi, ..] = *header;
    if frame.len() < ETHERNET || frame.len() > link::MAX_PAYLOAD {
        return Err(Malformed::Length);
    }
    let mut meta = Meta::default();
    if u32::from(flags) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
        let start = u16::from_le_bytes([start_lo, start_hi]);
        let offset = u16::from_le_bytes([offset_lo, offset_hi]);
        if !offloads.csum || usize::from(start) + usize::from(offset) + 2 > frame.len() {
            return Err(Malformed::Header);
        }
        meta.csum = Csum::Partial { start, offset };
    } else if u32::from(flags) & VIRTIO_NET_HDR_F_DATA_VALID != 0 {
        meta.csum = Csum::Verified;
    }
    match gso_kind(gso_type)? {
        None if frame.len() > usize::from(mtu) + ETHERNET + VLAN => return Err(Malformed::Length),
        None => {}
        Some(kind) => {
            let size = u16::from_le_bytes([size_lo, size_hi]);
            meta.gso = Some(
                gso(kind, size, meta.csum, frame)
                    .filter(|_| offloads.allow(kind))
                    .ok_or(Malformed::Header)?,
            );
        }
    }
    Ok(meta)
}

fn gso_kind(gso_type: u8) -> Result<Option<GsoKind>, Malformed> {
    match u32::from(gso_type) {
        VIRTIO_NET_HDR_GSO_NONE => Ok(None),
        VIRTIO_NET_HDR_GSO_TCPV4 => Ok(Some(GsoKind::Tcp4)),
        VIRTIO_NET_HDR_GSO_TCPV6 => Ok(Some(GsoKind::Tcp6)),
        _ => Err(Malformed::Header),
    }
}

/// The length of the headers is read from the TCP header itself: what a driver writes is only a hint
/// (virtio 1.2, 5.1.6.2).
fn gso(kind: GsoKind, size: u16, csum: Csum, frame: &[u8]) -> Option<Gso> {
    let Csum::Partial { start, .. } = csum else { return None };
    let words = frame.get(usize::from(start) + 12)? >> 4;
    let header_len = usize::from(start) + 4 * usize::from(words);
    let fits = words >= 5 && header_len <= frame.len() && size > 0;
    Some(Gso { kind, size, header_len: u16::try_from(header_len).ok()? }).filter(|_| fits)
}

/// Writes the header for a frame that lies in `buffers` buffers of the receiver.
#[must_use]
pub fn encode(meta: &Meta, buffers: u16) -> [u8; LEN] {
    let mut header = [0; LEN];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    if let Some(gso) = meta.gso {
        put(2, gso.header_len);
        put(4, gso.size);
    }
    if let Csum::Partial { start, offset } = meta.csum {
        put(6, start);
        put(8, offset);
    }
    put(10, buffers);
    let flags = match meta.csum {
        Csum::None => 0,
        Csum::Partial { .. } => VIRTIO_NET_HDR_F_NEEDS_CSUM,
        Csum::Verified => VIRTIO_NET_HDR_F_DATA_VALID,
    };
    let gso_type = match meta.gso.map(|gso| gso.kind) {
        Some(GsoKind::Tcp4) => VIRTIO_NET_HDR_GSO_TCPV4,
        Some(GsoKind::Tcp6) => VIRTIO_NET_HDR_GSO_TCPV6,
        Some(GsoKind::Udp) | None => VIRTIO_NET_HDR_GSO_NONE,
    };
    header[0] = u8::try_from(flags).unwrap_or(0);
    header[1] = u8::try_from(gso_type).unwrap_or(0);
    header
}

/// Makes a frame fit for a receiver that takes `offloads`: completes a checksum that it would not, and says
/// `None` when the frame would have to be cut.
#[must_use]
pub fn adapt(meta: Meta, frame: &mut [u8], offloads: Offloads) -> Option<Meta> {
    if meta.gso.is_some_and(|gso| !offloads.allow(gso.kind)) {
        return None;
    }
    if offloads.csum {
        return Some(meta);
    }
    if let Csum::Partial { start, offset } = meta.csum {
        complete(frame, start.into(), offset.into())?;
    }
    Some(Meta { csum: Csum::None, ..meta })
}

/// Sums from `start` to the end (RFC 1071) and stores the result at `start + offset`.
fn complete(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let summed = frame.get(start..)?;
    let words =
        summed.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u64::from(*b)));
    let mut sum: u64 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).ok()?;
    // Zero would mean "no checksum" to UDP; both mean the same number.
    let bytes = if sum == 0 { 0xFFFF } else { sum }.to_be_bytes();
    frame.get_mut(start + offset..start + offset + 2)?.copy_from_slice(&bytes);
    Some(())
}

#[cfg(test)]
mod tests;
