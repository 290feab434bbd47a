//! Sockets that reach each other and nothing else: a connection to a port arrives at whoever listens there at once.

use crate::errno::Errno;
use crate::sockets::{Half, Readiness, SocketId, SocketKind, Sockets};
use alloc::collections::{BTreeMap, VecDeque};
use core::net::{Ipv4Addr, SocketAddrV4};

const MOST: usize = 1024;
const BUFFER: usize = 65_536;

#[derive(Debug, Default)]
struct Socket {
    datagram: bool,
    local: Option<u16>,
    listening: bool,
    backlog: VecDeque<SocketId>,
    peer: Option<SocketId>,
    inbox: VecDeque<u8>,
    silent: bool,
    peer_silent: bool,
    error: Option<Errno>,
    reset: bool,
    edges: u32,
}

/// The sockets.
#[derive(Debug, Default)]
pub struct FakeSockets {
    all: BTreeMap<SocketId, Socket>,
    next: u32,
}

impl FakeSockets {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn get(&mut self, id: SocketId) -> Result<&mut Socket, Errno> {
        self.all.get_mut(&id).ok_or(Errno::BADF)
    }

    fn add(&mut self, socket: Socket) -> Result<SocketId, Errno> {
        if self.all.len() >= MOST {
            return Err(Errno::NFILE);
        }
        let id = SocketId(self.next);
        self.next += 1;
        self.all.insert(id, socket);
        Ok(id)
    }

    fn touch(&mut self, id: SocketId) {
        if let Some(socket) = self.all.get_mut(&id) {
            socket.edges = socket.edges.wrapping_add(1);
        }
    }

    fn address(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }
}

impl Sockets for FakeSockets {
    fn open(&mut self, kind: SocketKind) -> Result<SocketId, Errno> {
        self.add(Socket { datagram: kind == SocketKind::Datagram, ..Socket::default() })
    }

    fn close(&mut self, id: SocketId) {
        let Some(gone) = self.all.remove(&id) else { return };
        for peer in gone.peer.into_iter().chain(gone.backlog) {
            if let Some(socket) = self.all.get_mut(&peer) {
                socket.peer_silent = true;
                if gone.reset || !gone.inbox.is_empty() {
                    socket.error = Some(Errno::CONNRESET);
                }
            }
            self.touch(peer);
        }
    }

    fn bind(&mut self, id: SocketId, local: SocketAddrV4) -> Result<(), Errno> {
        if self.all.values().any(|socket| socket.local == Some(local.port())) {
            return Err(Errno::ADDRINUSE);
        }
        self.get(id)?.local = Some(local.port());
        Ok(())
    }

    fn listen(&mut self, id: SocketId, _: u32) -> Result<(), Errno> {
        self.get(id)?.listening = true;
        Ok(())
    }

    fn accept(&mut self, id: SocketId) -> Result<(SocketId, SocketAddrV4), Errno> {
        let socket = self.get(id)?;
        if !socket.listening {
            return Err(Errno::INVAL);
        }
        socket.backlog.pop_front().map(|new| (new, Self::address(1))).ok_or(Errno::AGAIN)
    }

    fn connect(&mut self, id: SocketId, peer: SocketAddrV4) -> Result<(), Errno> {
        if self.get(id)?.peer.is_some() {
            return Err(Errno::ISCONN);
        }
        let listens = |socket: &Socket| socket.listening && socket.local == Some(peer.port());
        match self.all.iter().find(|(_, socket)| listens(socket)).map(|(id, _)| *id) {
            Some(listener) => {
                let other = self.add(Socket { peer: Some(id), ..Socket::default() })?;
                self.get(listener)?.backlog.push_back(other);
                self.get(id)?.peer = Some(other);
                self.touch(listener);
            }
            None => self.get(id)?.error = Some(Errno::CONNREFUSED),
        }
        self.touch(id);
        Err(Errno::INPROGRESS)
    }

