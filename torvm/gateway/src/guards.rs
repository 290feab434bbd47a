//! The entry guards, as arti keeps them in its state directory.

use std::net::SocketAddr;
use std::path::Path;

use control::tor::{GUARDS, Guard, Relay};
use serde::Deserialize;

/// The parts of arti's `guards.json` that are of interest here. Of what it does not know arti itself is tolerant.
#[derive(Default, Deserialize)]
struct Saved {
    #[serde(default)]
    default: Set,
    #[serde(default)]
    bridges: Set,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Set {
    guards: Vec<SavedGuard>,
}

#[derive(Deserialize)]
struct SavedGuard {
    id: Ids,
    #[serde(default)]
    orports: Vec<SocketAddr>,
    #[serde(default)]
    confirmed_at: Option<serde_json::Value>,
    #[serde(default)]
    disabled: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Ids {
    ed25519: Option<String>,
    rsa: Option<String>,
}

/// The guards in use: of bridges if there are any, confirmed ones first. None when nothing was saved yet.
#[must_use]
pub fn saved(state_dir: &Path) -> heapless::Vec<Guard, GUARDS> {
    let text = std::fs::read(state_dir.join("state/guards.json")).unwrap_or_default();
    parse(&text)
}

fn parse(text: &[u8]) -> heapless::Vec<Guard, GUARDS> {
    let saved: Saved = serde_json::from_slice(text).unwrap_or_default();
    let set = if saved.bridges.guards.is_empty() { saved.default } else { saved.bridges };
    let mut guards: Vec<Guard> = set.guards.iter().filter(|g| g.disabled.is_none()).map(guard).collect();
    guards.sort_by_key(|guard| !guard.confirmed);
    guards.into_iter().take(GUARDS).collect()
}

fn guard(saved: &SavedGuard) -> Guard {
    let relay = Relay {
        ed25519: saved.id.ed25519.as_deref().and_then(from_base64),
        rsa: saved.id.rsa.as_deref().and_then(from_hex),
        address: saved.orports.first().map(|address| (address.ip(), address.port())),
    };
    Guard { relay, confirmed: saved.confirmed_at.is_some() }
}

fn from_hex(text: &str) -> Option<[u8; 20]> {
    let identity = tor_llcrypto::pk::rsa::RsaIdentity::from_hex(text)?;
    identity.as_bytes().try_into().ok()
}

fn from_base64(text: &str) -> Option<[u8; 32]> {
    let identity: tor_llcrypto::pk::ed25519::Ed25519Identity =
        serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()?;
    identity.as_bytes().try_into().ok()
}
