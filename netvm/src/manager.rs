//! The control link to dom0: orders in, reports out. dom0 is trusted; a message that cannot be read is counted.

use crate::{
    counters::{Counter, Counters},
    uplink::send,
};
use control::{
    codec,
    message::{FromDomain, Name, Nic, ToNet},
};
use heapless::{String, Vec};
use link::{Doorbell, Kind, Link, PeerFault};

/// Messages in one step.
const BURST: usize = 8;

/// What dom0 wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Get the addresses this way.
    Configure(Nic),
    /// End.
    Stop,
}

/// Says hello, as the first message on a new control link.
pub(crate) fn greet<B: Doorbell>(link: &mut Link<B>) {
    let kind = Name::try_from("netvm").unwrap_or_default();
    let version = Name::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default();
    // A fresh link is empty.
    send(link, &FromDomain::Hello { kind, version });
}

/// Reports that a peer broke the protocol of the link on `port`.
pub(crate) fn report_fault<B: Doorbell>(link: &mut Link<B>, port: u8, fault: PeerFault) {
    let what = String::try_from(fault.as_str()).unwrap_or_default();
    send(link, &FromDomain::PeerFault { port, what });
}

/// Reads and answers what dom0 has sent; returns how many messages there were, and the orders among them.
///
/// # Errors
/// The fault that ended the link.
pub(crate) fn serve<B: Doorbell>(
    link: &mut Link<B>,
    totals: &[(&'static str, u64)],
    counters: &mut Counters,
) -> Result<(usize, Vec<Order, BURST>), PeerFault> {
    let mut buffer = [0; codec::MAX_LEN];
    let (mut seen, mut orders) = (0, Vec::new());
    while seen < BURST {
        let Some((meta, len)) = link.recv(&mut buffer)? else { break };
        seen += 1;
        let bytes = buffer.get(..len).unwrap_or(&[]);
        let message = if meta.kind == Kind::Message { codec::decode(bytes) } else { Err(codec::Malformed) };
        // The list holds as many orders as messages are read.
        let _ = match message {
            Ok(ToNet::Nic(nic)) => orders.push(Order::Configure(nic)),
            Ok(ToNet::Stop) => orders.push(Order::Stop),
            Ok(ToNet::Ping { nonce }) => {
                send(link, &FromDomain::Pong { nonce });
                Ok(())
            }
            Ok(ToNet::GetCounters) => {
                report_counters(link, counters, totals);
                Ok(())
            }
            Err(codec::Malformed) => {
                counters.count(Counter::BadFrame);
                Ok(())
            }
        };
    }
    link.release();
    Ok((seen, orders))
}

/// Sends all counters, in as many messages as they need.
fn report_counters<B: Doorbell>(link: &mut Link<B>, counters: &Counters, totals: &[(&'static str, u64)]) {
    let mut all = counters.iter().chain(totals.iter().copied()).peekable();
    while all.peek().is_some() {
        let mut part = Vec::new();
        while let Some((name, value)) = all.next_if(|_| !part.is_full()) {
            // There is room, see above; no name is longer than the message allows.
            let _ = part.push((String::try_from(name).unwrap_or_default(), value));
        }
        send(link, &FromDomain::Counters { counters: part, more: all.peek().is_some() });
    }
}
