//! Datagrams in fragments: in order and out of it, tiny, overlapping, twice, incomplete.

use crate::oracle::{
    cases::Body,
    odd::Odd,
    wire::{V4, V6},
};
use proptest::{prelude::*, sample::select};

/// How a datagram is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the second fragment starts: a multiple of 8.
    pub at: usize,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    InOrder,
    Reversed,
    /// The rest once more in two, out of order.
    Three,
    /// The second starts 8 bytes early, with the same bytes.
    Overlap,
    /// The second starts 8 bytes early, with other bytes.
    Rewrite,
    /// The first comes twice.
    Twice,
    OnlyFirst,
    OnlyLast,
    /// The first is 3 bytes shorter.
    Ragged,
    /// The second ends beyond what a datagram can be.
    BeyondEnd,
}

const ALL: [How; 10] = [
    How::InOrder,
    How::Reversed,
    How::Three,
    How::Overlap,
    How::Rewrite,
    How::Twice,
    How::OnlyFirst,
    How::OnlyLast,
    How::Ragged,
    How::BeyondEnd,
];

pub(crate) fn cut() -> impl Strategy<Value = Cut> {
    let how = prop_oneof![2 => select(&ALL[..3]), 3 => select(&ALL[3..])];
    (select(&[8usize, 8, 16, 24, 32][..]), how).prop_map(|(at, how)| Cut { at, how })
}

/// One fragment.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    offset: usize,
    more: bool,
    bytes: Vec<u8>,
}

impl Piece {
    fn units(&self) -> u16 {
        u16::try_from(self.offset / 8).unwrap()
    }

    pub(crate) fn v4(&self, whole: &V4) -> Vec<u8> {
        let fragment = self.units() | u16::from(self.more) << 13;
        V4 { fragment, ..whole.clone() }.frame(&self.bytes)
    }

    pub(crate) fn v6(&self, whole: &V6, identification: u32) -> Vec<u8> {
        let mut header = vec![0, 0];
        header.extend((self.units() << 3 | u16::from(self.more)).to_be_bytes());
        header.extend(identification.to_be_bytes());
        let mut ip = whole.clone();
        ip.chain.push((44, header));
        ip.frame(&self.bytes)
    }
}

impl Cut {
    pub(crate) fn pieces(self, payload: &[u8]) -> Option<Vec<Piece>> {
        let piece = |from: usize, to: usize| {
            let bytes = payload.get(from..to)?.to_vec();
            Some(Piece { offset: from, more: to < payload.len(), bytes })
        };
        let (at, end) = (self.at, payload.len());
        let (first, last) = (piece(0, at)?, piece(at, end)?);
        Some(match self.how {
            How::InOrder => vec![first, last],
            How::Reversed => vec![last, first],
            How::Three => vec![piece(at, at + 16)?, piece(at + 16, end)?, first],
            How::Overlap => vec![first, piece(at - 8, end)?],
            How::Rewrite => {
                let mut early = piece(at - 8, end)?;
                early.bytes[..8].fill(0x5A);
                vec![first, early]
            }
            How::Twice => vec![first.clone(), first, last],
            How::OnlyFirst => vec![first],
            How::OnlyLast => vec![last],
            How::Ragged => {
                let mut short = first;
                short.bytes.truncate(at - 3);
                vec![short, last]
            }
            How::BeyondEnd => vec![first, Piece { offset: 65_528, ..last }],
        })
    }

    /// Whether something is left that waits for more.
    pub(crate) const fn leaves_rest(self) -> bool {
        !matches!(self.how, How::InOrder | How::Reversed | How::Three)
    }

    pub(crate) fn odd(self, body: Body) -> Vec<Odd> {
        let header = match body {
            Body::Tcp(..) => 20,
            _ => 8,
        };
        let mut odd = Vec::new();
        if self.at < header {
            odd.push(Odd::TinyFragment);
        }
        odd.extend(match self.how {
            How::InOrder | How::Reversed | How::Three => None,
            // The second starts at 0 and is the last: no fragment, but a whole datagram.
            How::Overlap | How::Rewrite if self.at == 8 => Some(Odd::WholeAmongFragments),
            How::Overlap | How::Rewrite => Some(Odd::Overlap),
            How::Twice => Some(Odd::Duplicate),
            How::OnlyFirst | How::OnlyLast => Some(Odd::Missing),
            How::Ragged => Some(Odd::Ragged),
            How::BeyondEnd => Some(Odd::BeyondEnd),
        });
        odd
    }
}
