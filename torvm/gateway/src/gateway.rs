//! The one place that asks arti for anything.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arti_client::{DangerouslyIntoTorAddr, DataStream, IntoTorAddr, StreamPrefs, TorAddr, TorClient};
use control::tor::{FirstByte, GatewayReport};
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;
use tor_hscrypto::pk::HsId;
use tor_rtcompat::PreferredRuntime;

use crate::config::Config;
use crate::copy;
use crate::counters::{Counter, Counters};
use crate::inbound::{Inbound, broken};
use crate::isolation::{Credentials, Separation, StreamKey, Wish};
use crate::log::Log;
use crate::onions::{self, Onions};
use crate::questions::Questions;
use crate::refusal::Refusal;
use crate::report::{Few, Reports};
use crate::streams::{Slot, Streams};

/// How long a client waits for its stream, the way into the Tor network included.
const OPENING: Duration = Duration::from_secs(120);
/// How long the far end may be silent once the client has no more to say. A Tor stream has no half that could end alone: the
/// one message for an end (RELAY_END; tor-spec, "Closing streams") closes it both ways, and that is what arti sends when
/// `DataWriter` is shut down or dropped. Passed on at once, as C tor does, a client's end would cut off the answer; never
/// passed on, a far end that waits for it would wait forever.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// First bytes a second that are reported.
const FIRST_BYTES: u32 = 4;
/// Longest host name in bytes.
const HOST: usize = 255;

/// Everything that a request needs.
pub struct Gateway {
    tor: Arc<TorClient<PreferredRuntime>>,
    separation: Mutex<Separation>,
    onions: Mutex<Onions>,
    first_bytes: Mutex<Few>,
    /// Open streams.
    pub streams: Arc<Streams>,
    /// Unanswered questions.
    pub questions: Arc<Questions>,
    /// What is counted.
    pub counters: Counters,
    /// The way to dom0.
    pub reports: Reports,
    /// The log.
    pub log: Arc<Log>,
}

/// Where a stream is to go, or what a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name: lower case, without a last dot.
    Name(String),
    /// The name of an onion service (or of a part of it): lower case, without a last dot.
    Onion(String),
}

impl Host {
    /// As a client wrote it.
    ///
    /// # Errors
    /// For what is neither an address nor a name, and for `.onion` names that cannot exist.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let fits = !name.is_empty() && name.len() <= HOST;
        if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(Refusal::NoSuchHost);
        }
        if !onions::is_onion(&name) {
            return Ok(Self::Name(name));
        }
        let service = name.rsplit('.').take(2).collect::<Vec<_>>();
        let service = service.into_iter().rev().collect::<Vec<_>>().join(".");
        HsId::from_str(&service).map_err(|_| Refusal::OnionBadAddress)?;
        Ok(Self::Onion(name))
    }
}

/// Whether data may leave before the far end has consented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The client is told whether the far end consented, so that must be known first.
    Awaited,
    /// The client believes to be connected anyway: its first data go with the request.
    Presumed,
}

/// A request for a stream.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub host: Host,
    /// To which port.
    pub port: u16,
    /// What the client calls itself.
    pub credentials: Option<&'a Credentials>,
    /// What the client is told.
    pub consent: Consent,
}

/// A stream, and since when the client has waited for it.
pub struct Stream {
    stream: DataStream,
    asked: Instant,
    opened: Instant,
}

impl Gateway {
    /// With a client of the Tor network that need not be ready.
    #[must_use]
    pub fn new(
        tor: Arc<TorClient<PreferredRuntime>>,
        config: &Config,
        log: Arc<Log>,
        reports: Reports,
    ) -> Self {
        let limits = &config.limits;
        Self {
            tor,
            separation: Mutex::new(Separation::new(config.isolation.clone())),
            onions: Mutex::default(),
            first_bytes: Mutex::new(Few::new(FIRST_BYTES)),
            streams: Streams::new(limits.streams, limits.streams_per_client),
            questions: Questions::new(limits.questions, limits.questions_per_client),
            counters: Counters::default(),
            reports,
            log,
        }
    }

