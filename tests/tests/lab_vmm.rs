//! Linux guests under bulkhead-vmm with real virtio devices: disks, vsock, and two vifs joined by a link.
//!
//! Needs KVM, so it is run in the lab: `BULKHEAD_VMM`, `BULKHEAD_KERNEL`, `BULKHEAD_INITRAMFS` (that of
//! `cargo xtask appvm`) and `BULKHEAD_AGENT` (linked static) name what it starts. This program plays dom0.

mod lab_vmm {
    pub(crate) mod guest;
    pub(crate) mod initramfs;
}

use lab_vmm::guest::{Guest, join};
use std::os::unix::fs::FileExt;
use vmm_api::message::{End, What};

const SECOND: &str = "10.9.0.2";
/// Standard input must stay open: at its end nc would close the connection.
const RECEIVE: &str =
    "mkfifo /open; exec 3<>/open; nc -l -p 5000 <&3 > /bulk; wc -c < /bulk; sha256sum < /bulk";

#[test]
#[ignore = "needs KVM: run in the lab"]
fn disks_keep_what_their_mode_promises() {
    let image = |seed: u32| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..8u32 << 20).map(|i| (i.wrapping_mul(seed) >> 13).to_le_bytes()[0]).collect();
        file.as_file().write_all_at(&bytes, 0).unwrap();
        (file, bytes)
    };
    let ((fixed, fixed_bytes), (kept, _), (lost, lost_bytes)) = (image(77), image(79), image(83));
    let disk = |file: &tempfile::NamedTempFile, mode: &str| serde_json::json!({"image": {"path": file.path()}, "mode": mode});
    let disks = [disk(&fixed, "read_only"), disk(&kept, "read_write"), disk(&lost, "volatile")];
    let guest = Guest::start("disks", &serde_json::json!({ "disks": disks }));

    for (device, bytes) in [("vda", &fixed_bytes), ("vdc", &lost_bytes)] {
        assert_eq!(guest.shell(&format!("cat /dev/{device}")), *bytes, "{device}");
    }
    for device in ["vdb", "vdc"] {
        let script = format!(
            "mke2fs -q /dev/{device} >/dev/null && mkdir -p /m && mount -t ext4 /dev/{device} /m && \
             head -c 3000000 /dev/urandom > /f && cp /f /m/f && umount /m && \
             echo 3 > /proc/sys/vm/drop_caches && mount -t ext4 /dev/{device} /m && cmp /f /m/f && \
             umount /m && echo same"
        );
        assert_eq!(guest.shell(&script), b"same\n", "{device}");
    }
    assert_eq!(guest.shell("echo x > /dev/vda || echo refused"), b"refused\n");
    assert!(guest.counter("disk2.overlay_bytes") >= 3_000_000);
    assert_eq!(guest.counter("disk0.failed"), 0);
    drop(guest);
    assert_eq!(std::fs::read(fixed.path()).unwrap(), fixed_bytes);
    assert_eq!(std::fs::read(lost.path()).unwrap(), lost_bytes);
    assert_eq!(std::fs::read(kept.path()).unwrap()[1080..1082], [0x53, 0xEF], "an ext2 superblock");
}

#[test]
#[ignore = "needs KVM: run in the lab"]
fn vsock_carries_streams_side_by_side() {
    let guest = Guest::start("vsock", &serde_json::json!({}));
    std::thread::scope(|scope| {
        for seed in 1..=4u32 {
            let guest = &guest;
            scope.spawn(move || {
                let bytes: Vec<u8> =
                    (0..2u32 << 20).map(|i| (i.wrapping_mul(seed) >> 7).to_le_bytes()[0]).collect();
                assert_eq!(guest.run("cat", &bytes), bytes, "stream {seed}");
            });
        }
    });
    // A port that nobody listens on: the stream ends.
    assert!(guest.refused(4242));
    assert_eq!(guest.counter("vsock.violations"), 0);
    assert!(guest.counter("vsock.bytes_from_guest") >= 8 << 20);
}

