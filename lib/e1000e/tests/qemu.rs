//! The driver against QEMU's own 82574: a probe unikernel (`tests/probes`, `probe=nic`) drives the card, this
//! test is the other end of the cable. Skipped aloud where there is no QEMU.

use pnet_packet::Packet;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::{UdpPacket, ipv4_checksum};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROBE: [u8; 6] = [0x52, 0x54, 0x00, 0xAB, 0xCD, 0xEF];
const PEER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const PATIENCE: Duration = Duration::from_secs(30);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the probe with the profile of real images.
fn probe() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "-q", "-p", "probes", "--bin", "probe", "--features", "image"];
    let built = Command::new(cargo)
        .args(arguments)
        .args(["--profile", "image"])
        .current_dir(workspace())
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the probe does not build");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("image/probe")
}

const QEMU: &str = "qemu-system-x86_64";

fn has_qemu() -> bool {
    let found = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("SKIPPED: {QEMU} is not installed, the driver is not tested against its 82574");
    }
    found
}

/// A machine without IOMMU that boots the probe beside one card.
fn qemu(words: &str, netdev: &str) -> Command {
    let mut command = Command::new(QEMU);
    command
        .args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "64M", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-append", words, "-kernel"])
        .arg(probe())
        .args(["-device", "isa-debug-exit,iobase=0x604,iosize=4", "-netdev", netdev])
        .args(["-device", "virtio-rng-pci", "-device", "e1000e,netdev=n0,mac=52:54:00:ab:cd:ef,romfile="])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// A running probe and the far end of its cable.
struct Bench {
    qemu: Child,
    cable: UnixDatagram,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// Boots the probe; `None` without QEMU.
    fn boot() -> Option<Self> {
        if !has_qemu() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (here, there) = (directory.path().join("peer"), directory.path().join("card"));
        let cable = UnixDatagram::bind(&here).expect("a socket");
        cable.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let netdev = format!(
            "dgram,id=n0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            there.display(),
            here.display()
        );
        let mut qemu = qemu("probe=nic", &netdev).spawn().expect("QEMU starts");
        let console = BufReader::new(qemu.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            console.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        let mut bench = Self { qemu, cable, _directory: directory };
        let greeting = bench.receive();
        assert_eq!((&greeting[..6], &greeting[6..12]), (&[0xFF; 6][..], &PROBE[..]));
        assert_eq!(&greeting[12..15], [0x88, 0xB5, b'H']);
        bench.cable.connect(there).expect("the card's socket");
        Some(bench)
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 65_536];
        let len = self.cable.recv(&mut frame).expect("a frame in time");
        frame.truncate(len);
        frame
    }

    fn send(&self, frame: &[u8]) {
        self.cable.send(frame).expect("the cable takes frames");
    }

    fn order(&self, what: u8, argument: u16) {
        let [a, b] = argument.to_be_bytes();
        self.send(&command(PROBE, what, &[a, b], 60));
    }

    /// Frames received and sent by the driver, received by the card, wake-ups.
    fn counts(&mut self) -> [u64; 4] {
        self.order(b'S', 0);
        let answer = self.receive();
        assert_eq!(answer[14], b'S');
        let number = |at: usize| u64::from_be_bytes(answer[16 + 8 * at..24 + 8 * at].try_into().unwrap());
        [number(0), number(1), number(2), number(3)]
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn command(to: [u8; 6], what: u8, data: &[u8], len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &PEER, &[0x88, 0xB5, what], data].concat();
    frame.resize(len, 0x3C);
    frame
}

/// The detector that the lab relies on does fire: without an IOMMU the card writes where it is told.
#[test]
fn without_an_iommu_a_card_overwrites_any_memory() {
    if !has_qemu() {
        return;
    }
    let output = qemu("probe=dma-escape", "user,id=n0").output().expect("QEMU runs");
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains("CANARY OVERWRITTEN"), "{console}");
}

#[test]
fn qemus_card_echoes_segments_checks_filters_and_counts() {
    let Some(mut bench) = Bench::boot() else { return };
    echo(&mut bench);
    checksum(&mut bench);
    segment(&mut bench);
    filter(&mut bench);
    counts(&mut bench);
    bench.order(b'Q', 0);
    // isa-debug-exit: (0 << 1) | 1.
    let status = bench.qemu.wait().expect("QEMU ends");
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

/// More frames than either ring has descriptors, of all sizes, in bursts.
fn echo(bench: &mut Bench) {
    let mut number = 0_u32;
    for burst in (0..60).map(|round| 1 + round % 40) {
        let frames: Vec<_> = (0..burst)
            .map(|index| {
                number += 1;
                let len = 60 + (number as usize * 37 + index) % 1455;
                command(PROBE, b'E', &number.to_be_bytes(), len)
            })
            .collect();
        frames.iter().for_each(|frame| bench.send(frame));
        for frame in &frames {
            let answer = bench.receive();
            assert_eq!((&answer[..6], &answer[6..12]), (&PEER[..], &PROBE[..]));
            assert_eq!(answer[12..], frame[12..], "bytes came back changed");
        }
    }
    assert!(number > 1024, "{number} frames do not wrap both rings");
}

fn checksum(bench: &mut Bench) {
    bench.order(b'C', 0);
    let frame = bench.receive();
    let ip = Ipv4Packet::new(&frame[14..]).unwrap();
    assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip));
    let udp = UdpPacket::new(&ip.payload()[..40]).unwrap();
    assert_eq!(udp.get_checksum(), ipv4_checksum(&udp, &ip.get_source(), &ip.get_destination()));
}