    /// Clients' identities and the rules of isolation.
    pub fn separation(&self) -> MutexGuard<'_, Separation> {
        self.separation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream for the client of `slot`.
    ///
    /// # Errors
    /// Why not.
    pub async fn open(&self, slot: &Slot, request: Request<'_>) -> Result<Stream, Refusal> {
        let asked = Instant::now();
        let opened = timeout(OPENING, self.try_open(slot, request)).await.unwrap_or(Err(Refusal::TimedOut));
        match &opened {
            Ok(_) => self.counters.opened.count(),
            Err(_) => self.counters.refused.count(),
        }
        opened.map(|stream| Stream { stream, asked, opened: Instant::now() })
    }

    async fn try_open(&self, slot: &Slot, request: Request<'_>) -> Result<DataStream, Refusal> {
        let host = self.behind(slot.client(), request.host)?;
        let target = target(&host, request.port)?;
        let (key, mut prefs) = self.keyed(slot.client(), &host, Some(request.port), request.credentials);
        if request.consent == Consent::Presumed {
            prefs.optimistic();
        }
        if matches!(host, Host::Address(IpAddr::V6(_))) {
            // The exit has to be one that goes there.
            prefs.ipv6_only();
        }
        let stream = self.tor.connect_with_prefs(target, &prefs).await.map_err(|e| Refusal::from_tor(&e))?;
        slot.carried(key, stream.client_stream_ctrl());
        Ok(stream)
    }

    /// Copies both ways until the end.
    pub async fn join(&self, mut inbound: Inbound, stream: Stream, early: &[u8]) {
        let Stream { stream, asked, opened } = stream;
        let (mut from_tor, mut to_tor) = stream.split();
        let client = inbound.client;
        let mut first = Some(());
        let heard = Counter::default();
        let result = {
            let (mut from_client, mut to_client) = inbound.split();
            let counters = &self.counters;
            let outward = async {
                let count = |n: usize| counters.from_clients.add(n as u64);
                let gone = async |client: &ReadHalf<'_>| broken(client.as_ref()).await;
                if !early.is_empty() {
                    // Far less than a stream takes before anything of it has arrived.
                    copy::write(&mut to_tor, early).await?;
                    count(early.len());
                }
                copy::from_client(&mut from_client, &mut to_tor, gone, count).await?;
                tokio::select! {
                    () = Self::quiet(&heard) => tokio::io::AsyncWriteExt::shutdown(&mut to_tor).await,
                    () = gone(&from_client) => Err(std::io::ErrorKind::ConnectionReset.into()),
                }
            };
            let inward = copy::to_client(&mut from_tor, &mut to_client, |n| {
                counters.to_clients.add(n as u64);
                heard.count();
                if first.take().is_some() {
                    self.first_byte(client, asked, opened);
                }
            });
            tokio::select! {
                biased;
                ended = inward => ended,
                failed = outward => failed,
            }
        };
        match result {
            Ok(()) => inbound.farewell().await,
            Err(_) => self.counters.broken.count(),
        }
    }

    /// Waits until the far end has said nothing for a while.
    async fn quiet(heard: &Counter) {
        let mut before = u64::MAX;
        while before != heard.get() {
            before = heard.get();
            tokio::time::sleep(LAST_WORDS).await;
        }
    }

