//! The form of DNS messages (RFC 1035 §4): header, question, answer records, names with compression pointers.
//!
//! Only what pins are made of is understood. Every byte is a stranger's: nothing panics, a pointer leads strictly
//! backwards, a name has at most 255 bytes, so that the work for one name is bounded.

use crate::hash::{Key, Sip};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Type of IPv4 addresses.
pub const A: u16 = 1;
/// Type of aliases.
pub const CNAME: u16 = 5;
/// Type of IPv6 addresses (RFC 3596).
pub const AAAA: u16 = 28;
/// The Internet's class.
const IN: u16 = 1;

/// Length of the header in bytes.
const HEADER_LEN: usize = 12;
/// Longest name in bytes, lengths of labels and the final 0 included.
const NAME_LEN: usize = 255;
/// Longest label in bytes.
const LABEL_LEN: usize = 63;
/// Pointers that one name may lead through. One can follow each label, but senders point to the longest end that was
/// there before.
const MAX_POINTERS: usize = 32;

/// Answer bit of the flags.
const QR: u16 = 0x8000;
/// Kind of question; 0 is the ordinary one.
const OPCODE: u16 = 0x7800;
/// Whether the rest did not fit.
const TC: u16 = 0x0200;
/// What went wrong; 0: nothing.
const RCODE: u16 = 0x000F;

/// Bytes that are no DNS message, as far as they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

fn byte(message: &[u8], at: usize) -> Result<u8, Malformed> {
    message.get(at).copied().ok_or(Malformed)
}

fn short(message: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = message.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    Ok(u16::from_be_bytes(*bytes))
}

fn long(message: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = message.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    Ok(u32::from_be_bytes(*bytes))
}

/// The header (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by who asks, repeated by who answers.
    pub id: u16,
    flags: u16,
    /// Questions.
    pub questions: u16,
    /// Records in the answer section.
    pub answers: u16,
}

impl Header {
    /// Reads the fields.
    ///
    /// # Errors
    /// [`Malformed`] when the message ends before the header does.
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        if message.len() < HEADER_LEN {
            return Err(Malformed);
        }
        Ok(Self {
            id: short(message, 0)?,
            flags: short(message, 2)?,
            questions: short(message, 4)?,
            answers: short(message, 6)?,
        })
    }

    /// Whether this is an ordinary question.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.flags & (QR | OPCODE) == 0
    }

    /// Whether this answers an ordinary question.
    #[must_use]
    pub const fn replies(&self) -> bool {
        self.flags & (QR | OPCODE) == QR
    }

    /// Whether the answer is whole and good.
    #[must_use]
    pub const fn succeeds(&self) -> bool {
        self.flags & (TC | RCODE) == 0
    }
}

/// A name: its labels in lower case, each after its length, and a final 0. A dot within a label thus stays what it
/// is and does not make two labels of one.
#[derive(Clone)]
pub struct Name {
    len: u8,
    bytes: [u8; NAME_LEN],
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Name").field(&self.as_bytes()).finish()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl Name {
    const EMPTY: Self = Self { len: 0, bytes: [0; NAME_LEN] };

    /// Reads the name at `at`; also gives where what follows it begins.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(message: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let mut name = Self::EMPTY;
        let (mut at, mut floor, mut end) = (at, at, None);
        for _ in 0..=MAX_POINTERS {
            match run(message, at, |label| name.push(label))? {
                Stop::End(after) => {
                    name.append(&[0])?;
                    return Ok((name, end.unwrap_or(after)));
                }
                // Strictly before where this part of the name began: no way leads in a circle.
                Stop::Pointer(target, _) if target >= floor || target < HEADER_LEN => return Err(Malformed),
                Stop::Pointer(target, after) => {
                    end = end.or(Some(after));
                    (at, floor) = (target, target);
                }
            }
        }
        Err(Malformed)
    }

    /// The name that text in dotted form means; `None` when there is no such name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut name = Self::EMPTY;
        for label in text.split('.') {
            if label.is_empty() || label.len() > LABEL_LEN {
                return None;
            }
            name.push(label.as_bytes()).ok()?;
        }
        name.append(&[0]).ok()?;
        Some(name)
    }

    /// The labels in lower case, each after its length, and a final 0.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The name's hash under a secret key.
    #[must_use]
    pub fn hash(&self, key: Key) -> u64 {
        hash(key, self.as_bytes())
    }

    fn push(&mut self, label: &[u8]) -> Result<(), Malformed> {
        let len = u8::try_from(label.len()).map_err(|_| Malformed)?;
        self.append(&[len])?;
        self.append(label)
    }

    /// How many labels there are, the root not counted: what reading the name cost.
    #[must_use]
    pub fn labels(&self) -> usize {
        let mut rest = self.as_bytes();
        let mut labels = 0;
        while let [len @ 1..=63, tail @ ..] = rest {
            rest = tail.get(usize::from(*len)..).unwrap_or_default();
            labels += 1;
        }
        labels
    }

    /// Adds bytes; letters become small (RFC 4343), lengths of labels are below any letter.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let start = usize::from(self.len);
        let place = self.bytes.get_mut(start..start + bytes.len()).ok_or(Malformed)?;
        place.copy_from_slice(bytes);
        place.make_ascii_lowercase();
        self.len = u8::try_from(start + bytes.len()).map_err(|_| Malformed)?;
        Ok(())
    }
}

