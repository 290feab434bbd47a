//! Networks of our own: authorities with keys, certificates and consensuses, as right or wrong as a test likes.

use base64ct::{Base64Unpadded, Encoding};
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// When the consensuses here begin to count.
pub(crate) const VALID_AFTER: u64 = 1_750_000_000;
/// How long they are the newest; they count three times as long.
pub(crate) const INTERVAL: u64 = 3600;

/// An authority.
pub(crate) struct Authority {
    identity: RsaPrivateKey,
    signing: RsaPrivateKey,
}

/// Five authorities; generating keys takes a while, so all tests of a program share them.
pub(crate) fn authorities() -> &'static [Authority] {
    static AUTHORITIES: OnceLock<Vec<Authority>> = OnceLock::new();
    AUTHORITIES.get_or_init(|| (0..5).map(|_| Authority::new()).collect())
}

impl Authority {
    fn new() -> Self {
        let key = || RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        Self { identity: key(), signing: key() }
    }

    /// Its identity in hexadecimal.
    pub(crate) fn id(&self) -> String {
        hex(&fingerprint(&self.identity))
    }

    /// Its certificate, in time for these consensuses.
    pub(crate) fn certificate(&self) -> String {
        self.certificate_of(VALID_AFTER - 86_400 * 30, VALID_AFTER + 86_400 * 30)
    }

    /// Its certificate for a time.
    pub(crate) fn certificate_of(&self, published: u64, expires: u64) -> String {
        let crosscert = sign(&self.signing, &fingerprint(&self.identity));
        let mut text = format!(
            "dir-key-certificate-version 3\nfingerprint {}\ndir-key-published {}\ndir-key-expires {}\n\
             dir-identity-key\n{}dir-signing-key\n{}dir-key-crosscert\n{}dir-key-certification\n",
            self.id(),
            date(published),
            date(expires),
            public(&self.identity),
            public(&self.signing),
            object("ID SIGNATURE", &crosscert),
        );
        let signature = sign(&self.identity, &Sha1::digest(&text));
        text += &object("SIGNATURE", &signature);
        text
    }

    fn signature(&self, signed: &str) -> String {
        let signature = sign(&self.signing, &Sha256::digest(signed));
        let (id, signing) = (self.id(), hex(&fingerprint(&self.signing)));
        format!("directory-signature sha256 {id} {signing}\n{}", object("SIGNATURE", &signature))
    }
}

/// The certificates of these, one behind the other.
pub(crate) fn certificates(of: &[Authority]) -> String {
    of.iter().map(Authority::certificate).collect()
}

/// A consensus with these relays, signed by these.
pub(crate) fn consensus(signers: &[Authority], relays: &[(Ipv4Addr, u16)]) -> String {
    signed(signers, &body(relays))
}

/// The text that is signed: all but the last word of it.
pub(crate) fn body(relays: &[(Ipv4Addr, u16)]) -> String {
    let protocols =
        "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4 HSRend=2 Link=4-5 Microdesc=2 Relay=2-4";
    let mut text = format!(
        "network-status-version 3 microdesc\nvote-status consensus\nconsensus-method 35\nvalid-after {}\n\
         fresh-until {}\nvalid-until {}\nvoting-delay 300 300\nclient-versions \nserver-versions \n\
         known-flags Exit Fast Guard HSDir Running Stable V2Dir Valid\nrecommended-client-protocols {protocols}\n\
         recommended-relay-protocols {protocols}\nrequired-client-protocols {protocols}\n\
         required-relay-protocols {protocols}\n",
        date(VALID_AFTER),
        date(VALID_AFTER + INTERVAL),
        date(VALID_AFTER + 3 * INTERVAL),
    );
    for authority in authorities() {
        writeln!(text, "dir-source auth {} 192.0.2.1 192.0.2.1 80 443", authority.id()).unwrap();
        writeln!(text, "contact nobody\nvote-digest {}", authority.id()).unwrap();
    }
    let mut entries: Vec<([u8; 32], &(Ipv4Addr, u16))> = relays
        .iter()
        .enumerate()
        .map(|(number, at)| (Sha256::digest(number.to_le_bytes()).into(), at))
        .collect();
    // In the order of their identities.
    entries.sort_unstable();
    for (digest, (address, port)) in entries {
        let identity = Base64Unpadded::encode_string(&digest[..20]);
        let descriptor = Base64Unpadded::encode_string(&digest);
        writeln!(
            text,
            "r relay {identity} 2038-01-01 00:00:00 {address} {port} 0\nm {descriptor}\n\
             s Fast Guard HSDir Running Stable V2Dir Valid\nv Tor 0.4.9.11\npr {protocols}\nw Bandwidth=5000"
        )
        .unwrap();
    }
    text += "directory-footer\nbandwidth-weights Wbd=0 Wbe=0 Wbg=4223 Wbm=10000 Wdb=10000\n";
    text
}

/// A text signed by these.
pub(crate) fn signed(signers: &[Authority], body: &str) -> String {
    let to_sign = format!("{body}directory-signature ");
    signers.iter().fold(body.to_owned(), |text, signer| text + &signer.signature(&to_sign))
}

fn sign(key: &RsaPrivateKey, digest: &[u8]) -> Vec<u8> {
    key.sign(Pkcs1v15Sign::new_unprefixed(), digest).unwrap()
}

fn fingerprint(key: &RsaPrivateKey) -> [u8; 20] {
    Sha1::digest(RsaPublicKey::from(key).to_pkcs1_der().unwrap().as_bytes()).into()
}

fn public(key: &RsaPrivateKey) -> String {
    object("RSA PUBLIC KEY", RsaPublicKey::from(key).to_pkcs1_der().unwrap().as_bytes())
}

fn object(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64ct::Base64::encode_string(bytes).as_bytes().chunks(64) {
        text += std::str::from_utf8(line).unwrap();
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn date(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', "")
}