#[test]
#[ignore = "needs KVM: run in the lab"]
fn two_guests_talk_over_a_link() {
    let vif = |n: u8| serde_json::json!({"vifs": [{"mac": [2, 98, 107, 0, 0, n]}]});
    let (one, two) = (Guest::start("one", &vif(1)), Guest::start("two", &vif(2)));
    assert_eq!(one.shell("ifconfig eth0 10.9.0.1 up; cat /sys/class/net/eth0/carrier"), b"0\n");
    two.shell(&format!("ifconfig eth0 {SECOND} up"));
    join(&one, &two, 1);
    let ping = format!("ping -c 3 -W 5 {SECOND} | grep -c 'bytes from'");
    assert_eq!(one.shell(&ping), b"3\n");

    // A bulk transfer: long segments and unfinished checksums cross the link as they are.
    let sent = one.shell("head -c 33554432 /dev/urandom > /bulk; wc -c < /bulk; sha256sum < /bulk");
    std::thread::scope(|scope| {
        let received = scope.spawn(|| two.shell(RECEIVE));
        one.shell(&send(SECOND, "/bulk"));
        let received = received.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(&sent));
    });
    let (frames, bytes) = (one.counter("vif0.frames_from_guest"), one.counter("vif0.bytes_from_guest"));
    println!("bulk: {frames} frames, {bytes} bytes, {} bytes each", bytes / frames);
    for name in ["rings", "rings_suppressed", "interrupts", "interrupts_suppressed", "waits_for_room"] {
        println!(
            "  {name}: {} and {}",
            one.counter(&format!("vif0.{name}")),
            two.counter(&format!("vif0.{name}"))
        );
    }
    assert!(bytes / frames > 4000, "segmentation was left to the link: {bytes} bytes in {frames} frames");
    for guest in [&one, &two] {
        let drops =
            guest.counters().into_iter().filter(|(name, _)| name.contains(".drop.")).filter(|(_, n)| *n > 0);
        // Before the link there was nobody to send to.
        assert_eq!(drops.filter(|(name, _)| name != "vif0.drop.no_peer").collect::<Vec<_>>(), []);
        assert_eq!(guest.counter("vif0.driver_faults") + guest.counter("vif0.peer_faults"), 0);
    }

    // The link goes and another one comes.
    for guest in [&one, &two] {
        guest.request(What::DetachLink { end: End::Vif(0) }, &[]).unwrap();
        assert_eq!(guest.shell("sleep 1; cat /sys/class/net/eth0/carrier"), b"0\n");
    }
    join(&one, &two, 2);
    assert_eq!(one.shell(&ping), b"3\n");
}

/// A shell script that sends a file to who listens, and waits until somebody does.
fn send(to: &str, file: &str) -> String {
    format!("for second in $(seq 60); do nc {to} 5000 < {file} 2>/dev/null && break; sleep 1; done")
}

/// Runs a shell script on this side; its standard output.
fn here(script: &str) -> Vec<u8> {
    std::process::Command::new("sh").args(["-c", script]).output().unwrap().stdout
}

#[test]
#[ignore = "needs KVM: run in the lab"]
fn guest_reaches_the_host_over_a_tap() {
    here("modprobe tun");
    let guest = Guest::start("tapped", &serde_json::json!({"tap": {"path": "vmtap0"}}));
    here("ifconfig vmtap0 10.8.0.1 netmask 255.255.255.0 up");
    guest.shell("ifconfig eth0 10.8.0.2 netmask 255.255.255.0 up");
    assert_eq!(guest.shell("ping -c 3 -W 5 10.8.0.1 | grep -c 'bytes from'"), b"3\n");

    // Both ways in bulk: the host leaves long segments and checksums to the guest, and the guest to the host.
    let sent = guest.shell("head -c 8388608 /dev/urandom > /bulk; sha256sum < /bulk");
    let receive = "rm -f /tmp/open; mkfifo /tmp/open; exec 3<>/tmp/open; nc -l -p 5000 <&3 > /tmp/bulk; sha256sum < /tmp/bulk";
    std::thread::scope(|scope| {
        let received = scope.spawn(|| here(receive));
        guest.shell(&send("10.8.0.1", "/bulk"));
        assert_eq!(received.join().unwrap(), sent);
    });
    std::thread::scope(|scope| {
        let received = scope.spawn(|| guest.shell(&RECEIVE.replace("wc -c < /bulk; ", "")));
        here(&send("10.8.0.2", "/tmp/bulk"));
        assert_eq!(received.join().unwrap(), sent);
    });
    for direction in ["from_guest", "to_guest"] {
        let (frames, bytes) = (
            guest.counter(&format!("tap.frames_{direction}")),
            guest.counter(&format!("tap.bytes_{direction}")),
        );
        println!("{direction}: {frames} frames, {bytes} bytes");
        assert!(bytes >= 8 << 20);
    }
    let malformed = ["tap_errors", "drop.malformed_by_tap", "drop.bad_header", "drop.bad_length"];
    for name in malformed {
        assert_eq!(guest.counter(&format!("tap.{name}")), 0, "{name}");
    }
}
