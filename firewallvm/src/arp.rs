//! Fixed answers: our address is ours, and the client's is known; it can teach us nothing.

use crate::{
    address::OUR_MAC,
    client::Client,
    verdict::{Answer, DropReason, Verdict},
};
use packet::arp::{Arp, Operation};

/// Judges what a client asks or tells.
#[must_use]
pub fn judge(client: &Client, arp: &Arp) -> Verdict {
    // Its own address, or none while it probes whether the address is free (RFC 5227).
    if arp.sender_mac != client.mac || (arp.sender != client.v4 && !arp.sender.is_unspecified()) {
        return DropReason::Arp.into();
    }
    match arp.operation {
        Operation::Request if arp.target == client.v4_gateway => {
            Verdict::Answer(Answer::Arp(reply(client, arp)))
        }
        // Announcements and probes of its own address, and questions about others, of whom there are none.
        Operation::Request | Operation::Reply => Verdict::Absorbed,
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
