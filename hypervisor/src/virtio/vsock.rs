//! Socket device (virtio 1.2, section 5.10): streams that the host opens to ports of the guest.
//!
//! Here: the table of connections and the two queues. `connection` is one stream, `packet` the header. A
//! guest that asks for a connection is refused and counted. Everything is bounded: connections, bytes that
//! wait per connection, and refusals that wait; a guest that does not take our packets is not read either.

pub mod connection;
pub mod packet;

use super::chain::Chain;
use super::config_space::ConfigSpace;
use super::counters::{Counter, Registry};
use super::device::{Device, Interrupt, Kind};
use super::queue::{QueueFault, VirtQueue};
use super::worker::{Backend, Next, OWN, Poller, Ready, Stage, Worker, notifiers};
use crate::link_end::VsockConnector;
use connection::Connection;
use packet::{HOST, Header, LEN, Op, TYPE_STREAM};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

const TO_GUEST: usize = 0;
const FROM_GUEST: usize = 1;
const QUEUES: usize = 3;
const QUEUE_SIZE: u16 = 128;
/// Streams at most at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// Refusals that wait for room in the guest at most.
const MAX_REPLIES: usize = 64;
/// Packets at most in each direction between two looks at the mailbox.
const BUDGET: usize = 64;
/// Bytes of data at most in one packet (Linux sends up to 64 KiB).
const MAX_DATA: usize = 64 * 1024;
/// `VIRTIO_VSOCK_F_STREAM`.
const F_STREAM: u64 = 1;
/// Smallest and largest host port used for connections.
const PORTS: std::ops::Range<u32> = 0x4000_0000..0x7FFF_FFFF;

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotConnect {
    /// The guest has not booted that far, or has no driver.
    #[error("the guest's vsock driver is not running")]
    NoDriver,
    /// All streams are taken.
    #[error("{MAX_CONNECTIONS} streams are open already")]
    TooMany,
    /// The descriptor is no socket, or the device is gone.
    #[error("the stream cannot be used")]
    Unusable,
}

/// Asks the device for a stream to `port`.
pub struct Connect {
    port: u32,
    stream: OwnedFd,
    answer: SyncSender<Result<(), CannotConnect>>,
}

/// The control thread's handle.
#[derive(Clone)]
pub struct Connector(Arc<Worker<Connect>>);

impl Connector {
    /// Begins a stream to a port of the guest. Success means that the guest is being asked; a refusal
    /// shows as the end of the stream.
    ///
    /// # Errors
    /// See [`CannotConnect`].
    pub fn connect(&self, port: u32, stream: OwnedFd) -> Result<(), CannotConnect> {
        let (answer, receiver) = sync_channel(1);
        self.0.command(Connect { port, stream, answer });
        receiver.recv().unwrap_or(Err(CannotConnect::Unusable))
    }
}

impl VsockConnector for Connector {
    fn connect(&mut self, port: u32, stream: OwnedFd) -> Result<(), String> {
        Self::connect(self, port, stream).map_err(|error| error.to_string())
    }
}

/// Makes the device, its thread and the handle that opens streams.
///
/// # Errors
/// No descriptors or no thread to be had.
pub fn device(name: &str, cid: u32, registry: &Registry) -> io::Result<(Device, Connector)> {
    let notify = notifiers(QUEUES)?;
    let cid = u64::from(cid);
    let worker = Worker::spawn(name, &notify, registry, Vsock::new(name, cid, registry))?;
    let device = Device {
        kind: Kind::Vsock,
        features: F_STREAM,
        queue_sizes: vec![QUEUE_SIZE; QUEUES],
        config: Arc::new(ConfigSpace::new(cid.to_le_bytes().to_vec())),
        notify,
        control: worker.clone(),
    };
    Ok((device, Connector(worker)))
}

struct Counters {
    connections: Counter,
    refused: Counter,
    malformed: Counter,
    violations: Counter,
    bytes_from_guest: Counter,
    bytes_to_guest: Counter,
}

