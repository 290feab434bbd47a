//! A consensus with relays that nobody runs beside those of the private network, signed by its authorities' keys, and
//! served by its relays.

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha512};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// Seconds for which a consensus is the newest, and for which it counts: the next is looked for after 35 to 57.
const FRESH: u64 = 20;
const VALID: u64 = 60;
const PROTOCOLS: &str = "Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 \
                         Link=3-5 LinkAuth=3 Microdesc=1-3 Padding=2 Relay=2-6";

/// The network, without authorities from now on.
pub(crate) struct Network {
    directory: PathBuf,
    /// Consensus and descriptors of what exists.
    consensus: String,
    descriptors: String,
    /// Relays and exits that were started here.
    running: BTreeMap<PathBuf, Child>,
}

impl Network {
    /// Ends its authorities; relays go on.
    pub(crate) fn take_over(directory: &Path) -> Self {
        let read = |file: &str| std::fs::read_to_string(directory.join(file)).expect(file);
        let network = Self {
            directory: directory.to_owned(),
            consensus: read("relay0/cached-microdesc-consensus"),
            descriptors: read("relay0/cached-microdescs.new"),
            running: BTreeMap::new(),
        };
        network.nodes(&["authority", "relay", "exit"]).iter().for_each(|node| end(node));
        network
    }

