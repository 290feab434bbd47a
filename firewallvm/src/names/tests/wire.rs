//! The form of messages: what is read, what is refused, and that nothing panics or runs for long.

use super::messages::Asked;
use crate::names::wire::{A, Data, Header, Malformed, Name, Question, Record};
use proptest::prelude::*;

/// A header with these counts.
fn header(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    [id, flags, questions, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The name at `at` behind a header.
fn read(bytes: &[u8], at: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let message = [&header(0, 0, 0, 0)[..], bytes].concat();
    Name::read(&message, 12 + at).map(|(name, end)| (name.as_bytes().to_vec(), end - 12))
}

#[test]
fn names_are_put_together_from_their_pieces() {
    // As in RFC 1035 §4.1.4: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA, the root.
    let bytes = b"\x01F\x03ISI\x04ARPA\0\x03FOO\xC0\x0C\xC0\x12\0";
    assert_eq!(read(bytes, 0), Ok((b"\x01f\x03isi\x04arpa\0".to_vec(), 12)));
    assert_eq!(read(bytes, 12), Ok((b"\x03foo\x01f\x03isi\x04arpa\0".to_vec(), 18)));
    assert_eq!(read(bytes, 18), Ok((b"\x04arpa\0".to_vec(), 20)));
    assert_eq!(read(bytes, 20), Ok((b"\0".to_vec(), 21)));
}

#[test]
fn no_pointer_leads_in_a_circle_or_forwards() {
    for bytes in [
        // To itself; to what is behind it; to a label before it that leads back to it.
        &b"\xC0\x0C"[..],
        b"\xC0\x0E\0",
        b"\x01a\xC0\x0C",
        b"\xC0\x0E\xC0\x0C",
        // Into the header, beyond the end, cut off.
        b"\xC0\x00",
        b"\xFF\xFF",
        b"\xC0",
        b"\x01a\xC0",
    ] {
        assert_eq!(read(bytes, 0), Err(Malformed), "{bytes:?}");
    }
    assert_eq!(read(b"\x01a\xC0\x10\xC0\x0C", 4), Err(Malformed));
}

#[test]
fn names_and_labels_have_a_longest_length() {
    let label = |len: u8| [&[len][..], &vec![b'x'; usize::from(len)]].concat();
    let name = |last: u8| [label(63), label(63), label(63), label(last), vec![0]].concat();
    assert_eq!(read(&name(61), 0).unwrap().0.len(), 255);
    assert_eq!(read(&name(62), 0), Err(Malformed));
    for kind in [0x40, 0x80, 0xBF] {
        assert_eq!(read(&[kind, 1, 1, 1, 0], 0), Err(Malformed));
    }
    // By pointers: each leads to one label more. Or to nothing more, but not for ever either.
    for label in [&b"\x01a"[..], b""] {
        let mut bytes = vec![0];
        let mut places = vec![0];
        for _ in 0..40 {
            let last = u16::try_from(places[places.len() - 1]).unwrap();
            places.push(bytes.len());
            bytes.extend(label);
            bytes.extend((0xC000 | (12 + last)).to_be_bytes());
        }
        assert_eq!(read(&bytes, places[32]).unwrap().0.len(), 1 + 32 * label.len());
        assert_eq!(read(&bytes, places[33]), Err(Malformed));
    }
}

#[test]
fn text_means_the_same_name_as_bytes_do() {
    let wire = |bytes: &[u8]| Name::read(&[&header(0, 0, 0, 0)[..], bytes].concat(), 12).unwrap().0;
    let name = Name::from_text("Files.Example_1").unwrap();
    assert_eq!(name, wire(b"\x05fILES\x09eXAMPLE_1\0"));
    assert_eq!(name.hash([1, 2]), wire(b"\x05files\x09example_1\0").hash([1, 2]));
    assert_eq!((name.labels(), wire(b"\0").labels(), wire(b"\x01.\0").labels()), (2, 0, 1));
    // A dot within a label makes no two labels of it.
    assert_ne!(Name::from_text("a.b").unwrap(), wire(b"\x03a.b\0"));
    for text in ["", ".", "a..b", ".a", "a.", &"x".repeat(64), &["x"; 130].join(".")] {
        assert_eq!(Name::from_text(text), None, "{text}");
    }
}

#[test]
fn records_are_read_whole_or_not_at_all() {
    let record = |kind: u16, class: u16, ttl: u32, data: &[u8]| {
        let mut bytes = header(0, 0x8000, 0, 1);
        bytes.extend(b"\x01a\0");
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        bytes
    };
    let bytes = record(A, 1, 7, &[192, 0, 2, 1]);
    let read = Record::read(&bytes, 12).unwrap();
    assert_eq!(
        (read.ttl, read.data, read.end),
        (7, Data::Address("192.0.2.1".parse().unwrap()), bytes.len())
    );
    for len in 12..bytes.len() {
        assert_eq!(Record::read(&bytes[..len], 12), Err(Malformed));
    }
    // RFC 2181 §8.
    assert_eq!(Record::read(&record(A, 1, 0x8000_0000, &[1; 4]), 12).unwrap().ttl, 0);
    // Another class, another type: not ours, whatever is in it.
    for (kind, class) in [(A, 3), (16, 1), (41, 4096), (65, 1)] {
        assert_eq!(Record::read(&record(kind, class, 0, &[9; 5]), 12).unwrap().data, Data::Other);
    }
    for (kind, data) in [(1, &[1; 3][..]), (1, &[1; 5]), (1, &[]), (28, &[1; 4]), (28, &[1; 17])] {
        assert_eq!(Record::read(&record(kind, 1, 0, data), 12), Err(Malformed));
    }
}

#[test]
fn one_question_about_the_internet_is_a_question() {
    let bytes = Asked::a(3, "files.example").bytes();
    let header = Header::read(&bytes).unwrap();
    assert!(header.asks() && !header.replies() && header.succeeds());
    let question = Question::read(&bytes, &header).unwrap();
    assert_eq!((question.name, question.kind), (Name::from_text("files.example").unwrap(), A));
    assert_eq!(question.end, bytes.len());
    for (at, value) in [(5, 0), (5, 2), (bytes.len() - 1, 3)] {
        let mut other = bytes.clone();
        other[at] = value;
        let header = Header::read(&other).unwrap();
        assert!(Question::read(&other, &header).is_err());
    }
    for len in 0..bytes.len() {
        let read = Header::read(&bytes[..len]).and_then(|header| Question::read(&bytes[..len], &header));
        assert!(read.is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..320) {
        let _ = Name::read(&bytes, at);
        let _ = Record::read(&bytes, at);
        if let Ok(header) = Header::read(&bytes) {
            let _ = Question::read(&bytes, &header);
        }
    }

    /// Bytes that look like names more often than chance has it, read as a slow reader that remembers where it has
    /// been reads them.
    #[test]
    fn names_are_what_a_slow_reader_finds(
        bytes in proptest::collection::vec(prop_oneof![0_u8..4, Just(0xC0), 12_u8..40, Just(b'A')], 12..60),
        at in 12_usize..60,
    ) {
        let fast = Name::read(&bytes, at).ok().map(|(name, end)| (name.as_bytes().to_vec(), end));
        prop_assert_eq!(fast, slow(&bytes, at));
    }
}

/// A name, by recursion: the labels up to a pointer, then the name that it points to.
fn slow(message: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    fn part(message: &[u8], at: usize, links: usize) -> Option<(Vec<u8>, usize)> {
        let mut name = Vec::new();
        let mut here = at;
        loop {
            match *message.get(here)? {
                0 => {
                    name.push(0);
                    return Some((name, here + 1));
                }
                len @ 1..=63 => {
                    name.extend(message.get(here..=here + usize::from(len))?.to_ascii_lowercase());
                    here += 1 + usize::from(len);
                }
                high @ 0xC0.. => {
                    let to = usize::from(high & 0x3F) << 8 | usize::from(*message.get(here + 1)?);
                    if to >= at || to < 12 || links == 32 {
                        return None;
                    }
                    name.extend(part(message, to, links + 1)?.0);
                    return Some((name, here + 2));
                }
                _ => return None,
            }
        }
    }
    part(message, at, 0).filter(|(name, _)| name.len() <= 255)
}
