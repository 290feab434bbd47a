//! A client and what it uses.

use super::datagrams::Questions;
use control::message;
use first_hop::Client;

/// Connections that one client may have at once.
pub(super) const CONNECTIONS_OF_CLIENT: usize = 128;

/// A client.
#[derive(Debug)]
pub(super) struct Guest {
    /// Who it is.
    pub(super) client: Client,
    /// Its living connections.
    pub(super) connections: usize,
    /// Its unanswered questions.
    pub(super) questions: Questions,
}

impl Guest {
    /// Takes dom0's description over; `None` when it contradicts itself.
    pub(super) fn new(described: &message::Client) -> Option<Self> {
        let client = Client::new(described.clone())?;
        Some(Self { client, connections: 0, questions: Questions::new() })
    }

    /// Whether another client's description has an address of this one.
    pub(super) fn shares_with(&self, other: &message::Client) -> bool {
        let prefix = self.client.v6_prefix;
        self.client.v4 == other.v4 || prefix.is_some() && prefix == other.v6_prefix
    }

    /// Whether another description means the same client.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let name = |guest: &Self| {
            (guest.client.mac, guest.client.v4, guest.client.v4_gateway, guest.client.v6_prefix)
        };
        name(self) == name(other) && self.client.name == other.client.name
    }
}