struct Vsock {
    cid: u64,
    connections: BTreeMap<u32, Connection>,
    next_port: u32,
    /// Host port of the connection that spoke last; the next one speaks first.
    last_spoken: u32,
    replies: VecDeque<Header>,
    chain: Chain,
    buffer: Vec<u8>,
    counters: Counters,
}

impl Vsock {
    fn new(name: &str, cid: u64, registry: &Registry) -> Self {
        let counter = |what| registry.counter(name, what);
        Self {
            cid,
            connections: BTreeMap::new(),
            next_port: PORTS.start,
            last_spoken: 0,
            replies: VecDeque::with_capacity(MAX_REPLIES),
            chain: Chain::with_room(),
            buffer: vec![0; MAX_DATA],
            counters: Counters {
                connections: counter("connections"),
                refused: counter("refused_from_guest"),
                malformed: counter("malformed"),
                violations: counter("violations"),
                bytes_from_guest: counter("bytes_from_guest"),
                bytes_to_guest: counter("bytes_to_guest"),
            },
        }
    }

    fn connect(&mut self, port: u32, stream: OwnedFd) -> Result<(), CannotConnect> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(CannotConnect::TooMany);
        }
        rustix::io::ioctl_fionbio(&stream, true).map_err(|_| CannotConnect::Unusable)?;
        rustix::net::sockopt::socket_type(&stream).map_err(|_| CannotConnect::Unusable)?;
        while self.connections.contains_key(&self.next_port) {
            self.advance_port();
        }
        let host_port = self.next_port;
        self.advance_port();
        self.connections.insert(host_port, Connection::ask(stream, self.cid, port, host_port));
        self.counters.connections.bump();
        Ok(())
    }

    fn advance_port(&mut self) {
        self.next_port = if self.next_port + 1 < PORTS.end { self.next_port + 1 } else { PORTS.start };
    }

    /// Takes packets of the guest while replies have room.
    fn take_packets(&mut self, queue: &mut VirtQueue) -> Result<(), QueueFault> {
        queue.mute()?;
        for _ in 0..BUDGET {
            if self.replies.len() >= MAX_REPLIES || !queue.pop(&mut self.chain)? {
                break;
            }
            let mut bytes = [0; LEN];
            self.chain.read(queue.memory(), 0, &mut bytes)?;
            let data = self.chain.readable().len() - LEN;
            match Header::decode(&bytes) {
                Some(header) if header.len as usize <= data.min(MAX_DATA) => {
                    let len = header.len as usize;
                    self.chain.read(queue.memory(), LEN, &mut self.buffer[..len])?;
                    self.judge(&header, len);
                }
                _ => self.counters.malformed.bump(),
            }
            queue.push(self.chain.head(), 0)?;
        }
        Ok(())
    }

    /// Gives one packet to its connection, or refuses it. Its data is in the buffer.
    fn judge(&mut self, header: &Header, len: usize) {
        if header.from_cid != self.cid || header.to_cid != HOST {
            return self.counters.malformed.bump();
        }
        let connection = self.connections.get_mut(&header.to_port);
        let connection = connection.filter(|c| c.guest_port() == header.from_port && !c.is_over());
        match connection {
            Some(connection) if header.kind == TYPE_STREAM => {
                self.counters.bytes_from_guest.add(len as u64);
                if connection.take(header, &self.buffer[..len]).is_err() {
                    self.counters.violations.bump();
                    connection.abort();
                }
            }
            _ if header.op == Op::Reset => {}
            _ => {
                if header.op == Op::Request {
                    self.counters.refused.bump();
                }
                self.replies.push_back(header.refusal());
            }
        }
    }

    fn wants_to_speak(&self) -> bool {
        !self.replies.is_empty() || self.connections.values().any(Connection::wants_to_speak)
    }

    /// Fills the guest's buffers with what is due. True when packets are left for want of a buffer.
    fn give_packets(&mut self, queue: &mut VirtQueue) -> Result<bool, QueueFault> {
        for _ in 0..BUDGET {
            if !self.wants_to_speak() {
                return Ok(false);
            }
            if !queue.pop(&mut self.chain)? {
                return Ok(true);
            }
            let room = self.chain.writable().len().checked_sub(LEN).ok_or(QueueFault::TooShort)?;
            let Some((header, len)) = self.next_packet(room.min(MAX_DATA)) else {
                queue.unpop(1);
                continue;
            };
            self.chain.write(queue.memory(), 0, &header.encode())?;
            self.chain.write(queue.memory(), LEN, &self.buffer[..len])?;
            queue.push(self.chain.head(), LEN + len)?;
            self.counters.bytes_to_guest.add(len as u64);
        }
        Ok(self.wants_to_speak())
    }

    fn next_packet(&mut self, room: usize) -> Option<(Header, usize)> {
        if let Some(reply) = self.replies.pop_front() {
            return Some((reply, 0));
        }
        let buffer = &mut self.buffer[..room];
        let after = self.last_spoken + 1;
        let ports: [_; 2] = [after..u32::MAX, 0..after];
        for range in ports {
            for (port, connection) in self.connections.range_mut(range) {
                if connection.wants_to_speak()
                    && let Some(packet) = connection.next(buffer)
                {
                    self.last_spoken = *port;
                    return Some(packet);
                }
            }
        }
        None
    }

    /// Forgets what is over and brings the poller up to date.
    fn tidy(&mut self, poller: &Poller) {
        self.connections.retain(|port, connection| {
            let wanted = if connection.is_over() { None } else { connection.interest() };
            let token = OWN + u64::from(*port);
            let result = match (connection.polled, wanted) {
                (None, Some(events)) => poller.add(connection.stream(), events, token),
                (Some(old), Some(new)) if old != new => poller.change(connection.stream(), new, token),
                (Some(_), None) => {
                    poller.remove(connection.stream());
                    Ok(())
                }
                _ => Ok(()),
            };
            connection.polled = wanted;
            if result.is_err() {
                connection.abort();
            }
            !connection.is_over()
        });
    }
}

