//! Messages from dom0 and netvm, and what dom0 is told.

pub(crate) mod rules;

use crate::{
    flows::PORTS,
    policy::assembly::{Piece, Set},
    ports::Ports,
    state::Core,
    verdict::DropReason,
};
use abi::link_device::Role;
use alloc::boxed::Box;
use control::{
    codec,
    message::{FromDomain, NetToFirewall, ToFirewall},
};
use first_hop::Client;
use link::{Doorbell, Meta};

/// Counters in one message.
const BATCH: usize = 32;

/// What a message asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing more.
    Nothing,
    /// Router advertisements to these ports, as a bitmap.
    Advertise(u32),
    /// An orderly end.
    Stop,
}

/// Carries out a message that came on a port.
///
/// # Errors
/// [`DropReason::Message`] for what is malformed or comes from who has nothing to say.
pub fn take<D: Doorbell>(
    core: &mut Core,
    ports: &mut Ports<D>,
    (port, role): (u8, Role),
    bytes: &[u8],
) -> Result<Asked, DropReason> {
    match role {
        Role::Dom0 => from_dom0(core, ports, port, codec::decode(bytes).map_err(|_| DropReason::Message)?),
        Role::Upstream => {
            let NetToFirewall::Uplink(uplink) = codec::decode(bytes).map_err(|_| DropReason::Message)?;
            let before = core.offer();
            core.set_uplink(&uplink);
            log::info!(
                "uplink: {}, mtu {}, v4 {:?}, v6 {:?}",
                if uplink.link_up { "up" } else { "down" },
                uplink.mtu,
                core.v4.address,
                core.v6.address
            );
            Ok(if core.offer() == before { Asked::Nothing } else { Asked::Advertise(u32::MAX) })
        }
        Role::Downstream => Err(DropReason::Message),
    }
}

fn from_dom0<D: Doorbell>(
    core: &mut Core,
    ports: &mut Ports<D>,
    dom0: u8,
    message: ToFirewall,
) -> Result<Asked, DropReason> {
    match message {
        ToFirewall::Client { port, client } => return set_client(core, port, client),
        ToFirewall::ForgetClient { port } => forget(core, port),
        ToFirewall::Rules { port, generation, total, offset, bytes } => {
            let piece = Piece { of: Set { port, generation }, total, offset, bytes: &bytes };
            rules::add(core, ports, dom0, &piece)?;
        }
        ToFirewall::GetRuleCounters { port } => rules::send_counters(core, ports, dom0, port),
        ToFirewall::GetCounters => send_counters(core, ports, dom0),
        ToFirewall::Ping { nonce } => tell(ports, dom0, &FromDomain::Pong { nonce }),
        ToFirewall::Stop => return Ok(Asked::Stop),
    }
    Ok(Asked::Nothing)
}

/// Takes a client on. The flows and rules of one that looked otherwise before are not the new one's.
fn set_client(core: &mut Core, port: u8, described: control::message::Client) -> Result<Asked, DropReason> {
    let client = Client::new(described).filter(|client| is_free(core, port, client));
    let Some(client) = client else {
        log::warn!("client on port {port}: description refused");
        return Err(DropReason::Message);
    };
    // Port 0 is dom0's; flows call the uplink by that number.
    if usize::from(port) >= PORTS || port == crate::flows::UPLINK {
        return Err(DropReason::Message);
    }
    let same = core.client(port).is_some_and(|old| {
        (&old.name, old.mac, old.v4, old.v6_prefix) == (&client.name, client.mac, client.v4, client.v6_prefix)
    });
    if !same {
        forget(core, port);
    }
    log::info!("client {} on port {port}: {}", client.name, client.v4);
    core.fragments.open_client(port);
    core.common.clients.set(port, Some(Box::new(client)));
    core.common.policy.meet(core.common.clients.by_port());
    Ok(Asked::Advertise(1 << port))
}

/// Whether no other client has the addresses.
fn is_free(core: &Core, port: u8, client: &Client) -> bool {
    let mut others = core.common.clients.iter().filter(|(other, _)| *other != port);
    others.all(|(_, other)| {
        !other.covers_v4(client.v4)
            && !client.covers_v4(other.v4)
            && (client.v6_prefix.is_none() || client.v6_prefix != other.v6_prefix)
    })
}

/// Forgets a client and everything it had; what is on a port that nobody is on, the uplink's too, is not touched.
fn forget(core: &mut Core, port: u8) {
    if core.client(port).is_none() {
        return;
    }
    core.common.clients.set(port, None);
    core.v4.flows.remove_link(port, |flow| core.common.policy.closed(flow));
    core.v6.flows.remove_link(port, |flow| core.common.policy.closed(flow));
    core.fragments.close(port);
    core.common.policy.forget(port);
    core.common.policy.meet(core.common.clients.by_port());
    core.common.names.forget(port);
}

/// Tells dom0 something; if its link is full it will ask again.
pub fn tell<D: Doorbell>(ports: &mut Ports<D>, dom0: u8, message: &FromDomain) {
    // A full link to dom0 means that dom0 does not read: there is nobody to tell.
    let _ = try_tell(ports, dom0, message);
}

/// Tells dom0 something if its link has room.
fn try_tell<D: Doorbell>(ports: &mut Ports<D>, dom0: u8, message: &FromDomain) -> Result<(), DropReason> {
    let mut buffer = [0; codec::MAX_LEN];
    let bytes = codec::encode(message, &mut buffer).map_err(|_| DropReason::Internal)?;
    ports.send(dom0, &Meta::MESSAGE, &[bytes])
}

/// Sends every counter.
fn send_counters<D: Doorbell>(core: &Core, ports: &mut Ports<D>, dom0: u8) {
    let links = ports.iter().map(|(_, port)| port.link.counters()).fold([0; 4], |sum, link| {
        let [received, sent, rings, suppressed] = sum;
        [received + link.received, sent + link.sent, rings + link.rings, suppressed + link.rings_suppressed]
    });
    let names = ["received", "sent", "rings", "rings_suppressed"];
    let tables = [("flows_v4", core.v4.flows.len()), ("flows_v6", core.v6.flows.len())];
    let mut counters = names
        .into_iter()
        .zip(links)
        .chain(tables.map(|(name, count)| (name, u64::from(count))))
        .chain(core.drops.iter())
        .chain(core.common.names.counters())
        .peekable();
    while counters.peek().is_some() {
        let batch =
            counters.by_ref().take(BATCH).map(|(name, count)| (name.try_into().unwrap_or_default(), count));
        let counters_now = batch.collect();
        tell(ports, dom0, &FromDomain::Counters { counters: counters_now, more: counters.peek().is_some() });
    }
}
