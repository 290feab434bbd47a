//! Bytes ⇄ messages: postcard, bounded, nothing after the message.

use serde::{Serialize, de::DeserializeOwned};

/// Longest encoded message in bytes.
pub const MAX_LEN: usize = 4096;

/// Not a message of the expected kind, or it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed control message")
    }
}

impl core::error::Error for Malformed {}

/// Encodes `message` at the start of `buffer` and returns the bytes used.
///
/// # Errors
/// [`Malformed`] when the buffer is too short.
pub fn encode<'b, T: Serialize>(message: &T, buffer: &'b mut [u8]) -> Result<&'b [u8], Malformed> {
    postcard::to_slice(message, buffer).map(|used| &*used).map_err(|_| Malformed)
}

/// Decodes exactly one message.
///
/// # Errors
/// [`Malformed`] for anything else, bytes left over included.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() > MAX_LEN {
        return Err(Malformed);
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed),
    }
}