    /// Addresses of a name, asked for by `client`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn resolve(
        &self,
        client: Ipv4Addr,
        name: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<IpAddr>, Refusal> {
        let host = Host::parse(name)?;
        match &host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Onion(name) => Ok(vec![self.onions().address(client, name).into()]),
            Host::Name(name) => {
                let (_, prefs) = self.keyed(client, &host, None, credentials);
                let answer = timeout(OPENING, self.tor.resolve_with_prefs(name, &prefs)).await;
                answer.map_err(|_| Refusal::TimedOut)?.map_err(|e| Refusal::from_tor(&e))
            }
        }
    }

    /// Names of an address, asked for by `client`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn resolve_ptr(
        &self,
        client: Ipv4Addr,
        address: IpAddr,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, Refusal> {
        if onions::is_mapped(address) {
            return match self.behind(client, Host::Address(address)) {
                Ok(Host::Onion(name)) => Ok(vec![name]),
                _ => Err(Refusal::NoSuchHost),
            };
        }
        let (_, prefs) = self.keyed(client, &Host::Address(address), None, credentials);
        let answer = timeout(OPENING, self.tor.resolve_ptr_with_prefs(address, &prefs)).await;
        answer.map_err(|_| Refusal::TimedOut)?.map_err(|e| Refusal::from_tor(&e))
    }

    /// What stands behind a mapped address; anything else as it is.
    fn behind(&self, client: Ipv4Addr, host: Host) -> Result<Host, Refusal> {
        match host {
            Host::Address(IpAddr::V4(address)) if onions::is_mapped(address.into()) => {
                let name = self.onions().name(client, address).ok_or(Refusal::NotAllowed)?;
                Ok(Host::Onion(name.to_string()))
            }
            host => Ok(host),
        }
    }

    fn keyed(
        &self,
        client: Ipv4Addr,
        host: &Host,
        port: Option<u16>,
        credentials: Option<&Credentials>,
    ) -> (StreamKey, StreamPrefs) {
        let address;
        let host = match host {
            Host::Name(name) | Host::Onion(name) => name,
            Host::Address(ip) => {
                address = ip.to_string();
                &address
            }
        };
        let key = self.separation().key(client, &Wish { host, port, credentials });
        let mut prefs = StreamPrefs::new();
        prefs.set_isolation(key.clone());
        (key, prefs)
    }

    fn onions(&self) -> MutexGuard<'_, Onions> {
        self.onions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_byte(&self, client: Ipv4Addr, asked: Instant, opened: Instant) {
        let now = Instant::now();
        let passed = self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner).pass(now);
        let Some(suppressed) = passed else { return };
        let millis = |until: Instant| u32::try_from((until - asked).as_millis()).unwrap_or(u32::MAX);
        let (opened_ms, first_byte_ms) = (millis(opened), millis(now));
        self.reports.offer(GatewayReport::FirstByte(FirstByte {
            client,
            opened_ms,
            first_byte_ms,
            suppressed,
        }));
    }
}

/// For arti. What the client gave as an address came to it by a question through Tor, or it was never a name.
fn target(host: &Host, port: u16) -> Result<TorAddr, Refusal> {
    let target = match host {
        Host::Address(address) => (*address, port).into_tor_addr_dangerously(),
        Host::Name(name) | Host::Onion(name) => (name.as_str(), port).into_tor_addr(),
    };
    target.map_err(|_| Refusal::NotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn hosts_are_told_apart() {
        assert_eq!(Host::parse("192.0.2.1"), Ok(Host::Address(Ipv4Addr::new(192, 0, 2, 1).into())));
        assert_eq!(Host::parse("Example.TEST."), Ok(Host::Name("example.test".into())));
        assert_eq!(Host::parse(&ONION.to_ascii_uppercase()), Ok(Host::Onion(ONION.into())));
        let part = format!("www.{ONION}");
        assert_eq!(Host::parse(&part), Ok(Host::Onion(part)));
    }

    #[test]
    fn what_cannot_be_a_host_never_reaches_arti() {
        for text in ["", ".", "a b", "a\0b", "ex\u{e4}mple", "a/b", "[::1]", &"x".repeat(256)] {
            assert_eq!(Host::parse(text), Err(Refusal::NoSuchHost), "{text:?}");
        }
        for text in ["onion", "x.onion", "expyuzz4wqqyqhjn.onion", &ONION.replace("2gz", "3gz")] {
            assert_eq!(Host::parse(text), Err(Refusal::OnionBadAddress), "{text:?}");
        }
    }
}
