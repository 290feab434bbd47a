//! Thousands of wake-ups, each of which must come by itself: the next frame is sent only when the last is answered.

use super::{Machine, PATIENCE, boot, image, qemu};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Volleys that are sent and awaited.
const VOLLEYS: u32 = 1_000;
/// Frames in a volley at most.
const VOLLEY: u64 = 5;
/// Longest pause between two volleys: some find the guest asleep, some falling asleep, some awake.
const PAUSE_US: u64 = 600;
/// Longest gap between two frames of a volley.
const GAP_NS: u64 = 100_000;
/// Longest wait for an answer; it stands for ever.
const LOST: Duration = Duration::from_secs(20);

/// Cheap random numbers (xorshift).
struct Dice(u64);

impl Dice {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn no_alarm_is_lost() {
    let Some(outcome) = boot(Machine::Micro, "4M", "alarms") else { return };
    assert!(!outcome.output.contains("WOKEN EARLY"), "{}", outcome.output);
    assert_eq!(outcome.output.matches("us late").count(), 3, "{}", outcome.output);
    assert_eq!(outcome.status, 1, "{}", outcome.output);
}

#[test]
fn no_interrupt_of_a_network_device_is_lost() {
    let Some(image) = image("bounce") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (guest, host) = (directory.path().join("guest"), directory.path().join("host"));
    let cable = UnixDatagram::bind(&host).expect("a socket");
    let mut qemu = start(image, &guest, &host);
    let outcome = connect(&cable, &guest).and_then(|()| volleys(&cable));
    // Even after a failure: what the guest said helps.
    let _ = cable.send(&frame(*b"quit\0\0\0\0"));
    if outcome.is_err() {
        qemu.kill().expect("QEMU can be killed");
    }
    let status = qemu.wait().expect("QEMU can be waited for");
    let mut output = String::new();
    qemu.stdout.take().expect("a pipe").read_to_string(&mut output).expect("text");
    println!("{outcome:?} {status}\n{output}");
    outcome.expect("every frame is answered");
    assert!(!output.contains("NOT SENT"));
}

fn start(image: &Path, guest: &Path, host: &Path) -> Child {
    let cable = format!(
        "dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={}",
        guest.display(),
        host.display()
    );
    qemu("stdio")
        .args(["-M", "q35", "-device", "virtio-rng-pci", "-device", "isa-debug-exit,iobase=0x604,iosize=4"])
        .args(["-netdev", &cable, "-device", "virtio-net-pci,netdev=n,romfile="])
        .args(["-m", "16M", "-append", "probe=bounce", "-kernel"])
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts")
}

/// An IPv4 frame whose payload is `mark`.
fn frame(mark: [u8; 8]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xFF);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12] = 8;
    frame[42..50].copy_from_slice(&mark);
    frame
}

/// Waits until the guest answers.
fn connect(cable: &UnixDatagram, guest: &Path) -> Result<(), String> {
    let begin = Instant::now();
    cable.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    while begin.elapsed() < PATIENCE {
        if cable.connect(guest).is_ok() && cable.send(&frame([0xFF; 8])).is_ok() {
            match cable.recv(&mut [0; 2048]) {
                Ok(_) => return Ok(()),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(why) => return Err(why.to_string()),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the guest does not start".into())
}

fn volleys(cable: &UnixDatagram) -> Result<(), String> {
    cable.set_read_timeout(Some(LOST)).expect("a timeout");
    let (mut sent, mut answered, mut slowest) = (0u64, 0, Duration::ZERO);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let begin = Instant::now();
    for _ in 0..VOLLEYS {
        std::thread::sleep(Duration::from_micros(dice.below(PAUSE_US)));
        for _ in 0..=dice.below(VOLLEY) {
            cable.send(&frame(sent.to_le_bytes())).map_err(|why| why.to_string())?;
            sent += 1;
            // About as long as an answer takes: the next frame comes just as the guest has looked for it.
            let (gap, from) = (Duration::from_nanos(dice.below(GAP_NS)), Instant::now());
            while from.elapsed() < gap {
                std::hint::spin_loop();
            }
        }
        let volley = Instant::now();
        while answered < sent {
            let mut answer = [0; 2048];
            let lost = |why| format!("after {answered} of {sent} frames: {why}");
            let len = cable.recv(&mut answer).map_err(lost)?;
            // Late answers to what was sent while the guest booted are left out.
            if len >= 50 && answer[42..50] != [0xFF; 8] {
                if answer[42..50] != answered.to_le_bytes() {
                    return Err(format!("frame {answered} came back changed or out of order"));
                }
                answered += 1;
            }
        }
        slowest = slowest.max(volley.elapsed());
    }
    println!("{sent} frames in {VOLLEYS} volleys in {:?}, the slowest in {slowest:?}", begin.elapsed());
    Ok(())
}
