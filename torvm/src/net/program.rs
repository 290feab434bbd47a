//! The sockets, as the program uses them.

use super::{
    Net,
    counters::Count,
    datagrams::Datagrams,
    links::UPLINK,
    listener::Listener,
    state::Core,
    stream::{Owner, Stream},
    table::{Key, Object, Slot},
    tcp::Tcp,
    to_client,
};
use crate::{
    errno::Errno,
    frames::Frames,
    sockets::{Half, Readiness, SocketId, SocketKind, Sockets},
};
use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use first_hop::address::is_bad_v4;

/// The port to which a datagram socket is bound that hears clients' questions.
pub const DNS: u16 = 5300;
/// Ports that are tried for a new connection before it fails.
const TRIES: usize = 32;

impl Core {
    /// Where the program's socket of this name is.
    fn slot(&self, id: SocketId) -> Result<Slot, Errno> {
        let slot = self.table.slot(id).ok_or(Errno::BADF)?;
        match self.table.get(slot) {
            Some(Object::Stream(stream)) if stream.owner != Owner::Program => Err(Errno::BADF),
            Some(_) => Ok(slot),
            None => Err(Errno::BADF),
        }
    }

    fn object(&self, id: SocketId) -> Result<&Object, Errno> {
        self.table.get(self.slot(id)?).ok_or(Errno::BADF)
    }

    fn object_mut(&mut self, id: SocketId) -> Result<&mut Object, Errno> {
        let slot = self.slot(id)?;
        self.table.get_mut(slot).ok_or(Errno::BADF)
    }

    /// The program's connection; anything else is not connected.
    fn stream(&mut self, id: SocketId) -> Result<&mut Stream, Errno> {
        match self.object_mut(id)? {
            Object::Stream(stream) => Ok(stream),
            _ => Err(Errno::NOTCONN),
        }
    }

    /// Whether a stream is bound to this port already.
    fn is_bound(&self, port: u16) -> bool {
        let fresh = |slot| matches!(self.table.get(slot), Some(Object::Fresh(bound)) if *bound == port);
        self.listener(port).is_some() || self.table.slots().any(fresh)
    }

