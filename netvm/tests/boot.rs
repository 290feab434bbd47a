//! The image under stock QEMU, which shares nothing with our monitor: it must be small, run in little memory, and
//! get its addresses from QEMU's user network on either card. Skipped aloud where there is no QEMU.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

const QEMU: &str = "qemu-system-x86_64";
/// Promised to users, with the memory below.
const LARGEST_IMAGE: u64 = 512 * 1024;
const MEMORY: &str = "16M";
const PATIENCE: Duration = Duration::from_secs(180);
/// What QEMU's user network gives, its IPv6 prefix being chosen below.
const V4: &str = "10.0.2.15/24 by 10.0.2.2";
const V6: &str = "2001:db8:1:0:5054:ff:feab:cdef/64 by fe80::2";

/// Builds the image as it is shipped.
fn image() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "-q", "-p", "netvm", "--bin", "netvm", "--features", "image", "--profile", "image"])
        .current_dir(&workspace)
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the image does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("image/netvm")
}

/// A machine that ends with its test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the image with this card and waits until the console has said all of `wanted`.
fn boots(card: &str, wanted: &[&str]) {
    if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: {QEMU} is not installed, the image is not booted");
        return;
    }
    let mut qemu = Command::new(QEMU)
        .args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", MEMORY, "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"])
        .args(["-netdev", "user,id=n0,ipv6-prefix=2001:db8:1::", "-device"])
        .arg(format!("{card},netdev=n0,mac=52:54:00:ab:cd:ef,romfile="))
        .arg("-kernel")
        .arg(image())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    let console = BufReader::new(qemu.stdout.take().expect("piped"));
    let _machine = Machine(qemu);
    let (said, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in console.lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                break;
            }
        }
    });
    let mut log = Vec::new();
    while !wanted.iter().all(|text| log.iter().any(|line: &String| line.contains(text))) {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => log.push(line),
            Err(why) => panic!("{card}: {why} before {wanted:?} was said:\n{}", log.join("\n")),
        }
    }
}

#[test]
fn the_image_is_small() {
    let len = std::fs::metadata(image()).expect("the image").len();
    eprintln!("netvm: {len} bytes");
    assert!(len <= LARGEST_IMAGE, "{len} bytes");
}

#[test]
fn gets_its_addresses_on_a_virtio_card() {
    boots("virtio-net-pci", &["virtio network card", V4, V6]);
}

#[test]
fn gets_its_addresses_on_an_e1000e() {
    boots("e1000e", &["82574L network card", V4, V6]);
}
