//! What dom0 refuses, in lab machines without AppVMs: every message names the thing, the reason and the remedy,
//! the exit status is not 0, and nothing is left half-started or without its driver.

use std::time::Instant;
use tests::lab::{Lab, NIC, Stage, Wishes};

/// Two functions of one device: they share an IOMMU group.
const TWIN: &str = "0000:00:05.0";
const OTHER_TWIN: &str = "0000:00:05.1";
const NET: &str = "kind = \"netvm\"\nmemory = 16\n";
const FIREWALL: &str = "kind = \"firewallvm\"\nmemory = 16\nnetvm = \"net\"\n";

/// A lab machine whose dom0 owns its cards and runs bulkheadd.
fn boot(stage: &Stage, wishes: &Wishes) -> Lab {
    let lab = Lab::boot(stage, wishes);
    lab.sh("for module in kvm-amd e1000e; do modprobe $module || exit 1; done");
    lab.start_daemon();
    lab
}

/// Runs a command that must be refused, with these words, and changes nothing.
fn refused(lab: &Lab, command: &str, words: &[&str]) {
    let before = state(lab);
    let said = lab.dom0(command).wait().expect_failure();
    eprintln!("$ {command}\n{}", said.trim_end());
    for word in words.iter().chain(&["remedy: "]) {
        assert!(said.contains(word), "{command}: {word:?} is not in:\n{said}");
    }
    assert!(!said.contains("RUST_BACKTRACE"), "a panic: {said}");
    assert_eq!(state(lab), before, "{command}");
}

