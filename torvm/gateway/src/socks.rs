//! SOCKS 4, 4a and 5, with Tor's two commands for names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tor_socksproto::{Buffer, Handshake, NextStep, SocksAddr, SocksAuth, SocksCmd, SocksProxyHandshake};
use tor_socksproto::{SocksHostname, SocksRequest, SocksStatus};

use crate::gateway::{Consent, Gateway, Host, Request};
use crate::inbound::Inbound;
use crate::isolation::Credentials;
use crate::refusal::Refusal;
use crate::streams::Slot;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one connection.
pub async fn serve(gateway: Arc<Gateway>, slot: Slot, mut inbound: Inbound) {
    let Ok(Some(request)) = timeout(PATIENCE, listen(&mut inbound)).await else {
        gateway.counters.bad_requests.count();
        return;
    };
    let credentials = credentials(request.auth());
    match request.command() {
        SocksCmd::CONNECT => connect(&gateway, &slot, inbound, &request).await,
        SocksCmd::RESOLVE => {
            let name = request.addr().to_string();
            let found = gateway.resolve(slot.client(), &name, credentials.as_ref());
            let found = inbound.unless_broken(found).await;
            let address = found.and_then(|found| first_address(&found).ok_or(Refusal::NoSuchHost));
            answer(inbound, &request, address.map(SocksAddr::Ip)).await;
        }
        SocksCmd::RESOLVE_PTR => {
            let name = resolve_ptr(&gateway, &slot, &request, credentials.as_ref());
            let name = inbound.unless_broken(name).await;
            answer(inbound, &request, name.map(SocksAddr::Hostname)).await;
        }
        _ => say(inbound, &request, SocksStatus::COMMAND_NOT_SUPPORTED, None).await,
    }
}

/// What the client wants; nothing if that cannot be understood.
async fn listen(inbound: &mut Inbound) -> Option<SocksRequest> {
    let mut handshake = SocksProxyHandshake::new();
    // Never more than the next field: what follows the request is for the far end.
    let mut buffer = Buffer::new_precise();
    loop {
        match handshake.step(&mut buffer).ok()? {
            NextStep::Send(data) => inbound.write_all(&data).await.ok()?,
            NextStep::Recv(mut recv) => {
                let n = inbound.read(recv.buf()).await.ok()?;
                recv.note_received(n).ok()?;
            }
            NextStep::Finished(finished) => return finished.into_output().ok(),
        }
    }
}

fn credentials(auth: &SocksAuth) -> Option<Credentials> {
    match auth {
        SocksAuth::Socks4(id) if id.is_empty() => None,
        SocksAuth::Socks4(id) => Some(Credentials::Socks4(id.clone())),
        SocksAuth::Username(user, password) => Some(Credentials::Socks5(user.clone(), password.clone())),
        _ => None,
    }
}

async fn connect(gateway: &Gateway, slot: &Slot, mut inbound: Inbound, request: &SocksRequest) {
    let credentials = credentials(request.auth());
    let host = match request.addr() {
        SocksAddr::Ip(address) => Ok(Host::Address(*address)),
        SocksAddr::Hostname(name) => Host::parse(name.as_ref()),
    };
    let stream = match host {
        Ok(host) => {
            let credentials = credentials.as_ref();
            let request = Request { host, port: request.port(), credentials, consent: Consent::Awaited };
            inbound.unless_broken(gateway.open(slot, request)).await
        }
        Err(refusal) => Err(refusal),
    };
    match stream {
        Ok(stream) => {
            let Ok(reply) = request.reply(SocksStatus::SUCCEEDED, None) else { return };
            if inbound.write_all(&reply).await.is_ok() {
                gateway.join(inbound, stream, &[]).await;
            }
        }
        Err(refusal) => say(inbound, request, refusal.socks(), None).await,
    }
}

async fn resolve_ptr(
    gateway: &Gateway,
    slot: &Slot,
    request: &SocksRequest,
    credentials: Option<&Credentials>,
) -> Result<SocksHostname, Refusal> {
    let address = match request.addr() {
        SocksAddr::Ip(address) => *address,
        SocksAddr::Hostname(name) => name.as_ref().parse().map_err(|_| Refusal::NoSuchHost)?,
    };
    let names = gateway.resolve_ptr(slot.client(), address, credentials).await?;
    let name = names.into_iter().next().ok_or(Refusal::NoSuchHost)?;
    SocksHostname::try_from(name).map_err(|_| Refusal::Failed)
}

/// SOCKS has room for one address: an IPv4 one if there is one.
fn first_address(found: &[IpAddr]) -> Option<IpAddr> {
    found.iter().find(|address| address.is_ipv4()).or_else(|| found.first()).copied()
}

async fn answer(inbound: Inbound, request: &SocksRequest, found: Result<SocksAddr, Refusal>) {
    match found {
        Ok(address) => say(inbound, request, SocksStatus::SUCCEEDED, Some(&address)).await,
        Err(refusal) => say(inbound, request, refusal.socks(), None).await,
    }
}

async fn say(mut inbound: Inbound, request: &SocksRequest, status: SocksStatus, address: Option<&SocksAddr>) {
    let Ok(reply) = request.reply(status, address) else { return };
    if inbound.write_all(&reply).await.is_ok() {
        inbound.farewell().await;
    }
}
