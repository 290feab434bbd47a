//! What became of a packet, seen from outside: by the frames that came out.

/// Marks the frames of one case in whatever they became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub u32);

impl Tag {
    pub(crate) fn bytes(self) -> [u8; 8] {
        let mut bytes = *b"\xA5Orc....";
        bytes[4..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }

    /// Data that shows the tag wherever it is cut.
    pub(crate) fn data(self, len: usize) -> Vec<u8> {
        self.bytes().into_iter().cycle().take(len).collect()
    }

    pub(crate) fn is_in(self, frame: &[u8]) -> bool {
        frame.windows(8).any(|window| window == self.bytes())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    /// It, or a fragment of it, came out on the other side.
    Passes,
    /// Its sender was told: administratively prohibited.
    Rejected,
    /// Its sender was told something else: ICMP type and code.
    Answered(u8, u8),
    /// Its sender got a TCP reset.
    Reset,
    /// Nothing came.
    Dropped,
}

/// What the frames that came out say about a case.
pub(crate) fn outcome(tag: Tag, beyond: &[Vec<u8>], back: &[Vec<u8>]) -> Outcome {
    if beyond.iter().any(|frame| tag.is_in(frame)) {
        return Outcome::Passes;
    }
    let answers = back.iter().filter(|frame| tag.is_in(frame)).filter_map(|frame| icmp(frame));
    let answer = answers.map(|answer| match answer {
        (4, 3, 13) | (6, 1, 1) => Outcome::Rejected,
        (_, kind, code) => Outcome::Answered(kind, code),
    });
    let reset = back.iter().any(|frame| is_reset(frame)).then_some(Outcome::Reset);
    answer.min().or(reset).unwrap_or(Outcome::Dropped)
}

/// Whether it is a TCP segment with RST. It quotes nothing, so no tag is in it.
fn is_reset(frame: &[u8]) -> bool {
    let flags_at = match (frame.get(14).map(|first| first >> 4), frame.get(23), frame.get(20)) {
        (Some(4), Some(6), _) => 14 + 20 + 13,
        (Some(6), _, Some(6)) => 14 + 40 + 13,
        _ => return false,
    };
    frame.get(flags_at).is_some_and(|flags| flags & 4 != 0)
}

/// Version, ICMP type and code.
fn icmp(frame: &[u8]) -> Option<(u8, u8, u8)> {
    let ip = frame.get(14..)?;
    let (version, at) = match (ip.first()? >> 4, ip.get(9)?, ip.get(6)?) {
        (4, 1, _) => (4, usize::from(ip.first()? & 15) * 4),
        (6, _, 58) => (6, 40),
        _ => return None,
    };
    Some((version, *ip.get(at)?, *ip.get(at + 1)?))
}