/// Drivers of all devices, interfaces, processes, VFIO groups in use, domain files.
fn state(lab: &Lab) -> String {
    lab.sh("
        for device in /sys/bus/pci/devices/*; do
            echo ${device##*/} $(readlink $device/driver) $(cat $device/driver_override)
        done
        ls /sys/class/net
        pidof bulkhead-vmm
        ls -l /proc/[0-9]*/fd 2>/dev/null | grep -o -e '/dev/vfio/.*'
        md5sum /etc/bulkhead/domains/*
        true")
}

fn driver(lab: &Lab, bdf: &str) -> String {
    let link = lab.sh(&format!("readlink /sys/bus/pci/devices/{bdf}/driver || echo none"));
    link.trim().rsplit('/').next().unwrap_or_default().to_owned()
}

fn files(lab: &Lab) {
    lab.domain("net", NET);
    lab.domain("firewall", FIREWALL);
}

/// Files that are not right: `check` says so, and `up` before anything is started.
fn malformed_files(lab: &Lab) {
    for (text, words) in [
        ("kind = \"netvm", &["broken.toml:1"][..]),
        ("kind = \"netvm\"\nmemory = \"much\"", &["broken.toml:2", "memory"]),
        ("kind = \"router\"", &["broken.toml:1", "kind", "router"]),
        ("kind = \"appvm\"\nnetvn = \"firewall\"", &["broken.toml:2", "netvn"]),
        (
            "kind = \"appvm\"\nnetvm = \"nobody\"\nkernel = \"/host/appvm/vmlinux\"",
            &["broken.toml:2", "nobody"],
        ),
        ("memory = 16", &["broken.toml", "kind"]),
    ] {
        lab.domain("broken", text);
        refused(lab, "bulkhead up", words);
    }
    refused(lab, "bulkhead check", &["broken.toml", "kind"]);
    lab.sh("rm /etc/bulkhead/domains/broken.toml");
    refused(lab, "bulkhead up nobody", &["nobody", "no such domain"]);
    refused(lab, "bulkhead up net", &["net", "no network card", "bulkhead nic assign"]);
}

/// Cards that may not be given away stay with their driver.
fn cards(lab: &Lab) {
    refused(
        lab,
        &format!("bulkhead nic assign {TWIN} net"),
        &[TWIN, "IOMMU group", OTHER_TWIN, "virtio-pci"],
    );
    refused(lab, "bulkhead nic assign 0000:02:00.0 net", &["0000:02:00.0", "not a network card"]);
    refused(lab, "bulkhead nic assign 0000:77:00.0 net", &["0000:77:00.0", "no such PCI device"]);
    refused(lab, &format!("bulkhead nic assign {NIC} firewall"), &["firewall", "only a netvm"]);
    refused(lab, &format!("bulkhead nic assign {NIC} nobody"), &["nobody", "no such domain"]);

    let interface = lab.sh(&format!("ls /sys/bus/pci/devices/{NIC}/net")).trim().to_owned();
    lab.sh(&format!("ip addr add 10.0.2.15/24 dev {interface}; ip link set {interface} up; ip route add default via 10.0.2.2"));
    refused(lab, &format!("bulkhead nic assign {NIC} net"), &[NIC, "default route", &interface, "--force"]);
    assert_eq!(driver(lab, NIC), "e1000e");
    // The remedy.
    lab.sh(&format!("ip link set {interface} down"));
}

/// A card that is assigned, and the ways in which starting its domain can still fail.
fn assigned_card(lab: &Lab) {
    let list = lab.sh("bulkhead nic list");
    assert!(list.contains(NIC) && list.contains("e1000e"), "{list}");
    lab.sh(&format!("bulkhead nic assign {NIC} net"));
    assert_eq!(driver(lab, NIC), "vfio-pci");
    lab.domain("other", NET);
    refused(lab, &format!("bulkhead nic assign {NIC} other"), &[NIC, "net", "bulkhead nic unassign"]);
    lab.sh("rm /etc/bulkhead/domains/other.toml");

    let group = lab.sh(&format!("readlink /sys/bus/pci/devices/{NIC}/iommu_group"));
    let group = group.trim().rsplit('/').next().unwrap_or_default().to_owned();
    lab.sh(&format!("sleep 1000 7<>/dev/vfio/{group} >/dev/null 2>&1 & echo $! >/run/holder"));
    refused(lab, "bulkhead up", &["net", NIC, "already in use"]);
    lab.sh("kill $(cat /run/holder)");

    // What fails second takes down what was started first.
    lab.domain("firewall", &format!("{FIREWALL}kernel = \"/nowhere/firewallvm\"\n"));
    refused(lab, "bulkhead up", &["firewall.toml:4", "/nowhere/firewallvm", "No such file"]);
    lab.sh("head -c 100000 /dev/urandom >/run/noise");
    lab.domain("firewall", &format!("{FIREWALL}kernel = \"/run/noise\"\n"));
    refused(lab, "bulkhead up", &["firewall"]);
    let probe = "kernel = \"/host/lib/probe\"\ncmdline = \"probe=panic\"\n";
    lab.domain("firewall", &format!("{FIREWALL}{probe}"));
    refused(lab, "bulkhead up", &["firewall", "the guest panicked"]);
    lab.domain("firewall", FIREWALL);

    // The lab keeps a machine of its own, so that the module cannot be unloaded.
    lab.sh("rm /dev/kvm");
    refused(lab, "bulkhead up", &["/dev/kvm", "kvm_amd"]);
    lab.sh("mknod /dev/kvm c 10 232");

    lab.sh("bulkhead up");
    refused(lab, &format!("bulkhead nic unassign {NIC}"), &["net", "bulkhead down net"]);
    refused(lab, &format!("bulkhead nic assign {NIC} net"), &["net", "is running"]);
    refused(lab, "bulkhead run firewall -- true", &["firewall", "unikernel"]);
    lab.sh("bulkhead down");
    lab.sh(&format!("bulkhead nic unassign {NIC}"));
    assert_eq!(driver(lab, NIC), "e1000e", "the driver that it had");
    let again = lab.sh(&format!("ls /sys/bus/pci/devices/{NIC}/net"));
    assert!(again.starts_with("eth"), "{again}");
    refused(lab, "bulkhead nic unassign 0000:77:00.0", &["0000:77:00.0", "no such PCI device"]);
}

#[test]
fn bad_input_is_refused_with_thing_reason_and_remedy() {
    let Some(stage) = Stage::find() else { return };
    let begun = Instant::now();
    let twins = Wishes::default().qemu(&[
        "-device",
        "virtio-net-pci,addr=05.0,multifunction=on,romfile=",
        "-device",
        "virtio-net-pci,addr=05.1,romfile=",
    ]);
    let lab = boot(&stage, &twins);
    refused(&lab, "bulkhead up", &["/etc/bulkhead/domains"]);
    files(&lab);
    malformed_files(&lab);
    cards(&lab);
    assigned_card(&lab);
    eprintln!("{:.1} s", begun.elapsed().as_secs_f32());
}

/// Nothing is assigned where a card could reach all memory or forge interrupts, however it is asked for.
fn unprotected(stage: &Stage, wishes: &Wishes, words: &[&str]) {
    let lab = boot(stage, wishes);
    files(&lab);
    let words = [&[NIC][..], words].concat();
    let list = lab.sh("bulkhead nic list");
    assert!(list.contains(NIC) && list.contains(words[1]), "{list}");
    refused(&lab, &format!("bulkhead nic assign {NIC} net"), &words);
    refused(&lab, &format!("bulkhead nic assign {NIC} net --force --no-strict-reset"), &words);
    lab.domain("net", &format!("{NET}devices = [\"{NIC}\"]\n"));
    refused(&lab, "bulkhead up", &words);
    assert_eq!(driver(&lab, NIC), "e1000e");
}

#[test]
fn no_iommu_is_refused() {
    let Some(stage) = Stage::find() else { return };
    unprotected(&stage, &Wishes::default().with("--iommu", "none"), &["the IOMMU is off", "intel_iommu=on"]);
}

#[test]
fn iommu_that_the_kernel_does_not_use_is_refused() {
    let Some(stage) = Stage::find() else { return };
    let wishes = Wishes::default().with("--append", "intel_iommu=off");
    unprotected(&stage, &wishes, &["the IOMMU is off", "intel_iommu=on"]);
}

#[test]
fn hardware_without_interrupt_remapping_is_refused() {
    let Some(stage) = Stage::find() else { return };
    unprotected(&stage, &Wishes::default().with("--iommu", "no-remapping"), &["no interrupt remapping"]);
}

#[test]
fn interrupt_remapping_that_is_switched_off_is_refused() {
    let Some(stage) = Stage::find() else { return };
    let wishes = Wishes::default().with("--append", "intremap=off");
    unprotected(&stage, &wishes, &["interrupt remapping", "intremap=off"]);
}