    fn nodes(&self, kinds: &[&str]) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.directory).expect("the network");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let of_kind = |name: &String| kinds.iter().any(|kind| name.starts_with(kind));
        let mut nodes: Vec<_> = names.filter(of_kind).map(|name| self.directory.join(name)).collect();
        nodes.sort();
        nodes
    }

    /// A configuration whose first directories are relays.
    pub(crate) fn with_fallbacks(&self, text: &str) -> String {
        let (before, rest) = text.split_once("fallback_caches = [").expect("fallbacks");
        let (_, after) = rest.split_once("\n]").expect("their end");
        let network = std::fs::read(self.directory.join("network.json")).expect("network.json");
        let network: serde_json::Value = serde_json::from_slice(&network).expect("a description");
        let mut text = format!("{before}fallback_caches = [");
        for relay in network["relays"].as_array().expect("relays") {
            if relay["name"].as_str().is_some_and(|name| name.starts_with("relay")) {
                let (rsa, ed25519, at) = (&relay["rsa"], &relay["ed25519"], &relay["or_address"]);
                let _ = write!(
                    text,
                    "\n  {{ rsa_identity = {rsa}, ed_identity = {ed25519}, orports = [{at}] }},"
                );
            }
        }
        format!("{text}\n]{after}")
    }

    /// Has relays and exits serve a consensus from now on with so many invented relays; every round they have others
    /// descriptors.
    pub(crate) fn serve(&mut self, invented: usize, round: u64) {
        let relays: Vec<_> = (0..invented).map(|number| Relay { number, round }).collect();
        let texts: Vec<_> = relays.iter().map(Relay::descriptor).collect();
        let entries = relays.iter().zip(&texts).map(|(relay, text)| relay.entry(text));
        let consensus = self.signed(&self.body(entries.collect()));
        let listed = date(SystemTime::now());
        let descriptors: String = texts.iter().map(|text| format!("@last-listed {listed}\n{text}")).collect();
        for node in self.nodes(&["relay", "exit"]) {
            if let Some(tor) = self.running.remove(&node) {
                stop(tor);
                // One after the other: no guard is missed for long.
                std::thread::sleep(Duration::from_secs(1));
            }
            let _ = std::fs::remove_dir_all(node.join("diff-cache"));
            for old in ["cached-microdescs", "cached-consensus"] {
                let _ = std::fs::remove_file(node.join(old));
            }
            std::fs::write(node.join("cached-microdesc-consensus"), &consensus).expect("written");
            let all = format!("{}{descriptors}", self.descriptors);
            std::fs::write(node.join("cached-microdescs.new"), all).expect("written");
            let mut tor = Command::new("tor");
            tor.args(["--defaults-torrc", "/dev/null", "--quiet", "-f"]).arg(node.join("torrc"));
            self.running.insert(node, tor.stdin(Stdio::null()).spawn().expect("tor runs"));
        }
    }

    /// What is signed, but for the first word of the signatures.
    fn body(&self, mut entries: Vec<String>) -> String {
        let (head, rest) = self.consensus.split_once("\nr ").expect("relays");
        let (relays, rest) = rest.split_once("directory-footer").expect("a footer");
        let (footer, _) = rest.split_once("directory-signature").expect("signatures");
        entries.extend(relays.split("\nr ").map(|entry| format!("r {}\n", entry.trim_end())));
        // In the order of their identities.
        entries.sort_by_cached_key(|entry| {
            let identity = entry.split(' ').nth(2).expect("an identity");
            Base64Unpadded::decode_vec(identity).expect("base64")
        });
        let now = SystemTime::now() - Duration::from_secs(2);
        let times = [("valid-after", 0), ("fresh-until", FRESH), ("valid-until", VALID)];
        let mut text = String::new();
        for line in head.lines() {
            match times.iter().find(|(word, _)| line.starts_with(word)) {
                Some((word, later)) => {
                    let _ = writeln!(text, "{word} {}", date(now + Duration::from_secs(*later)));
                }
                None => {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        format!("{text}{}directory-footer{footer}", entries.concat())
    }

    fn signed(&self, body: &str) -> String {
        let digest = Sha256::digest(format!("{body}directory-signature "));
        let mut text = body.to_owned();
        for authority in self.nodes(&["authority"]) {
            let read = |file: &str| std::fs::read_to_string(authority.join("keys").join(file)).expect(file);
            let key = RsaPrivateKey::from_pkcs1_pem(&read("authority_signing_key")).expect("a key");
            let certificate = read("authority_certificate");
            let words = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
            let public = key.to_public_key().to_pkcs1_der().expect("a key");
            let signature = key.sign(Pkcs1v15Sign::new_unprefixed(), &digest).expect("signed");
            let _ = write!(
                text,
                "directory-signature sha256 {} {}\n{}",
                words.expect("a fingerprint"),
                hex(&Sha1::digest(public.as_bytes())),
                object("SIGNATURE", &signature)
            );
        }
        text
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        std::mem::take(&mut self.running).into_values().for_each(stop);
    }
}

fn stop(mut tor: Child) {
    tor.kill().expect("killed");
    let _ = tor.wait();
}

/// Ends a process of tor that the network started.
fn end(node: &Path) {
    let pid = std::fs::read_to_string(node.join("pid")).expect("a process");
    let status = Command::new("kill").args(["-KILL", pid.trim()]).status();
    assert!(status.expect("kill runs").success());
}

/// A relay that nobody runs. It has no weight, so that no circuit goes by it.
struct Relay {
    number: usize,
    round: u64,
}

impl Relay {
    /// Bytes that look random, always the same.
    fn bytes<const N: usize>(&self, what: &str, round: u64) -> [u8; N] {
        let mut out = [0; N];
        for (index, chunk) in out.chunks_mut(64).enumerate() {
            let digest = Sha512::digest(format!("{what} {index} {} {round}", self.number));
            chunk.copy_from_slice(&digest[..chunk.len()]);
        }
        out
    }

    fn identity(&self) -> [u8; 20] {
        self.bytes("identity", 0)
    }

    /// Its descriptor: 570 bytes in the mean, as in the public network. A third belongs to families, a fifth lets out.
    fn descriptor(&self) -> String {
        let mut modulus: [u8; 128] = self.bytes("onion key", self.round);
        modulus[0] |= 0x80;
        modulus[127] |= 1;
        let key = [&[0x30, 0x81, 0x89, 2, 0x81, 0x81, 0], &modulus[..], &[2, 3, 1, 0, 1]].concat();
        let mut text = format!(
            "onion-key\n{}ntor-onion-key {}\n",
            object("RSA PUBLIC KEY", &key),
            Base64Unpadded::encode_string(&self.bytes::<32>("ntor", self.round))
        );
        if self.number.is_multiple_of(3) {
            let member =
                |n: usize| format!(" ${}", hex(&Self { number: self.number + 3 * n, round: 0 }.identity()));
            let members: String = (0..2 + self.number % 23).map(member).collect();
            let _ = writeln!(text, "family{members}");
        }
        if self.number.is_multiple_of(5) {
            let ports: Vec<_> = (0..2 + self.number % 28).map(|n| (20 + 90 * n).to_string()).collect();
            let _ = writeln!(text, "p accept {}", ports.join(","));
        }
        let ed25519 = Base64Unpadded::encode_string(&self.bytes::<32>("ed25519", 0));
        text + &format!("id ed25519 {ed25519}\n")
    }

    /// Its lines in the consensus.
    fn entry(&self, descriptor: &str) -> String {
        let number = self.number;
        let address = format!("{}.{}.{}.1", 11 + number % 80, number / 250 % 250, number % 250);
        let six = if number.is_multiple_of(2) {
            String::new()
        } else {
            format!("a [2001:db8:{number:x}::1]:9001\n")
        };
        format!(
            "r invented{number} {} 2038-01-01 00:00:00 {address} 9001 0\n{six}m {}\n\
             s Fast HSDir Running Stable V2Dir Valid\nv Tor 0.4.9.11\npr {PROTOCOLS}\nw Bandwidth=0\n",
            Base64Unpadded::encode_string(&self.identity()),
            Base64Unpadded::encode_string(&Sha256::digest(descriptor))
        )
    }
}

fn object(label: &str, bytes: &[u8]) -> String {
    let text = Base64::encode_string(bytes);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', "")
}
