//! Framing: one JSON document per `SOCK_SEQPACKET` packet, descriptors as `SCM_RIGHTS`.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Longest packet in bytes; a longer one is an error, never a truncation.
pub const MAX_PACKET: usize = 64 * 1024;
/// Descriptors at most in one packet.
pub const MAX_FDS: usize = 4;

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other process is gone.
    #[error("the other end closed the connection")]
    Closed,
    /// The packet does not fit or was cut.
    #[error("message longer than {MAX_PACKET} bytes or with more than {MAX_FDS} descriptors")]
    TooLong,
    /// Not a document of the expected kind.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] rustix::io::Errno),
}

/// Sends one message and its descriptors.
///
/// # Errors
/// [`WireError::TooLong`] before anything is sent; otherwise what the socket says.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_PACKET || fds.len() > MAX_FDS {
        return Err(WireError::TooLong);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(WireError::TooLong);
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message and its descriptors (close-on-exec).
///
/// # Errors
/// [`WireError::Closed`] at end of stream, [`WireError::Malformed`] for anything that is not a `T`.
pub fn recv<T: DeserializeOwned>(socket: impl AsFd) -> Result<(T, Vec<OwnedFd>), WireError> {
    let mut bytes = vec![0u8; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    if got.flags.intersects(cut) {
        return Err(WireError::TooLong);
    }
    if got.bytes == 0 {
        return Err(WireError::Closed);
    }
    let message = serde_json::from_slice(&bytes[..got.bytes])?;
    Ok((message, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{End, Request, What};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn message_and_descriptor_arrive() {
        let (a, b) = pair();
        let file = tempfile::tempfile().unwrap();
        let request = Request { id: 7, what: What::PrepareLink { end: End::Port(2) } };
        send(&a, &request, &[file.as_fd()]).unwrap();
        let (got, fds) = recv::<Request>(&b).unwrap();
        assert_eq!(got, request);
        assert_eq!(fds.len(), 1);
    }

    #[test]
    fn closed_peer_is_told_apart_from_garbage() {
        let (a, b) = pair();
        rustix::io::write(&a, b"not json").unwrap();
        assert!(matches!(recv::<Request>(&b), Err(WireError::Malformed(_))));
        drop(a);
        assert!(matches!(recv::<Request>(&b), Err(WireError::Closed)));
    }
}
