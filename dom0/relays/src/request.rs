//! What stands on standard input: a head of lines, an empty line, the certificates, the consensus, the end.
//!
//! ```text
//! bulkhead-relays 1
//! now 1750000000                                        seconds since 1970
//! authority 27102BC123E7AF1D4741AE047E160C91ADC76B21    none of these: the public network's authorities
//! certificates 19873                                    bytes
//! consensus 2483811                                     bytes
//! ```

use crate::Refusal;
use std::io::{self, BufRead, Read};
use tor_llcrypto::pk::rsa::RsaIdentity;

/// The first line of a request.
pub const GREETING: &str = "bulkhead-relays 1";
/// Longest head in bytes.
pub const MAX_HEAD: u64 = 4096;
/// Authorities of a network at most.
pub const MAX_AUTHORITIES: usize = 32;
/// Longest certificates in bytes, all together.
pub const MAX_CERTIFICATES: u64 = 256 << 10;
/// Longest consensus in bytes.
pub const MAX_CONSENSUS: u64 = 16 << 20;

/// What is to be verified, and against what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The time in seconds since 1970.
    pub now: u64,
    /// Identities of the authorities; empty: those of the public network.
    pub authorities: Vec<RsaIdentity>,
    /// The authorities' certificates, one behind the other.
    pub certificates: String,
    /// The consensus, flavour `microdesc`.
    pub consensus: String,
}

impl Request {
    /// Reads a request to its end.
    ///
    /// # Errors
    /// [`Refusal::Request`]: what is wrong with it.
    pub fn read(mut from: impl BufRead) -> Result<Self, Refusal> {
        let head = Head::read(&mut from.by_ref().take(MAX_HEAD))?;
        let certificates = text(&mut from, head.certificates, "certificates-cut", "certificates-no-text")?;
        let consensus = text(&mut from, head.consensus, "consensus-cut", "consensus-no-text")?;
        match from.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(Refusal::Request("too-long")),
            Err(_) => return Err(Refusal::Request("unreadable")),
        }
        Ok(Self { now: head.now, authorities: head.authorities, certificates, consensus })
    }
}

#[derive(Default)]
struct Head {
    now: u64,
    authorities: Vec<RsaIdentity>,
    certificates: u64,
    consensus: u64,
}

impl Head {
    fn read(from: &mut impl BufRead) -> Result<Self, Refusal> {
        let mut lines = from.lines().map(|line| line.map_err(|e| unreadable(&e)));
        if lines.next().transpose()?.as_deref() != Some(GREETING) {
            return Err(Refusal::Request("greeting"));
        }
        let (mut head, mut has_now) = (Self::default(), false);
        loop {
            let line = lines.next().transpose()?.ok_or(Refusal::Request("head-cut"))?;
            let Some((word, value)) = line.split_once(' ') else {
                return if line.is_empty() && has_now { Ok(head) } else { Err(Refusal::Request("head")) };
            };
            let number = || value.parse().map_err(|_| Refusal::Request("number"));
            match word {
                "now" => (head.now, has_now) = (number()?, true),
                "authority" => head.add(value)?,
                "certificates" => head.certificates = at_most(number()?, MAX_CERTIFICATES)?,
                "consensus" => head.consensus = at_most(number()?, MAX_CONSENSUS)?,
                _ => return Err(Refusal::Request("head")),
            }
        }
    }

    /// Adds an authority; one that is named twice counts once.
    fn add(&mut self, identity: &str) -> Result<(), Refusal> {
        let identity = RsaIdentity::from_hex(identity).ok_or(Refusal::Request("identity"))?;
        if !self.authorities.contains(&identity) {
            self.authorities.push(identity);
        }
        if self.authorities.len() > MAX_AUTHORITIES {
            return Err(Refusal::Request("too-many-authorities"));
        }
        Ok(())
    }
}

fn at_most(length: u64, most: u64) -> Result<u64, Refusal> {
    if length <= most { Ok(length) } else { Err(Refusal::Request("too-long")) }
}

fn unreadable(error: &io::Error) -> Refusal {
    Refusal::Request(if error.kind() == io::ErrorKind::InvalidData { "head" } else { "unreadable" })
}

/// Exactly so many bytes of text.
fn text(
    from: &mut impl Read,
    length: u64,
    cut: &'static str,
    no_text: &'static str,
) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if u64::try_from(bytes.len()) != Ok(length) {
        return Err(Refusal::Request(cut));
    }
    String::from_utf8(bytes).map_err(|_| Refusal::Request(no_text))
}