/// The hash of a name's bytes under a secret key.
#[must_use]
pub fn hash(key: Key, name: &[u8]) -> u64 {
    let (words, rest) = name.as_chunks::<8>();
    let sip = words.iter().fold(Sip::new(key), |sip, word| sip.word(u64::from_le_bytes(*word)));
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    sip.word(last | (name.len() as u64) << 56).finish()
}

/// What a run of labels ended with, and where what follows begins.
enum Stop {
    /// The root.
    End(usize),
    /// A pointer to the rest.
    Pointer(usize, usize),
}

/// Walks over labels to the root or a pointer.
fn run(
    message: &[u8],
    mut at: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<Stop, Malformed> {
    let limit = at + NAME_LEN;
    while at < limit {
        let len = byte(message, at)?;
        match len {
            0 => return Ok(Stop::End(at + 1)),
            1..=63 => {
                let next = at + 1 + usize::from(len);
                each(message.get(at + 1..next).ok_or(Malformed)?)?;
                at = next;
            }
            0xC0.. => return Ok(Stop::Pointer(usize::from(short(message, at)? & 0x3FFF), at + 2)),
            // Label types that were never put to use (RFC 6891 §5).
            _ => return Err(Malformed),
        }
    }
    Err(Malformed)
}

/// A question (RFC 1035 §4.1.2).
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose record.
    pub name: Name,
    /// Which type of record.
    pub kind: u16,
    /// Where what follows begins.
    pub end: usize,
}

impl Question {
    /// Reads the one question of a message.
    ///
    /// # Errors
    /// [`Malformed`]; messages with several questions, or about something else than the Internet, count as such.
    pub fn read(message: &[u8], header: &Header) -> Result<Self, Malformed> {
        if header.questions != 1 {
            return Err(Malformed);
        }
        let (name, at) = Name::read(message, HEADER_LEN)?;
        let (kind, class) = (short(message, at)?, short(message, at + 2)?);
        if class != IN {
            return Err(Malformed);
        }
        Ok(Self { name, kind, end: at + 4 })
    }
}

/// A record (RFC 1035 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its owner's name begins.
    pub owner: usize,
    /// How long it holds, in seconds.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
    /// Where the next record begins.
    pub end: usize,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// The owner has this address.
    Address(IpAddr),
    /// The owner is an alias of the name that begins here.
    Alias(usize),
    /// Something else.
    Other,
}

impl Record {
    /// Reads the record at `owner`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(message: &[u8], owner: usize) -> Result<Self, Malformed> {
        let (Stop::End(at) | Stop::Pointer(_, at)) = run(message, owner, |_| Ok(()))?;
        let (kind, class, ttl) = (short(message, at)?, short(message, at + 2)?, long(message, at + 4)?);
        let start = at + 10;
        let end = start + usize::from(short(message, at + 8)?);
        let data = message.get(start..end).ok_or(Malformed)?;
        let data = match (class, kind) {
            (IN, A) => {
                Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).map_err(|_| Malformed)?).into())
            }
            (IN, AAAA) => {
                Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| Malformed)?).into())
            }
            (IN, CNAME) => Data::Alias(start),
            _ => Data::Other,
        };
        // RFC 2181 §8: a number with the highest bit set counts as 0.
        let ttl = if ttl >> 31 == 0 { ttl } else { 0 };
        Ok(Self { owner, ttl, data, end })
    }
}
