//! TCP to anywhere: the client believes that it has reached whom it asked for.

use std::sync::Arc;

use crate::gateway::{Consent, Gateway, Host, Request};
use crate::inbound::Inbound;
use crate::streams::Slot;

/// Serves one connection. A client that cannot be served sees a reset.
pub async fn serve(gateway: Arc<Gateway>, slot: Slot, inbound: Inbound) {
    let Ok(destination) = inbound.original_destination() else {
        gateway.counters.bad_requests.count();
        return;
    };
    let request = Request {
        host: Host::Address(destination.ip()),
        port: destination.port(),
        credentials: None,
        consent: Consent::Presumed,
    };
    if let Ok(stream) = inbound.unless_broken(gateway.open(&slot, request)).await {
        gateway.join(inbound, stream, &[]).await;
    }
}
