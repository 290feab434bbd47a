//! The rules in force. Until there is a rule language: a client may open connections outward, nothing may come in.
//!
//! This is the only place that is asked whether a new flow may be; known flows are judged when the rules change.

use crate::client::Client;

/// A connection that a client wants to open.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow<'a, A> {
    /// Who.
    pub client: &'a Client,
    /// To whom; for a virtual name server its virtual address.
    pub destination: A,
    /// Transport protocol.
    pub protocol: u8,
    /// Destination port, 0 for an echo.
    pub port: u16,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Accept,
    /// It may not; the client is told so.
    Reject,
}

/// The rules.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What is said about every new connection.
    pub outward: Decision,
}

impl Default for Policy {
    fn default() -> Self {
        Self { outward: Decision::Accept }
    }
}

impl Policy {
    /// Judges a new connection.
    #[must_use]
    pub const fn judge<A>(&self, _flow: &NewFlow<'_, A>) -> Decision {
        self.outward
    }
}
