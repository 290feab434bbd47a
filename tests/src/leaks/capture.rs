//! Captures in the classic libpcap format, read without forgiveness: what does not fit is damage, and damage is a leak.

const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// Its length on the cable.
    pub length: usize,
    /// What of it was captured.
    pub bytes: Vec<u8>,
}

/// A capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Frames in order.
    pub records: Vec<Record>,
    /// Why it cannot be read to its end.
    pub damage: Option<String>,
    /// What was not read.
    pub rest: Vec<u8>,
}

impl Capture {
    /// Reads a capture whose writer has ended: all of it must be there.
    #[must_use]
    pub fn finished(file: &[u8]) -> Self {
        read(file)
    }

    /// Reads a capture whose writer is at work: a record that is cut off at the end is not there yet.
    #[must_use]
    pub fn running(file: &[u8]) -> Self {
        let mut capture = read(file);
        if capture.damage.as_deref() == Some(CUT) {
            (capture.damage, capture.rest) = (None, Vec::new());
        }
        capture
    }
}

const CUT: &str = "the capture ends in the middle of a record";

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn read(file: &[u8]) -> Capture {
    let mut capture = Capture::default();
    let known = word(file, 0) == Some(MAGIC) && word(file, 4) == Some(0x0004_0002);
    let Some((_, mut rest)) =
        file.split_at_checked(FILE_HEADER).filter(|_| known && word(file, 20) == Some(ETHERNET))
    else {
        capture.damage = Some("not a little-endian libpcap capture of Ethernet frames".to_owned());
        capture.rest = file[..file.len().min(FILE_HEADER)].to_vec();
        return capture;
    };
    while !rest.is_empty() {
        match record(rest) {
            Some((record, behind)) => {
                capture.records.push(record);
                rest = behind;
            }
            None => {
                capture.damage = Some(CUT.to_owned());
                capture.rest = rest.to_vec();
                break;
            }
        }
    }
    capture
}

fn record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (header, rest) = bytes.split_at_checked(RECORD_HEADER)?;
    let [seconds, micros, captured, length] = [0, 4, 8, 12].map(|at| word(header, at));
    let (frame, behind) = rest.split_at_checked(captured? as usize)?;
    let at_us = u64::from(seconds?) * 1_000_000 + u64::from(micros?);
    Some((Record { at_us, length: length? as usize, bytes: frame.to_vec() }, behind))
}

/// Writes a capture, for tests of who reads it.
#[must_use]
pub fn write(records: &[Record]) -> Vec<u8> {
    let mut file: Vec<u8> =
        [MAGIC, 0x0004_0002, 0, 0, 65_536, ETHERNET].iter().flat_map(|word| word.to_le_bytes()).collect();
    for record in records {
        let lengths = [record.bytes.len(), record.length];
        let times = [record.at_us / 1_000_000, record.at_us % 1_000_000];
        let words = times.into_iter().chain(lengths.map(|length| length as u64));
        file.extend(words.flat_map(|word| u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes()));
        file.extend(&record.bytes);
    }
    file
}
