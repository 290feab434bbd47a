//! What the calls ask of the network: sockets, as the program sees them.
//!
//! Implemented by [`crate::net`]. Streams that connect go to the uplink and nowhere else; listeners and datagram sockets
//! hear clients and nobody else.

use crate::errno::Errno;
use core::net::{SocketAddr, SocketAddrV4};

/// Names a socket; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Which half of a connection is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Receiving.
    Read,
    /// Sending.
    Write,
    /// Both.
    Both,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// What an object is ready for, in the bits of `epoll` and `poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// EPOLLIN 1, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 0x10, EPOLLRDHUP 0x2000.
    pub bits: u32,
    /// Counts everything that would wake who waits on Linux: bytes or a connection arrived, room came free, the state
    /// changed. Edge-triggered waiters look at whether it moved.
    pub edges: u32,
}

impl Readiness {
    /// Something to read.
    pub const IN: u32 = 1;
    /// Room to write.
    pub const OUT: u32 = 4;
    /// An error is to be fetched.
    pub const ERR: u32 = 8;
    /// Both halves are over.
    pub const HUP: u32 = 0x10;
    /// The peer sends no more.
    pub const RDHUP: u32 = 0x2000;
}

/// Sockets. No call blocks: what cannot be done now is [`Errno::AGAIN`]. A [`SocketId`] that is not in use is
/// [`Errno::BADF`].
pub trait Sockets {
    /// A new socket.
    ///
    /// # Errors
    /// [`Errno::NFILE`].
    fn open(&mut self, kind: SocketKind) -> Result<SocketId, Errno>;

    /// Gives a socket up. What it still has to send is sent, unless it lingers for no time: then it is reset.
    fn close(&mut self, id: SocketId);

    /// Chooses the local address; only the port counts.
    ///
    /// # Errors
    /// [`Errno::ADDRINUSE`], [`Errno::INVAL`].
    fn bind(&mut self, id: SocketId, local: SocketAddrV4) -> Result<(), Errno>;

    /// Hears clients' connections to the bound port from now on.
    ///
    /// # Errors
    /// [`Errno::INVAL`], [`Errno::OPNOTSUPP`].
    fn listen(&mut self, id: SocketId, backlog: u32) -> Result<(), Errno>;

    /// Takes a client's connection: its socket and the client's address. That is its IPv4 address also when it came over
    /// IPv6: a client has one name.
    ///
    /// # Errors
    /// [`Errno::AGAIN`], [`Errno::INVAL`].
    fn accept(&mut self, id: SocketId) -> Result<(SocketId, SocketAddrV4), Errno>;

    /// Begins a connection through the uplink.
    ///
    /// # Errors
    /// [`Errno::INPROGRESS`] as a rule, [`Errno::ALREADY`], [`Errno::ISCONN`], [`Errno::NETUNREACH`].
    fn connect(&mut self, id: SocketId, peer: SocketAddrV4) -> Result<(), Errno>;

    /// Sends on a stream, as much as there is room for.
    ///
    /// # Errors
    /// [`Errno::AGAIN`], [`Errno::PIPE`], [`Errno::NOTCONN`], the socket's pending error.
    fn send(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, Errno>;

    /// Receives from a stream; 0 at its end.
    ///
    /// # Errors
    /// [`Errno::AGAIN`], [`Errno::NOTCONN`], the socket's pending error.
    fn receive(&mut self, id: SocketId, out: &mut [u8]) -> Result<usize, Errno>;

    /// Sends a datagram to a client that asked.
    ///
    /// # Errors
    /// [`Errno::HOSTUNREACH`] when nobody there asked, [`Errno::AGAIN`], [`Errno::MSGSIZE`].
    fn send_to(&mut self, id: SocketId, bytes: &[u8], peer: SocketAddrV4) -> Result<usize, Errno>;

    /// Receives a client's datagram; what does not fit is cut off.
    ///
    /// # Errors
    /// [`Errno::AGAIN`].
    fn receive_from(&mut self, id: SocketId, out: &mut [u8]) -> Result<(usize, SocketAddrV4), Errno>;

    /// Ends one half of a connection or both.
    ///
    /// # Errors
    /// [`Errno::NOTCONN`].
    fn shutdown(&mut self, id: SocketId, half: Half) -> Result<(), Errno>;

    /// Fetches and clears the pending error (`SO_ERROR`).
    fn take_error(&mut self, id: SocketId) -> Option<Errno>;

    /// Chooses what [`Self::close`] does: `true` resets the connection (`SO_LINGER` with no time).
    fn set_reset_on_close(&mut self, id: SocketId, reset: bool);

    /// Where the client wanted to go (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`).
    ///
    /// # Errors
    /// [`Errno::NOENT`] for what no client began.
    fn original_destination(&self, id: SocketId) -> Result<SocketAddr, Errno>;

    /// Own address.
    ///
    /// # Errors
    /// [`Errno::BADF`].
    fn local(&self, id: SocketId) -> Result<SocketAddrV4, Errno>;

    /// The peer's address.
    ///
    /// # Errors
    /// [`Errno::NOTCONN`].
    fn peer(&self, id: SocketId) -> Result<SocketAddrV4, Errno>;

    /// What the socket is ready for.
    fn readiness(&self, id: SocketId) -> Readiness;

    /// Resets every connection and gives up every socket: the program has ended.
    fn end_program(&mut self);
}
