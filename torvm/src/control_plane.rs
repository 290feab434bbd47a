//! Messages from dom0, and what dom0 is told. dom0 is trusted; what it sends and cannot be read is counted.

pub mod relay;

use alloc::{boxed::Box, vec::Vec};
use control::codec;
use control::message::{Client, FromDomain, InForce, Name, ToTor};
use control::pieces::{Assembly, Piece};
use control::tor::{GatewayCommand, cut};
use link::{Armed, Doorbell, Kind, Link, Meta, PeerFault};

/// Bytes of the link to dom0 that the program's reports never take: a program that says more than dom0 reads does not
/// keep us from answering pings and telling the counters.
const FOR_ANSWERS: usize = 3 * codec::MAX_LEN;

/// Longest configuration in bytes.
const MAX_CONFIGURATION: u32 = 256 * 1024;

/// What dom0 wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What torvm is to the domain above it.
    Uplink(Client),
    /// Who stands behind a port.
    Client {
        /// Port of the link device.
        port: u8,
        /// Who.
        client: Client,
    },
    /// The client behind this port is gone for good.
    ForgetClient(u8),
    /// What time it is, in microseconds since the Unix epoch.
    Clock(u64),
    /// The gateway program's configuration, whole.
    Configuration {
        /// The text.
        whole: Vec<u8>,
        /// When it counts.
        from: InForce,
    },
    /// Ends the gateway program and starts it again.
    RestartProgram,
    /// For the gateway program.
    Gateway(Box<GatewayCommand>),
    /// Asks for the counters: [`Dom0::tell_counters`].
    GetCounters,
    /// An orderly end.
    Stop,
}

/// The link to dom0.
#[derive(Debug)]
pub struct Dom0<D: Doorbell> {
    link: Link<D>,
    /// A message that is being read or written.
    buffer: Box<[u8; codec::MAX_LEN]>,
    /// The configuration in the making, by its generation.
    configuration: Assembly<u32>,
    malformed: u64,
    untold: u64,
}

impl<D: Doorbell> Dom0<D> {
    /// Says hello on a new link.
    pub fn new(link: Link<D>) -> Self {
        let mut dom0 = Self {
            link,
            buffer: Box::new([0; codec::MAX_LEN]),
            configuration: Assembly::default(),
            malformed: 0,
            untold: 0,
        };
        dom0.tell(&FromDomain::Hello {
            kind: Name::try_from("torvm").unwrap_or_default(),
            version: cut(env!("CARGO_PKG_VERSION")),
        });
        dom0
    }

    /// The next order; what can be answered here is answered.
    ///
    /// # Errors
    /// [`PeerFault`]: the link is dead until there is another.
    pub fn next_order(&mut self) -> Result<Option<Order>, PeerFault> {
        while let Some((meta, len)) = self.link.recv(&mut self.buffer[..])? {
            let bytes = self.buffer.get(..len).unwrap_or_default();
            let message =
                if meta.kind == Kind::Message { codec::decode(bytes) } else { Err(codec::Malformed) };
            match message.map(|message| self.order(message)) {
                Ok(Some(order)) => return Ok(Some(order)),
                Ok(None) => {}
                Err(codec::Malformed) => self.malformed = self.malformed.saturating_add(1),
            }
        }
        Ok(None)
    }

    /// What a message asks for beyond this link; `None` when nothing, or not yet.
    fn order(&mut self, message: ToTor) -> Option<Order> {
        Some(match message {
            ToTor::Uplink(client) => Order::Uplink(client),
            ToTor::Client { port, client } => Order::Client { port, client },
            ToTor::ForgetClient { port } => Order::ForgetClient(port),
            ToTor::Clock { unix_us } => Order::Clock(unix_us),
            ToTor::Configuration { generation, from, total, offset, bytes } => {
                let piece = Piece { of: generation, total, offset, bytes: &bytes };
                let Ok(whole) = self.configuration.add(&piece, MAX_CONFIGURATION) else {
                    self.malformed = self.malformed.saturating_add(1);
                    return None;
                };
                Order::Configuration { whole: whole?, from }
            }
            ToTor::RestartProgram => Order::RestartProgram,
            ToTor::Gateway(command) => Order::Gateway(Box::new(command)),
            ToTor::GetCounters => Order::GetCounters,
            ToTor::Ping { nonce } => {
                self.tell(&FromDomain::Pong { nonce });
                return None;
            }
            ToTor::Stop => Order::Stop,
        })
    }

    /// Whether a report of the program finds room now, beside which our own answers find theirs.
    pub fn has_room_for_report(&mut self) -> bool {
        self.link.has_room(codec::MAX_LEN + FOR_ANSWERS)
    }

    /// Tells dom0; what finds no room is lost, and counted: `false`.
    pub fn tell(&mut self, message: &FromDomain) -> bool {
        let Self { link, buffer, .. } = self;
        let sent = codec::encode(message, &mut buffer[..])
            .is_ok_and(|bytes| link.send(&Meta::MESSAGE, &[bytes]).is_ok());
        if !sent {
            self.untold = self.untold.saturating_add(1);
        }
        sent
    }

    /// Tells dom0 `counters` and this link's own.
    pub fn tell_counters<'c>(&mut self, counters: impl Iterator<Item = (&'c str, u64)>) {
        let own = [("control malformed", self.malformed), ("control untold", self.untold)];
        let mut all = counters.chain(own).peekable();
        while all.peek().is_some() {
            let mut part = heapless::Vec::new();
            while let Some((name, value)) = all.next_if(|_| !part.is_full()) {
                // There is room, see above.
                let _ = part.push((cut(name), value));
            }
            self.tell(&FromDomain::Counters { counters: part, more: all.peek().is_some() });
        }
    }

    /// Ends a burst: shows dom0 what was told, gives back the room of what was read.
    pub fn flush(&mut self) {
        self.link.publish();
        self.link.release();
    }

    /// Asks to be woken at the next message; `true` when one may sleep.
    pub fn arm(&mut self) -> bool {
        self.link.arm() == Armed::Sleep
    }
}

#[cfg(test)]
mod tests;
