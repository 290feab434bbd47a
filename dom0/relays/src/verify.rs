//! What is believed of a consensus: what arti believes, and nothing that it would not.

use crate::{Refusal, answer::MAX_RELAYS, bootstrap::Bootstrap, refusal::Certificates, request::Request};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tor_checkable::{ExternallySigned, SelfSigned, TimeBound};
use tor_dircommon::config::DirTolerance;
use tor_llcrypto::pk::rsa::RsaIdentity;
use tor_netdoc::doc::{
    authcert::{AuthCert, UncheckedAuthCert},
    netstatus::{MdConsensus, UnvalidatedMdConsensus},
};

/// Certificates looked at, at most: each costs two signatures.
const MAX_CERTIFICATES: usize = 64;

/// A consensus that more than half of the authorities signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// From when on it counts, in seconds since 1970.
    pub valid_after: u64,
    /// Until when it is the newest.
    pub fresh_until: u64,
    /// Until when it counts.
    pub valid_until: u64,
    /// Where the relays are reached: the addresses and ports of those in the consensus. A consensus lists only relays
    /// that run and are valid.
    pub relays: BTreeSet<SocketAddr>,
}

/// Verifies a consensus.
///
/// # Errors
/// The first [`Refusal`]: in the order in which these are asked, whether it can be read, is in its time, names enough
/// authorities as signers, whether their certificates are here and count, whether the signatures are good.
pub fn verify(request: &Request) -> Result<Verified, Refusal> {
    let now = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(request.now));
    let now = now.ok_or(Refusal::Request("number"))?;
    let public = || Bootstrap::public().authorities;
    let authorities = if request.authorities.is_empty() { public() } else { request.authorities.clone() };
    let tolerance = DirTolerance::default();

    let consensus = timely(&request.consensus, &tolerance, now)?.set_n_authorities(authorities.len());
    if !consensus.authorities_are_correct(&authorities.iter().collect::<Vec<_>>()) {
        return Err(Refusal::UnknownAuthorities);
    }
    let (certificates, fates) = certificates(&request.certificates, &authorities, &tolerance, now)?;
    if consensus.key_is_correct(&certificates).is_err() {
        return Err(Refusal::CertificatesMissing(fates));
    }
    let consensus = consensus.check_signature(&certificates).map_err(|_| Refusal::Signatures)?;
    relays(&consensus)
}

/// The consensus, its signatures not looked at, when it is in its time.
fn timely(text: &str, tolerance: &DirTolerance, now: SystemTime) -> Result<UnvalidatedMdConsensus, Refusal> {
    let malformed = |e: tor_netdoc::Error| Refusal::ConsensusMalformed(e.to_string());
    let (_, _, consensus) = MdConsensus::parse(text).map_err(malformed)?;
    let lifetime = consensus.dangerously_peek().peek_lifetime();
    let (after, until) = (lifetime.valid_after(), lifetime.valid_until());
    tolerance.extend_tolerance(consensus).if_valid_at(&now).map_err(|_| {
        if now < after {
            Refusal::ConsensusFuture(seconds(after))
        } else {
            Refusal::ConsensusExpired(seconds(until))
        }
    })
}

/// The certificates of the authorities that are signed by the keys which they name, and in their time.
fn certificates(
    text: &str,
    authorities: &[RsaIdentity],
    tolerance: &DirTolerance,
    now: SystemTime,
) -> Result<(Vec<AuthCert>, Certificates), Refusal> {
    let (mut good, mut fates) = (Vec::new(), Certificates::default());
    let found = AuthCert::parse_multiple(text).map_err(|_| Refusal::CertificatesMalformed)?;
    for certificate in found.take(MAX_CERTIFICATES) {
        let fate = match certificate {
            Err(_) => &mut fates.malformed,
            Ok(certificate) => match believed(certificate, authorities, tolerance, now) {
                Ok(certificate) => {
                    good.push(certificate);
                    &mut fates.good
                }
                Err(Disbelief::Inconsistent) => &mut fates.inconsistent,
                Err(Disbelief::Untimely) => &mut fates.untimely,
                Err(Disbelief::Foreign) => &mut fates.foreign,
            },
        };
        *fate += 1;
    }
    Ok((good, fates))
}

enum Disbelief {
    Inconsistent,
    Untimely,
    Foreign,
}

fn believed(
    certificate: UncheckedAuthCert,
    authorities: &[RsaIdentity],
    tolerance: &DirTolerance,
    now: SystemTime,
) -> Result<AuthCert, Disbelief> {
    let certificate = certificate.check_signature().map_err(|_| Disbelief::Inconsistent)?;
    let certificate = tolerance.extend_tolerance(certificate).if_valid_at(&now);
    let certificate = certificate.map_err(|_| Disbelief::Untimely)?;
    if authorities.contains(certificate.id_fingerprint()) { Ok(certificate) } else { Err(Disbelief::Foreign) }
}

fn relays(consensus: &MdConsensus) -> Result<Verified, Refusal> {
    let addresses = consensus.relays().iter().flat_map(|relay| relay.addrs());
    let relays: BTreeSet<SocketAddr> =
        addresses.filter(|address| address.port() != 0).take(MAX_RELAYS + 1).collect();
    match relays.len() {
        0 => return Err(Refusal::NoRelays),
        1..=MAX_RELAYS => {}
        _ => return Err(Refusal::TooManyRelays),
    }
    let lifetime = consensus.lifetime();
    Ok(Verified {
        valid_after: seconds(lifetime.valid_after()),
        fresh_until: seconds(lifetime.fresh_until()),
        valid_until: seconds(lifetime.valid_until()),
        relays,
    })
}

/// Seconds since 1970; 0 for what was before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