impl Backend for Vsock {
    type Command = Connect;

    fn stop(&mut self, poller: &Poller) {
        for connection in self.connections.values().filter(|c| c.polled.is_some()) {
            poller.remove(connection.stream());
        }
        self.connections.clear();
        self.replies.clear();
    }

    fn command(&mut self, command: Connect, stage: &mut Stage) {
        let result = match stage.session {
            Some(_) => self.connect(command.port, command.stream),
            None => Err(CannotConnect::NoDriver),
        };
        // An error means that nobody waits for the answer any more.
        let _ = command.answer.send(result);
    }

    fn run(&mut self, stage: &mut Stage, ready: &[Ready]) -> Result<Next, QueueFault> {
        for one in ready {
            let port = one.token.checked_sub(OWN).and_then(|port| u32::try_from(port).ok());
            if let Some(connection) = port.and_then(|port| self.connections.get_mut(&port)) {
                connection.ready(one.events);
            }
        }
        let Some(session) = stage.session.as_mut() else { return Ok(Next::Wait) };
        let [Some(to_guest), Some(from_guest), _] = session.queues.as_mut_slice() else {
            return Ok(Next::Wait);
        };
        self.take_packets(from_guest)?;
        let starved = self.give_packets(to_guest)?;
        signal(session.interrupt.as_ref(), to_guest, TO_GUEST)?;
        signal(session.interrupt.as_ref(), from_guest, FROM_GUEST)?;
        let mut next = Next::Wait;
        if starved && to_guest.listen()? {
            next = Next::Again;
        }
        if self.replies.len() < MAX_REPLIES && from_guest.listen()? {
            next = Next::Again;
        }
        self.tidy(&stage.poller);
        Ok(next)
    }
}

fn signal(interrupt: &dyn Interrupt, queue: &mut VirtQueue, index: usize) -> Result<(), QueueFault> {
    if queue.wants_interrupt()? {
        interrupt.queue(u16::try_from(index).unwrap_or(u16::MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
