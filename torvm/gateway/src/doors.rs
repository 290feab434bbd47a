//! The doors that clients come in by: each connection gets a place and a task of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::gateway::Gateway;
use crate::inbound::Inbound;
use crate::streams::Slot;

/// How long to leave a listener alone that has no connection to give (no descriptors, no memory).
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts connections for ever and has each served by `serve`.
pub async fn hear<F, S>(gateway: Arc<Gateway>, listener: TcpListener, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Arc<Gateway>, Slot, Inbound) -> F,
{
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(client) = source(peer) else { continue };
        let inbound = Inbound::new(stream, client);
        let Some(slot) = gateway.streams.admit(client) else {
            gateway.counters.too_many.count();
            continue;
        };
        let id = slot.id();
        let task = tokio::spawn(serve(Arc::clone(&gateway), slot, inbound));
        gateway.streams.run_by(id, task.abort_handle());
    }
}

/// The client's address. There are no clients but those with an IPv4 address, which is also the name of what comes
/// from them over IPv6.
#[must_use]
pub fn source(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip() {
        IpAddr::V4(client) => Some(client),
        IpAddr::V6(_) => None,
    }
}
