//! A segment where every station is the fuzzer: frames of any kind, answers to netvm's own questions, time that
//! passes; and a firewallvm that sends any frame. Netvm must not panic and must come to rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::{Geometry, Meta, host};
use netvm::{
    Netvm, Progress,
    fake::{Cable, Card},
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Sums 16-bit words, for the checksums that the fuzzer could not guess.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    [&MAC[..], &[2, 0, 0, 0, 0, 1], &kind.to_be_bytes(), body].concat()
}

/// An answer to netvm's last DHCP message: its transaction, our bytes as options.
fn dhcp(question: &[u8], options: &[u8]) -> Option<Vec<u8>> {
    let asked = question.get(42..282)?;
    let mut body = asked.to_vec();
    body[0] = 2;
    let yours = options.get(..4)?;
    body[16..20].copy_from_slice(yours);
    body.extend_from_slice(&options[4..]);
    let len = u16::try_from(28 + body.len()).ok()?;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    let mut udp = vec![0, 67, 0, 68, 0, 0, 0, 0];
    udp[4..6].copy_from_slice(&(len - 20).to_be_bytes());
    Some(ethernet(0x0800, &[&ip[..], &udp, &body].concat()))
}

/// A neighbour discovery message with its checksum.
fn discovery(message: &[u8]) -> Vec<u8> {
    let mut message = [&[0; 4], message].concat();
    message[0] = 133 + message.get(4).copied().unwrap_or(0) % 5;
    let len = u16::try_from(message.len()).unwrap_or(0);
    let source = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let all = [0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let sum = checksum(&[&source, &all, &len.to_be_bytes(), &[0, 58], &message]);
    message[2..4].copy_from_slice(&sum);
    let head = [0x60, 0, 0, 0, len.to_be_bytes()[0], len.to_be_bytes()[1], 58, 255];
    ethernet(0x86DD, &[&head[..], &source, &all, &message].concat())
}

fuzz_target!(|data: &[u8]| {
    let cable = Cable::default();
    let Ok(mut netvm) = Netvm::new(Card { mac: MAC, wire: cable.clone() }, 7) else { return };
    let Ok((near, mut firewall)) = host::pair(Geometry { data_len: 65_536 }, 1) else { return };
    netvm.attach_firewall(1, near);
    let (mut now_us, mut rest) = (1, data);
    let (mut buffer, mut question) = (vec![0; 4096], Vec::new());
    while let [op, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        while let Some(sent) = cable.receive() {
            question = sent;
        }
        let frame = match op % 6 {
            0 => dhcp(&question, bytes),
            1 => Some(discovery(bytes)),
            2 => Some(ethernet(0x0806, bytes)),
            3 => Some(ethernet(if op & 8 == 0 { 0x0800 } else { 0x86DD }, bytes)),
            4 => {
                let _ = firewall.send(&Meta::default(), &[&ethernet(0x0800, bytes)]);
                firewall.publish();
                None
            }
            _ => {
                now_us += u64::from(*op) * 40_000;
                None
            }
        };
        frame.into_iter().for_each(|frame| cable.send(frame));
        let mut rested = false;
        for _ in 0..200 {
            rested = matches!(netvm.step(now_us), Ok(Progress::Idle { .. }));
            if rested {
                break;
            }
        }
        assert!(rested, "netvm never rests");
        while let Ok(Some(_)) = firewall.recv(&mut buffer) {}
        firewall.release();
    }
});
