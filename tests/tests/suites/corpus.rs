//! Every frame of a directory of captures through the firewall, from a client and from the network: nothing panics,
//! every frame is accounted for, and nothing leaves that may not. `cargo xtask test --only suites` fetches the
//! captures of tcpdump's own tests for it.

use crate::audit;
use crate::build::{Path, frame};
use crate::suites::capture;
use crate::world::{
    FIREWALL_MAC, NIC, Seen, UPLINK4, World, client_mac, client4, client6, outside, uplink6, ways_out,
};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

/// Files of the directory that the environment names.
fn files() -> Option<Vec<PathBuf>> {
    let directory = std::env::var_os("BULKHEAD_PCAPS")?;
    let mut files: Vec<_> =
        std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng"));
    files.sort();
    Some(files)
}

/// What became of frames.
#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    forwarded: u64,
    answered: u64,
    absorbed: u64,
    drops: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Each frame leaves, is answered, is counted once as dropped, or is one of the few that may vanish.
    fn take(&mut self, bytes: &[u8], seen: &Seen, forward: usize, name: &str) {
        self.frames += 1;
        let dropped: u64 = seen.drops.values().sum();
        for (reason, count) in &seen.drops {
            *self.drops.entry(reason).or_default() += count;
        }
        assert!(dropped <= 1, "{name}: {seen:?}");
        assert_ne!(seen.drops.get("drop_internal"), Some(&1), "{name}: {bytes:02x?}");
        if forward > 0 {
            assert_eq!(dropped, 0, "{name}: forwarded and dropped");
            self.forwarded += 1;
        } else if seen.sent() > 0 {
            // An error about a packet that is dropped and counted, or an answer to one that was for us.
            self.answered += 1;
        } else if dropped == 0 {
            assert!(may_vanish(bytes), "{name}: neither sent nor counted: {bytes:02x?}");
            self.absorbed += 1;
        }
    }

    fn accounted(&self) -> bool {
        let errors: u64 = ["drop_hop_limit", "drop_too_big", "drop_policy", "drop_no_uplink"]
            .iter()
            .filter_map(|name| self.drops.get(name))
            .sum();
        let all = self.forwarded + self.answered + self.absorbed + self.drops.values().sum::<u64>();
        self.frames <= all && all <= self.frames + errors
    }
}

/// ARP, discovery and listener messages end here; a fragment waits for the others.
fn may_vanish(bytes: &[u8]) -> bool {
    let kind = bytes.get(12..14);
    let fragment =
        kind == Some(&[8, 0]) && bytes.get(20..22).is_some_and(|word| word[0] & 0x3F | word[1] != 0);
    let six = kind == Some(&[0x86, 0xDD]);
    let chain = six && bytes.get(20).is_some_and(|next| [0, 44, 58, 60].contains(next));
    kind == Some(&[8, 6]) || fragment || chain
}

/// The record as it is, and as what a client or the network could make of it: addresses that let it get farther.
fn from_client(kind: u32, record: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = vec![record.to_vec()];
    let Some(packet) = capture::ip_of(kind, record) else { return frames };
    frames.push(frame(FIREWALL_MAC, client_mac(0), packet));
    for path in ways_out(0) {
        frames.extend(
            readdressed(packet, path, End::Source).map(|packet| frame(FIREWALL_MAC, client_mac(0), &packet)),
        );
    }
    frames
}

fn from_net(kind: u32, record: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = vec![record.to_vec()];
    let Some(packet) = capture::ip_of(kind, record) else { return frames };
    for path in ways_out(0) {
        let back = outside(path).back();
        frames.extend(
            readdressed(packet, back, End::Destination).map(|packet| frame(FIREWALL_MAC, NIC, &packet)),
        );
    }
    frames
}

/// What the far host might answer: the frame with both ends exchanged, which leaves every checksum as it is.
fn mirrored(sent: &[u8]) -> Option<Vec<u8>> {
    let mut packet = sent[14..].to_vec();
    let (addresses, len, ports, next) = if packet[0] >> 4 == 4 { (12, 4, 20, 9) } else { (8, 16, 40, 6) };
    packet[addresses..addresses + 2 * len].rotate_left(len);
    match packet[next] {
        6 | 17 => packet.get_mut(ports..ports + 4)?.rotate_left(2),
        _ => return None,
    }
    Some(frame(FIREWALL_MAC, NIC, &packet))
}