    /// A port that is not in use.
    fn choose_port(&mut self) -> Result<u16, Errno> {
        for _ in 0..TRIES {
            let port = self.random.port();
            if !self.is_bound(port) {
                return Ok(port);
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// Begins a connection in the place of a fresh socket.
    fn begin(&mut self, slot: Slot, bound: u16, peer: SocketAddrV4) -> Result<(), Errno> {
        let uplink = self.uplink.as_ref().ok_or(Errno::NETUNREACH)?;
        let (address, mtu) = (uplink.address, uplink.mtu);
        if is_bad_v4(*peer.ip()) || *peer.ip() == address || peer.port() == 0 {
            return Err(Errno::NETUNREACH);
        }
        let local = self.free_end(bound, address, peer)?;
        let ends = (SocketAddr::V4(local), SocketAddr::V4(peer));
        let setup = self.relay_setup(ends.0, mtu).ok_or(Errno::NOBUFS)?;
        let tcp = Tcp::connect(&setup, ends.1).ok_or(Errno::NOBUFS)?;
        let stream = Stream::new(UPLINK, ends, Owner::Program, tcp, self.now_us);
        let key = stream.key();
        if let Some(place) = self.table.get_mut(slot) {
            *place = Object::Stream(Box::new(stream));
        }
        self.table.connect(key, slot);
        self.use_buffers(slot);
        self.counters.add(Count::Connected);
        self.list(slot);
        Err(Errno::INPROGRESS)
    }

    /// Our end of a new connection to `peer`.
    fn free_end(&mut self, bound: u16, address: Ipv4Addr, peer: SocketAddrV4) -> Result<SocketAddrV4, Errno> {
        for _ in 0..TRIES {
            let port = if bound == 0 { self.random.port() } else { bound };
            let local = SocketAddrV4::new(address, port);
            if self.table.find(&Key::new(UPLINK, local.into(), peer.into())).is_none() {
                return Ok(local);
            }
        }
        Err(Errno::ADDRNOTAVAIL)
    }

    /// Resets whoever came to a listener that is no more.
    fn close_listener(&mut self, slot: Slot) {
        self.listeners.retain(|(_, listener)| *listener != slot);
        self.table.remove(slot);
        let of = |stream: &Stream| matches!(stream.owner, Owner::Opening(l) | Owner::Waiting(l) if l == slot);
        for connection in 0..super::table::SOCKETS {
            let Some(stream) = self.table.stream_mut(connection).filter(|stream| of(stream)) else {
                continue;
            };
            stream.reset_on_close = true;
            self.orphan(connection);
        }
    }
}

impl<F: Frames> Sockets for Net<F> {
    fn open(&mut self, kind: SocketKind) -> Result<SocketId, Errno> {
        let object = match kind {
            SocketKind::Stream => Object::Fresh(0),
            SocketKind::Datagram => Object::Datagrams(Box::new(Datagrams::new())),
        };
        let slot = self.core.table.add(object).ok_or(Errno::NFILE)?;
        Ok(self.core.table.id(slot))
    }

    fn close(&mut self, id: SocketId) {
        let Ok(slot) = self.core.slot(id) else { return };
        match self.core.table.get(slot) {
            Some(Object::Stream(_)) => self.core.orphan(slot),
            Some(Object::Listener(_)) => self.core.close_listener(slot),
            _ => {
                if self.core.resolver == Some(slot) {
                    self.core.resolver = None;
                }
                self.core.table.remove(slot);
            }
        }
    }

    fn bind(&mut self, id: SocketId, local: SocketAddrV4) -> Result<(), Errno> {
        let slot = self.core.slot(id)?;
        let stream = match self.core.object(id)? {
            Object::Fresh(0) => true,
            Object::Datagrams(datagrams) if datagrams.port == 0 => false,
            _ => return Err(Errno::INVAL),
        };
        let port = if local.port() == 0 { self.core.choose_port()? } else { local.port() };
        if stream {
            if self.core.is_bound(port) {
                return Err(Errno::ADDRINUSE);
            }
        } else if port == DNS {
            if self.core.resolver.is_some() {
                return Err(Errno::ADDRINUSE);
            }
            self.core.resolver = Some(slot);
        }
        match self.core.object_mut(id)? {
            Object::Fresh(bound) => *bound = port,
            Object::Datagrams(datagrams) => datagrams.port = port,
            _ => {}
        }
        Ok(())
    }

    fn listen(&mut self, id: SocketId, backlog: u32) -> Result<(), Errno> {
        let slot = self.core.slot(id)?;
        let port = match self.core.object_mut(id)? {
            Object::Fresh(0) => self.core.choose_port()?,
            Object::Fresh(port) => *port,
            Object::Listener(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            Object::Stream(_) => return Err(Errno::INVAL),
            Object::Datagrams(_) => return Err(Errno::OPNOTSUPP),
        };
        *self.core.object_mut(id)? = Object::Listener(Box::new(Listener::new(port, backlog)));
        log::debug!("the program hears port {port}");
        self.core.listeners.push((port, slot));
        Ok(())
    }

    fn accept(&mut self, id: SocketId) -> Result<(SocketId, SocketAddrV4), Errno> {
        let listener = match self.core.object_mut(id)? {
            Object::Listener(listener) => listener,
            Object::Datagrams(_) => return Err(Errno::OPNOTSUPP),
            _ => return Err(Errno::INVAL),
        };
        let slot = listener.waiting.pop_front().ok_or(Errno::AGAIN)?;
        let stream = self.core.table.stream_mut(slot).ok_or(Errno::CONNABORTED)?;
        stream.owner = Owner::Program;
        let peer = stream.names.1;
        Ok((self.core.table.id(slot), peer))
    }

    fn connect(&mut self, id: SocketId, peer: SocketAddrV4) -> Result<(), Errno> {
        let slot = self.core.slot(id)?;
        match self.core.object_mut(id)? {
            Object::Fresh(bound) => {
                let bound = *bound;
                self.core.begin(slot, bound, peer)
            }
            Object::Stream(stream) if stream.is_connecting() => Err(Errno::ALREADY),
            Object::Stream(stream) => Err(stream.error.take().unwrap_or(Errno::ISCONN)),
            Object::Listener(_) => Err(Errno::ISCONN),
            Object::Datagrams(_) => Err(Errno::NETUNREACH),
        }
    }

    fn send(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        let (slot, now_us) = (self.core.slot(id)?, self.core.now_us);
        let sent = match self.core.object_mut(id)? {
            Object::Stream(stream) => stream.send(bytes, now_us)?,
            Object::Datagrams(_) => return Err(Errno::DESTADDRREQ),
            _ => return Err(Errno::PIPE),
        };
        self.core.list(slot);
        Ok(sent)
    }

    fn receive(&mut self, id: SocketId, out: &mut [u8]) -> Result<usize, Errno> {
        let slot = self.core.slot(id)?;
        if let Object::Datagrams(datagrams) = self.core.object_mut(id)? {
            return datagrams.take(out).map(|(len, _)| len).ok_or(Errno::AGAIN);
        }
        let received = self.core.stream(id)?.receive(out)?;
        if received > 0 {
            // There may be room to announce, or nothing left to keep.
            self.core.after(slot, super::Reset::No);
            self.core.list(slot);
        }
        Ok(received)
    }

    fn send_to(&mut self, id: SocketId, bytes: &[u8], peer: SocketAddrV4) -> Result<usize, Errno> {
        match self.core.object(id)? {
            Object::Datagrams(_) if self.core.resolver == Some(self.core.slot(id)?) => {}
            Object::Datagrams(_) => return Err(Errno::HOSTUNREACH),
            _ => return Err(Errno::ISCONN),
        }
        let sent = to_client::answer(&mut self.core, &mut self.links, bytes, peer)?;
        // The next poll shows it to the client.
        self.core.pending = true;
        Ok(sent)
    }

    fn receive_from(&mut self, id: SocketId, out: &mut [u8]) -> Result<(usize, SocketAddrV4), Errno> {
        match self.core.object_mut(id)? {
            Object::Datagrams(datagrams) => datagrams.take(out).ok_or(Errno::AGAIN),
            _ => Err(Errno::NOTCONN),
        }
    }

    fn shutdown(&mut self, id: SocketId, half: Half) -> Result<(), Errno> {
        let (slot, now_us) = (self.core.slot(id)?, self.core.now_us);
        let stream = self.core.stream(id)?;
        if stream.is_connecting() || stream.is_over() {
            return Err(Errno::NOTCONN);
        }
        if half != Half::Write {
            stream.shut_read();
        }
        if half != Half::Read {
            stream.shut_write(now_us);
        }
        self.core.after(slot, super::Reset::No);
        self.core.list(slot);
        Ok(())
    }

    fn take_error(&mut self, id: SocketId) -> Option<Errno> {
        self.core.stream(id).ok()?.error.take()
    }

    fn set_reset_on_close(&mut self, id: SocketId, reset: bool) {
        if let Ok(stream) = self.core.stream(id) {
            stream.reset_on_close = reset;
        }
    }

    fn original_destination(&self, id: SocketId) -> Result<SocketAddr, Errno> {
        match self.core.object(id)? {
            Object::Stream(stream) if stream.port != UPLINK => Ok(stream.local),
            _ => Err(Errno::NOENT),
        }
    }

    fn local(&self, id: SocketId) -> Result<SocketAddrV4, Errno> {
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        Ok(match self.core.object(id)? {
            Object::Fresh(port) => any(*port),
            Object::Listener(listener) => any(listener.port),
            Object::Datagrams(datagrams) => any(datagrams.port),
            Object::Stream(stream) => stream.names.0,
        })
    }

    fn peer(&self, id: SocketId) -> Result<SocketAddrV4, Errno> {
        match self.core.object(id)? {
            Object::Stream(stream) if !stream.is_connecting() && !stream.is_over() => Ok(stream.names.1),
            _ => Err(Errno::NOTCONN),
        }
    }

    fn readiness(&self, id: SocketId) -> Readiness {
        let arrived = |some: bool| if some { Readiness::IN } else { 0 };
        match self.core.object(id) {
            Ok(Object::Stream(stream)) => stream.readiness(),
            Ok(Object::Listener(listener)) => {
                Readiness { bits: arrived(!listener.waiting.is_empty()), edges: listener.edges }
            }
            Ok(Object::Datagrams(datagrams)) => {
                Readiness { bits: Readiness::OUT | arrived(datagrams.has_some()), edges: datagrams.edges }
            }
            // As Linux has it for a stream that was never connected.
            Ok(Object::Fresh(_)) => Readiness { bits: Readiness::OUT | Readiness::HUP, edges: 0 },
            Err(_) => Readiness::default(),
        }
    }

    fn end_program(&mut self) {
        self.core.listeners.clear();
        self.core.resolver = None;
        for slot in 0..super::table::SOCKETS {
            match self.core.table.get_mut(slot) {
                Some(Object::Stream(stream)) => {
                    stream.reset_on_close = true;
                    self.core.orphan(slot);
                }
                Some(_) => {
                    self.core.table.remove(slot);
                }
                None => {}
            }
        }
    }
}
