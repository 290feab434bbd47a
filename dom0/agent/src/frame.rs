//! Frames of a session: one byte of kind, four of length (little endian), the payload.
//!
//! Each side treats what it reads as hostile: lengths are bounded, texts are counted, nothing panics.

use std::io::{self, Read, Write};

/// Longest payload in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Version of the protocol, first byte of [`ToAgent::Exec`].
const VERSION: u8 = 1;
/// Arguments or variables at most.
const MAX_TEXTS: usize = 1024;

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments; not empty.
    pub argv: Vec<Vec<u8>>,
    /// Variables to set, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The terminal to run it on; absent: pipes.
    pub terminal: Option<Size>,
}

/// From `bulkhead run` to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent {
    /// First, and once.
    Exec(Exec),
    /// Instead of a command: power the machine off in good order. Not answered.
    PowerOff,
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// Standard input ends.
    StdinEnd,
    /// The user's terminal changed its size.
    Resize(Size),
}

/// From the agent to `bulkhead run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromAgent {
    /// The command runs.
    Started,
    /// Bytes of standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// It exited; last.
    Exited(u8),
    /// A signal ended it; last.
    Signalled(u8),
    /// It was not started; last.
    Refused(String),
}

/// A side of the protocol.
pub trait Message: Sized {
    /// Kind and payload.
    fn encode(&self) -> (u8, Vec<u8>);
    /// Understands a frame; `None` when it is none of this side's.
    fn decode(kind: u8, payload: &[u8]) -> Option<Self>;
}

/// Writes one message.
///
/// # Errors
/// What the stream says; [`io::ErrorKind::InvalidInput`] when the message is too long.
pub fn write<M: Message>(stream: &mut impl Write, message: &M) -> io::Result<()> {
    let (kind, payload) = message.encode();
    let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::with_capacity(5 + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&payload);
    stream.write_all(&bytes)
}

/// Reads one message; `None` at the end of the stream.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for anything that is not a message, otherwise what the stream says.
pub fn read<M: Message>(stream: &mut impl Read) -> io::Result<Option<M>> {
    let mut header = [0u8; 5];
    if stream.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..])?;
    let [kind, length @ ..] = header;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    M::decode(kind, &payload).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Message for ToAgent {
    fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Exec(exec) => (1, encode_exec(exec)),
            Self::Stdin(bytes) => (2, bytes.clone()),
            Self::StdinEnd => (3, Vec::new()),
            Self::Resize(size) => (4, encode_size(*size).to_vec()),
            Self::PowerOff => (5, Vec::new()),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match kind {
            1 => Self::Exec(decode_exec(payload)?),
            2 => Self::Stdin(payload.to_vec()),
            3 if payload.is_empty() => Self::StdinEnd,
            4 => Self::Resize(decode_size(payload.try_into().ok()?)),
            5 if payload.is_empty() => Self::PowerOff,
            _ => return None,
        })
    }
}

impl Message for FromAgent {
    fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Started => (16, Vec::new()),
            Self::Stdout(bytes) => (17, bytes.clone()),
            Self::Stderr(bytes) => (18, bytes.clone()),
            Self::Exited(code) => (19, vec![*code]),
            Self::Signalled(signal) => (20, vec![*signal]),
            Self::Refused(why) => (21, why.clone().into_bytes()),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match (kind, payload) {
            (16, []) => Self::Started,
            (17, bytes) => Self::Stdout(bytes.to_vec()),
            (18, bytes) => Self::Stderr(bytes.to_vec()),
            (19, [code]) => Self::Exited(*code),
            (20, [signal]) => Self::Signalled(*signal),
            (21, why) => Self::Refused(String::from_utf8_lossy(why).into_owned()),
            _ => return None,
        })
    }
}

fn encode_size(size: Size) -> [u8; 4] {
    let ([a, b], [c, d]) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
    [a, b, c, d]
}

const fn decode_size([a, b, c, d]: [u8; 4]) -> Size {
    Size { rows: u16::from_le_bytes([a, b]), columns: u16::from_le_bytes([c, d]) }
}

fn encode_exec(exec: &Exec) -> Vec<u8> {
    let mut bytes = vec![VERSION, u8::from(exec.terminal.is_some())];
    bytes.extend_from_slice(&encode_size(exec.terminal.unwrap_or_default()));
    for texts in [&exec.argv, &exec.env] {
        bytes.extend_from_slice(&length(texts.len()));
        for text in texts {
            bytes.extend_from_slice(&length(text.len()));
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// A length as written; one that does not fit makes the frame too long for [`write`] anyway.
fn length(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn decode_exec(bytes: &[u8]) -> Option<Exec> {
    let (&[VERSION, terminal @ (0 | 1), a, b, c, d], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let argv = decode_texts(&mut rest)?;
    let env = decode_texts(&mut rest)?;
    let terminal = (terminal == 1).then(|| decode_size([a, b, c, d]));
    (rest.is_empty() && !argv.is_empty()).then_some(Exec { argv, env, terminal })
}

fn decode_texts(rest: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut number = || {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        usize::try_from(u32::from_le_bytes(*head)).ok()
    };
    let count = number().filter(|n| *n <= MAX_TEXTS)?;
    let mut texts = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*head)).ok()?;
        let (text, tail) = tail.split_at_checked(length)?;
        if text.contains(&0) {
            return None;
        }
        texts.push(text.to_vec());
        *rest = tail;
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back<M: Message>(message: &M) -> Option<M> {
        let mut bytes = Vec::new();
        write(&mut bytes, message).unwrap();
        read(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn messages_survive() {
        let exec = Exec {
            argv: vec![b"sh".to_vec(), b"-c".to_vec(), b"".to_vec()],
            env: vec![b"TERM=xterm".to_vec()],
            terminal: Some(Size { rows: 24, columns: 80 }),
        };
        for message in
            [ToAgent::Exec(exec), ToAgent::Stdin(vec![0, 255]), ToAgent::StdinEnd, ToAgent::PowerOff]
        {
            assert_eq!(there_and_back(&message), Some(message));
        }
        for message in [FromAgent::Started, FromAgent::Exited(3), FromAgent::Refused("no".into())] {
            assert_eq!(there_and_back(&message), Some(message));
        }
    }

    #[test]
    fn long_cut_and_empty_frames_are_refused() {
        assert!(read::<ToAgent>(&mut &[2, 255, 255, 255, 255][..]).is_err());
        assert!(read::<ToAgent>(&mut &[2, 4, 0, 0, 0, 1][..]).is_err());
        assert!(read::<ToAgent>(&mut &[9, 0, 0, 0, 0][..]).is_err());
        assert_eq!(read::<ToAgent>(&mut &[][..]).unwrap(), None);
        assert!(write(&mut Vec::new(), &ToAgent::Stdin(vec![0; MAX_PAYLOAD + 1])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind in any::<u8>(), payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ToAgent::decode(kind, &payload);
            let _ = FromAgent::decode(kind, &payload);
            let _ = decode_exec(&payload);
        }
    }
}
