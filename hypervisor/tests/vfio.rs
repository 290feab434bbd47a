//! A real function (the lab's e1000e) assigned to a machine. Skipped aloud where there is no KVM, no IOMMU or
//! no such card without a driver: run it with `cargo xtask lab`.
//!
//! `BULKHEAD_VMM` and `BULKHEAD_PROBE` name the program and the probe unikernel (`tests/probes`, built with
//! the profile `image`) when they are not where cargo puts them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CARD: &str = "0000:01:00.0";

fn built(variable: &str, below_target: &str) -> PathBuf {
    let default = || {
        let test = std::env::current_exe().expect("a path");
        test.ancestors().nth(3).expect("target/debug/deps/test").join(below_target)
    };
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}

/// The device's directory, if the card is there and free.
fn card() -> Option<PathBuf> {
    let device = Path::new("/sys/bus/pci/devices").join(CARD);
    let id = |file: &str| fs::read_to_string(device.join(file)).unwrap_or_default();
    let ours = (id("vendor").trim(), id("device").trim()) == ("0x8086", "0x10d3");
    let driver = fs::read_link(device.join("driver")).ok();
    let free = driver.is_none_or(|driver| driver.ends_with("vfio-pci"));
    (ours && free && device.join("iommu_group").exists()).then_some(device)
}

fn module(name: &str) {
    let _ = Command::new("modprobe").arg(name).stderr(Stdio::null()).status();
}

struct Bench {
    device: PathBuf,
    description: tempfile::NamedTempFile,
}

impl Bench {
    fn new(device: PathBuf, bdf: &str, words: &str) -> Self {
        let probe = built("BULKHEAD_PROBE", "image/probe");
        let text = format!(
            r#"{{"name":"probe","kernel":{{"path":{probe:?}}},"cmdline":"{words}","memory_mib":16,
                "boot_info":true,"dma_arena_mib":4,"devices":[{{"bdf":"{bdf}"}}]}}"#
        );
        let description = tempfile::NamedTempFile::new().expect("a file");
        fs::write(description.path(), text).expect("written");
        Self { device, description }
    }

    fn start(&self) -> Child {
        Command::new(built("BULKHEAD_VMM", "debug/bulkhead-vmm"))
            .arg("--config")
            .arg(self.description.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the VMM starts")
    }

    fn run(&self) -> Output {
        self.start().wait_with_output().expect("the VMM ends")
    }

    fn bind(&self) {
        fs::write(self.device.join("driver_override"), "vfio-pci").expect("override");
        let _ = fs::write("/sys/bus/pci/drivers_probe", CARD);
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads the console until it says `what`.
fn await_line(machine: &mut Child, what: &str) {
    let console = machine.stdout.as_mut().expect("piped");
    let (begin, mut seen, mut byte) = (Instant::now(), String::new(), [0]);
    while !seen.contains(what) {
        assert!(begin.elapsed() < Duration::from_secs(60), "no {what:?} in {seen:?}");
        assert_eq!(console.read(&mut byte).expect("console"), 1, "ended without {what:?}: {seen:?}");
        seen.push(char::from(byte[0]));
    }
}

#[test]
fn a_function_is_assigned_refused_lost_and_assigned_again() {
    ["kvm-amd", "kvm-intel", "vfio_iommu_type1", "vfio-pci"].into_iter().for_each(module);
    let (Some(device), true) = (card(), Path::new("/dev/kvm").exists()) else {
        eprintln!("SKIPPED: no free 82574 at {CARD} behind an IOMMU, or no KVM: VFIO is not tested");
        return;
    };
    let asking = Bench::new(device.clone(), CARD, "probe=nic then=dhcp");
    if !device.join("driver").exists() {
        let refused = asking.run();
        assert!(errors(&refused).contains("bound to no driver"), "{}", errors(&refused));
        assert_eq!(refused.status.code(), Some(2));
    }
    asking.bind();
    is_offered_an_address(&asking);

    // `lib/e1000e/tests/qemu.rs` shows that the canary is overwritten where nothing confines the card.
    let escape = Bench::new(device.clone(), CARD, "probe=dma-escape").run();
    let console = String::from_utf8_lossy(&escape.stdout);
    assert!(console.contains("CANARY INTACT"), "{console}{}", errors(&escape));

    let missing = Bench::new(device.clone(), "0000:7f:00.0", "probe=nic").run();
    assert!(errors(&missing).contains("0000:7f:00.0: no such device"), "{}", errors(&missing));

    let holding = Bench::new(device, CARD, "probe=nic");
    for _ in 0..3 {
        let mut machine = holding.start();
        await_line(&mut machine, "82574L");
        let second = asking.run();
        assert!(errors(&second).contains("already in use"), "{}", errors(&second));
        machine.kill().expect("killed");
        machine.wait().expect("gone");
        is_offered_an_address(&asking);
    }
}

/// Registers, DMA to and from the arena, and MSI-X all work.
fn is_offered_an_address(bench: &Bench) {
    let output = bench.run();
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains("DHCP offers"), "{console}{}", errors(&output));
    assert!(output.status.success(), "{}", errors(&output));
}
