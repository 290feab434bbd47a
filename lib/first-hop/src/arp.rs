//! Fixed answers: our address is ours, and the client's is known; it can teach us nothing.

use crate::{Refused, address::OUR_MAC, client::Client};
use packet::arp::{Arp, Operation};

/// Our answer to what a client asks or tells; `None`: there is nothing to say to it.
///
/// # Errors
/// [`Refused`]: it speaks for somebody else.
pub fn answer(client: &Client, arp: &Arp) -> Result<Option<Arp>, Refused> {
    // Its own address, or none while it probes whether the address is free (RFC 5227).
    if arp.sender_mac != client.mac || (arp.sender != client.v4 && !arp.sender.is_unspecified()) {
        return Err(Refused);
    }
    match arp.operation {
        Operation::Request if arp.target == client.v4_gateway => Ok(Some(reply(client, arp))),
        // Announcements and probes of its own address, and questions about others, of whom there are none.
        Operation::Request | Operation::Reply => Ok(None),
    }
}

/// Our answer.
fn reply(client: &Client, request: &Arp) -> Arp {
    Arp {
        operation: Operation::Reply,
        sender_mac: OUR_MAC,
        sender: client.v4_gateway,
        target_mac: client.mac,
        target: request.sender,
    }
}
