//! An unmodified Debian kernel with busybox as its whole userland. `BULKHEAD_KERNEL` names the bzImage,
//! `BULKHEAD_BUSYBOX` a static busybox; skipped aloud without them.

use crate::host::{self, Vm, needs_kvm};
use std::path::PathBuf;
use vmm_api::message::{Ended, Event, What};

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
echo INIT-UP cpus $(nproc)
exec sh
";

struct Images {
    kernel: PathBuf,
    busybox: PathBuf,
}

fn images() -> Option<Images> {
    let name = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    let found = name("BULKHEAD_KERNEL").zip(name("BULKHEAD_BUSYBOX"));
    if found.is_none() {
        host::aloud("SKIPPED: BULKHEAD_KERNEL and BULKHEAD_BUSYBOX do not name files");
    }
    found.map(|(kernel, busybox)| Images { kernel, busybox })
}

/// Appends a file in the format that the kernel unpacks ("newc").
fn pack(archive: &mut Vec<u8>, name: &str, mode: usize, content: &[u8]) {
    let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let fields = fields.map(|field| format!("{field:08X}"));
    archive.extend(b"070701");
    archive.extend(fields.concat().bytes());
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn boot(vcpus: u8, cmdline: &str) -> Option<Vm> {
    let images = images()?;
    let files = tempfile::tempdir().unwrap();
    let mut archive = Vec::new();
    pack(&mut archive, "bin", 0o040_755, &[]);
    pack(&mut archive, "bin/busybox", 0o100_755, &std::fs::read(&images.busybox).unwrap());
    pack(&mut archive, "init", 0o100_755, INIT.as_bytes());
    pack(&mut archive, "TRAILER!!!", 0, &[]);
    let initrd = files.path().join("initrd");
    std::fs::write(&initrd, archive).unwrap();
    let kernel = images.kernel;
    let json = format!(
        r#"{{"name":"debian","kernel":{{"path":{kernel:?}}},"initrd":{{"path":{initrd:?}}},"memory_mib":512,
            "vcpus":{vcpus},"cmdline":"console=ttyS0 panic=1 random.trust_cpu=on {cmdline}"}}"#
    );
    let mut vm = Vm::run(files, &json);
    assert_eq!(vm.next(), Event::Running);
    Some(vm)
}

#[test]
fn debian_boots_and_powers_off() {
    needs_kvm!();
    let Some(mut vm) = boot(2, "quiet") else { return };
    let text = vm.console.wait_for("INIT-UP");
    vm.console.wait_for("INIT-UP cpus 2");
    vm.type_in("dmesg | grep -c -e i8042.*CTR -e 'PCI: MMCONFIG at' -e '_OSC: OS supports'\n");
    vm.console.wait_for("\n2\r\n");
    vm.type_in(
        "grep -q kvm-clock /sys/devices/system/clocksource/*/current_clocksource && echo CLOCK-GOOD\n",
    );
    vm.console.wait_for("CLOCK-GOOD\r\n");
    vm.type_in("poweroff -f\n");
    assert_eq!(vm.next(), Event::Ended(Ended::PoweredOff), "{text}");
}

#[test]
fn debian_reboots_also_after_a_panic() {
    needs_kvm!();
    for command in ["reboot -f\n", "echo c > /proc/sysrq-trigger\n"] {
        let Some(mut vm) = boot(1, "quiet") else { return };
        vm.console.wait_for("INIT-UP");
        vm.type_in(command);
        assert_eq!(vm.next(), Event::Ended(Ended::Rebooted));
    }
}

#[test]
fn the_power_button_reaches_the_guest() {
    needs_kvm!();
    let Some(mut vm) = boot(1, "quiet") else { return };
    vm.console.wait_for("INIT-UP");
    vm.does(What::PowerButton);
    // The driver of the button is a module; that the event device ran its method shows in its count.
    vm.type_in(
        "until grep -q ' [1-9][0-9]* .*ACPI:Ged' /proc/interrupts; do sleep 1; done; echo BUTTON''-SEEN\n",
    );
    vm.console.wait_for("BUTTON-SEEN\r\n");
    vm.does(What::Kill);
    assert_eq!(vm.next(), Event::Ended(Ended::Killed));
}