/// QEMU before 8.1 cuts a TCP packet into IP fragments where a card makes TCP segments; both are accepted,
/// and said. What counts here is that all bytes arrive and all IP headers are right; the fake tests the rest.
fn segment(bench: &mut Bench) {
    for payload in [1000_usize, 1461, 20_000, 32_768] {
        bench.order(b'T', payload.try_into().unwrap());
        let (mut data, mut frames, mut fragments) = (Vec::new(), 0, 0);
        while data.len() < payload {
            let frame = bench.receive();
            assert!(frame.len() <= 1514, "{} bytes on the wire", frame.len());
            let ip = Ipv4Packet::new(&frame[14..]).unwrap();
            assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip));
            let body = &ip.packet()[20..usize::from(ip.get_total_length())];
            let fragment = ip.get_fragment_offset() != 0;
            data.extend_from_slice(if fragment { body } else { &body[20..] });
            frames += 1;
            fragments += usize::from(fragment);
            if fragments == 0 && ip.get_flags() & 1 == 0 {
                let tcp = TcpPacket::new(body).unwrap();
                let sum = pnet_packet::tcp::ipv4_checksum(&tcp, &ip.get_source(), &ip.get_destination());
                assert_eq!(tcp.get_checksum(), sum);
            }
        }
        eprintln!("{payload} bytes of TCP left in {frames} frames, {fragments} of them IP fragments");
        assert!(data.iter().enumerate().all(|(at, byte)| *byte == (at % 251).to_le_bytes()[0]));
        assert_eq!(data.len(), payload);
    }
}

/// A group is heard only after it was asked for; another station's frames never.
fn filter(bench: &mut Bench) {
    let group = [0x33, 0x33, 0, 0, 0, 0x42];
    let stranger = [0x52, 0x54, 0x00, 0xAB, 0xCD, 0xEE];
    bench.send(&command(group, b'E', b"early", 60));
    bench.send(&command(stranger, b'E', b"not for you", 60));
    bench.order(b'M', 0);
    bench.send(&command(PROBE, b'E', b"fence", 60));
    assert_eq!(&bench.receive()[15..20], b"fence", "the card filters at arrival, so wait for the order");
    bench.send(&command(group, b'E', b"late", 60));
    assert_eq!(&bench.receive()[15..19], b"late");
}

fn counts(bench: &mut Bench) {
    let [received, sent, by_card, wakeups] = bench.counts();
    eprintln!("received {received}, sent {sent}, by the card's count {by_card}, {wakeups} steps");
    assert!(received > 1024 && sent > 1024);
    assert_eq!(by_card, received, "the card's count and the driver's agree");
}
