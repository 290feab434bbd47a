//! A boot module, the real-time clock, and a virtio disk.

use super::{Machine, boot_with};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn the_module_and_the_time_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("module");
    let bytes: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    fs::write(&file, &bytes).expect("written");
    for machine in [Machine::Micro, Machine::Q35] {
        let arguments = ["-initrd", file.to_str().expect("text")];
        let Some(outcome) = boot_with(&arguments, machine, "16M", "module") else { return };
        let wanted = format!("module of 300000 bytes, sum {sum}");
        assert!(outcome.output.contains(&wanted), "no '{wanted}': {}", outcome.output);
        assert!(outcome.output.contains("set: true"), "{}", outcome.output);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let words = outcome.output.lines().find_map(|line| line.split("time ").nth(1));
        let told: u64 = words.expect("the time").trim().parse().expect("a number");
        assert!((now - 60..=now + 1).contains(&told), "{told} at {now}");
    }
}

#[test]
fn without_a_module_there_is_none() {
    let Some(outcome) = boot_with(&["-rtc", "base=1999-12-31T23:59:50"], Machine::Q35, "16M", "module")
    else {
        return;
    };
    assert!(outcome.output.contains("no module"), "{}", outcome.output);
    assert!(outcome.output.contains("time 9466847"), "{}", outcome.output);
}

#[test]
fn a_disk_is_read_and_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("disk");
    for (machine, more) in [(Machine::Q35, ""), (Machine::MicroPci, ""), (Machine::Q35, ",read-only=on")] {
        let bytes: Vec<u8> = (0..64 * 512u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        fs::write(&file, &bytes).expect("written");
        let drive = format!("if=none,id=d,format=raw,file={}{more}", file.display());
        let arguments = ["-drive", &drive, "-device", "virtio-blk-pci,drive=d"];
        let Some(outcome) = boot_with(&arguments, machine, "16M", "disk") else { return };
        let after = fs::read(&file).expect("read");
        assert!(outcome.output.contains("disk of 64 sectors"), "{}", outcome.output);
        assert!(outcome.output.contains("beyond refused: true"), "{}", outcome.output);
        assert!(outcome.output.contains("nothing: Ok(())"), "{}", outcome.output);
        if more.is_empty() {
            assert!(outcome.output.contains("read back: true"), "{}", outcome.output);
            let turned: Vec<u8> = bytes[..40 * 512].iter().map(|byte| !byte).collect();
            assert!(after[..40 * 512] == turned && after[40 * 512..] == bytes[40 * 512..]);
        } else {
            assert!(outcome.output.contains("turned: Err(ReadOnly)"), "{}", outcome.output);
            assert!(after == bytes);
        }
    }
}