/// What a router might say of it: an error that quotes all of it, or what fits.
fn quoted(seen: &Seen) -> Vec<Vec<u8>> {
    let about = |sent: &Vec<u8>| {
        let packet = &sent[14..sent.len().min(14 + 1200)];
        let [four, six] = ways_out(0).map(|path| outside(path).back());
        let (path, what) = if packet[0] >> 4 == 4 { (four, (3, 3)) } else { (six, (1, 4)) };
        frame(FIREWALL_MAC, NIC, &path.packet(path.icmp(), &path.message(what, [0; 4], packet)))
    };
    seen.net.iter().map(about).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// The packet with another source or destination, its IPv4 header's checksum made right again.
fn readdressed(packet: &[u8], path: Path, end: End) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let four = packet[0] >> 4 == 4;
    let header = packet.get_mut(..if four { 20 } else { 40 })?;
    let address = if end == End::Source { path.from } else { path.to };
    match (address, end, four) {
        (IpAddr::V4(address), End::Source, true) => header[12..16].copy_from_slice(&address.octets()),
        (IpAddr::V4(address), End::Destination, true) => header[16..20].copy_from_slice(&address.octets()),
        (IpAddr::V6(address), End::Source, false) => header[8..24].copy_from_slice(&address.octets()),
        (IpAddr::V6(address), End::Destination, false) => header[24..40].copy_from_slice(&address.octets()),
        _ => return None,
    }
    if four {
        let sum = pnet_packet::util::checksum(header, 5).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
    }
    Some(packet)
}

#[test]
fn every_frame_of_the_corpus_is_accounted_for() {
    let Some(files) = files() else {
        // Past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "SKIPPED: BULKHEAD_PCAPS names no directory of captures");
        return;
    };
    assert!(!files.is_empty(), "no capture in the directory");
    let (mut out, mut inward, mut records) = (Tally::default(), Tally::default(), 0);
    let mut world = World::new();
    world.careless = true;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for (kind, record) in capture::records(&std::fs::read(file).expect("readable")) {
            records += 1;
            // No link carries more.
            if record.len() > link::MAX_PAYLOAD || record.is_empty() {
                continue;
            }
            for bytes in from_client(kind, &record) {
                let seen = world.frame_from_client(0, &bytes);
                checksums_are_as_they_came(&bytes, &seen, &name);
                out.take(&bytes, &seen, seen.net.len(), &name);
                for bytes in seen.net.iter().filter_map(|sent| mirrored(sent)).chain(quoted(&seen)) {
                    let seen = world.frame_from_net(&bytes);
                    checksums_are_as_they_came(&bytes, &seen, &name);
                    inward.take(&bytes, &seen, seen.client.iter().map(Vec::len).sum(), &name);
                }
            }
            for bytes in from_net(kind, &record) {
                let seen = world.frame_from_net(&bytes);
                assert!(seen.net.is_empty() || seen.drops.len() == 1, "{name}: an answer to the network");
                checksums_are_as_they_came(&bytes, &seen, &name);
                let forwarded = seen.client.iter().map(Vec::len).sum();
                inward.take(&bytes, &seen, forwarded, &name);
            }
        }
        // Time passes, so that fragments do not wait for the next file's.
        let late = world.pass(1).drops;
        assert!(late.keys().all(|reason| *reason == "drop_fragment_timeout"), "{late:?}");
    }
    let _ = writeln!(
        std::io::stderr(),
        "{} captures, {records} records\nfrom a client: {out:#?}\nfrom the network: {inward:#?}",
        files.len()
    );
    assert!(out.accounted() && inward.accounted());
    assert!(out.forwarded > 100 && inward.forwarded > 100, "the corpus hardly gets past the first check");
    addresses_are_those_of_this_world();
}

/// A packet whose checksum was right leaves with a right one.
fn checksums_are_as_they_came(bytes: &[u8], seen: &Seen, name: &str) {
    if !audit::packet(bytes).is_ok_and(|packet| packet.summed && !packet.fragment) {
        return;
    }
    for frame in seen.net.iter().chain(seen.client.iter().flatten()) {
        let packet = audit::packet(frame);
        assert!(packet.as_ref().map_or(true, |packet| packet.summed), "{name}: {frame:02x?}");
    }
}

/// The audit knows the addresses that [`readdressed`] writes.
fn addresses_are_those_of_this_world() {
    let [four, six] = ways_out(0);
    assert_eq!((four.from, six.from), (client4(0).into(), client6(0).into()));
    assert_eq!((outside(four).from, outside(six).from), (UPLINK4.into(), uplink6().into()));
}