    fn send(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        let peer = socket.peer.ok_or(Errno::NOTCONN)?;
        if socket.silent {
            return Err(Errno::PIPE);
        }
        let inbox = &mut self.get(peer).map_err(|_| Errno::PIPE)?.inbox;
        let len = bytes.len().min(BUFFER - inbox.len());
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        inbox.extend(bytes.iter().take(len));
        self.touch(peer);
        Ok(len)
    }

    fn receive(&mut self, id: SocketId, out: &mut [u8]) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        let peer = socket.peer.ok_or(Errno::NOTCONN)?;
        let len = out.len().min(socket.inbox.len());
        if len == 0 && !out.is_empty() {
            return if socket.peer_silent { Ok(0) } else { Err(Errno::AGAIN) };
        }
        out.iter_mut().zip(socket.inbox.drain(..len)).for_each(|(to, byte)| *to = byte);
        self.touch(peer);
        Ok(len)
    }

    fn send_to(&mut self, id: SocketId, _: &[u8], _: SocketAddrV4) -> Result<usize, Errno> {
        let datagram = self.get(id)?.datagram;
        Err(if datagram { Errno::HOSTUNREACH } else { Errno::OPNOTSUPP })
    }

    fn receive_from(&mut self, id: SocketId, _: &mut [u8]) -> Result<(usize, SocketAddrV4), Errno> {
        self.get(id)?;
        Err(Errno::AGAIN)
    }

    fn shutdown(&mut self, id: SocketId, half: Half) -> Result<(), Errno> {
        let peer = self.get(id)?.peer.ok_or(Errno::NOTCONN)?;
        if half != Half::Read {
            self.get(id)?.silent = true;
            if let Ok(socket) = self.get(peer) {
                socket.peer_silent = true;
            }
        }
        self.touch(id);
        self.touch(peer);
        Ok(())
    }

    fn take_error(&mut self, id: SocketId) -> Option<Errno> {
        self.get(id).ok()?.error.take()
    }

    fn set_reset_on_close(&mut self, id: SocketId, reset: bool) {
        if let Ok(socket) = self.get(id) {
            socket.reset = reset;
        }
    }

    fn original_destination(&self, id: SocketId) -> Result<SocketAddrV4, Errno> {
        self.all.get(&id).map(|_| ()).ok_or(Errno::BADF)?;
        Err(Errno::NOENT)
    }

    fn local(&self, id: SocketId) -> Result<SocketAddrV4, Errno> {
        self.all.get(&id).map(|socket| Self::address(socket.local.unwrap_or(0))).ok_or(Errno::BADF)
    }

    fn peer(&self, id: SocketId) -> Result<SocketAddrV4, Errno> {
        let socket = self.all.get(&id).ok_or(Errno::BADF)?;
        socket.peer.map(|_| Self::address(1)).ok_or(Errno::NOTCONN)
    }

    fn readiness(&self, id: SocketId) -> Readiness {
        let Some(socket) = self.all.get(&id) else { return Readiness::default() };
        let mut bits = 0;
        if !socket.backlog.is_empty() || !socket.inbox.is_empty() || socket.peer_silent {
            bits |= Readiness::IN;
        }
        if socket.peer_silent {
            bits |= Readiness::RDHUP;
        }
        if socket.peer_silent && socket.silent {
            bits |= Readiness::HUP;
        }
        if socket.error.is_some() {
            bits |= Readiness::IN | Readiness::OUT | Readiness::ERR | Readiness::HUP | Readiness::RDHUP;
        }
        let full = |peer| self.all.get(&peer).is_some_and(|peer| peer.inbox.len() >= BUFFER);
        if socket.peer.is_some_and(|peer| !full(peer)) {
            bits |= Readiness::OUT;
        }
        if socket.peer.is_none() && !socket.listening && !socket.datagram {
            bits |= Readiness::OUT | Readiness::HUP;
        }
        Readiness { bits, edges: socket.edges }
    }

    fn end_program(&mut self) {
        self.all.clear();
    }
}
