//! Domains that die: connections that outlive netvm, reasons that are told, nothing that stays behind.

use super::system::Chain;
use std::time::{Duration, Instant};
use tests::lab::until;
use tests::lab::web::{bulk, md5};

/// Longer than a restart takes, at 80 KiB a second.
const LONG: usize = 2 << 20;
/// A driver domain is back within this, emulated twice.
const BACK: Duration = Duration::from_secs(30);

/// Process of a domain: netvm's holds a VFIO group, AppVMs' hold a disk, firewallvm's neither.
fn process(chain: &Chain, holds: &str, holds_not: &str) -> u32 {
    let script = format!(
        "for p in $(pidof bulkhead-vmm); do
            open=$(ls -l /proc/$p/fd)
            echo \"$open\" | grep -q -e '{holds}' || continue
            echo \"$open\" | grep -q -e '{holds_not}' || echo $p
        done"
    );
    let found = chain.lab.sh(&script);
    found.trim().parse().unwrap_or_else(|_| panic!("one process, not {found:?}"))
}

fn count(chain: &Chain, script: &str) -> usize {
    chain.lab.sh(&format!("{script} | wc -l")).trim().parse().unwrap()
}

fn processes(chain: &Chain) -> usize {
    count(chain, "pidof bulkhead-vmm | tr ' ' '\\n'")
}

fn fetches(chain: &Chain, name: &str) -> bool {
    let page = chain.start_in(name, &format!("wget -q -T 5 -t 1 -O - {}", chain.web.url("page"))).wait();
    page.status == 0 && page.out == chain.web.page
}

/// Kills a process and waits until another one runs in its place; the reason is shown.
fn kill(chain: &Chain, name: &str, process: u32) {
    let before = chain.status(name)["restarts"].as_u64().unwrap();
    let begun = Instant::now();
    chain.lab.sh(&format!("kill -9 {process}"));
    let status = until(BACK, "the domain runs again", || {
        let status = chain.status(name);
        (status["restarts"].as_u64() == Some(before + 1) && status["state"] == "running").then_some(status)
    });
    eprintln!("{name}: runs again after {:.1} s", begun.elapsed().as_secs_f32());
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("signal 9") || reason.contains("SIGKILL"), "the reason: {status}");
    let table = chain.lab.sh("bulkhead status");
    assert!(table.contains(reason), "{table}");
}

/// netvm's process is killed in the middle of a download: the same connection delivers the rest.
pub(crate) fn connection_outlives_netvm(chain: &Chain) {
    let connections = chain.web.connections();
    let url = chain.web.url(&format!("slow/{LONG}"));
    let transfer =
        chain.start_in("work", &format!("wget -q -T 100 -t 1 -O /tmp/slow {url} && cat /tmp/slow | md5sum"));
    let arrived = || {
        chain
            .run_in("work", "stat -c %s /tmp/slow 2>/dev/null || echo 0")
            .trim()
            .parse::<usize>()
            .unwrap_or(0)
    };
    until(Duration::from_secs(20), "the first bytes", || (arrived() > 64 << 10).then_some(()));
    let netvm = process(chain, "vfio", "vda");
    kill(chain, "net", netvm);
    let at_restart = arrived();
    assert!(at_restart < LONG, "the transfer was still under way");
    let sum = transfer.wait().expect_success();
    let expected = md5(&bulk(LONG));
    assert_eq!(sum.split_whitespace().next(), Some(expected.as_str()), "what arrived is what was sent");
    assert_eq!(chain.web.connections(), connections + 1, "over one connection");
    assert_eq!(processes(chain), 4);
    assert_eq!(
        count(chain, "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e /dev/vfio/[0-9]"),
        1,
        "one holder of the group"
    );
    assert_eq!(chain.lab.sh("ls /sys/class/net"), "lo\n");
}

/// firewallvm's process is killed: its clients open new connections as soon as it is back.
pub(crate) fn clients_outlive_firewallvm(chain: &Chain) {
    let firewall = process(chain, "bulkhead", "vfio\\|vda");
    kill(chain, "firewall", firewall);
    for name in ["work", "personal"] {
        until(BACK, "a page", || fetches(chain, name).then_some(()));
    }
    assert_eq!(processes(chain), 4);
}

/// An AppVM whose processor shuts down is not replaced, and the user is told why.
pub(crate) fn triple_fault_is_told(chain: &Chain) {
    let _ = chain
        .start_in(
            "personal",
            "echo triple >/sys/kernel/reboot/type; echo 1 >/sys/kernel/reboot/force; reboot -ff",
        )
        .wait();
    let status = until(BACK, "the end of personal", || {
        let status = chain.status("personal");
        (status["state"] == "failed").then_some(status)
    });
    assert!(status["reason"].as_str().unwrap_or_default().contains("triple fault"), "{status}");
    assert_eq!(processes(chain), 3);
    assert!(fetches(chain, "work"), "the others go on");
    let refused = chain.lab.dom0("bulkhead run personal -- true").wait().expect_failure();
    assert!(refused.contains("personal") && refused.contains("bulkhead up personal"), "{refused}");
}

/// An AppVM that reboots comes back, online; one that powers off stays down.
pub(crate) fn reboot_and_power_off_are_told_apart(chain: &Chain) {
    let _ = chain.start_in("work", "systemctl reboot -ff").wait();
    let status = until(BACK, "the reboot of work", || {
        let status = chain.status("work");
        (status["restarts"] == 1).then_some(status)
    });
    assert!(status["reason"].as_str().unwrap_or_default().contains("rebooted"), "{status}");
    chain.wait_online("work");
    assert!(fetches(chain, "work"));
    let _ = chain.start_in("work", "systemctl poweroff -ff").wait();
    let status = until(BACK, "the end of work", || {
        let status = chain.status("work");
        (status["state"] == "stopped").then_some(status)
    });
    assert!(status["reason"].as_str().unwrap_or_default().contains("powered off"), "{status}");
    assert_eq!(processes(chain), 2);
}

/// After `down` and `unassign` everything is as before: no process, no holder of the group, the card back with
/// its driver.
pub(crate) fn nothing_stays_behind(chain: &Chain) {
    let refused = chain.lab.dom0("bulkhead down net").wait().expect_failure();
    assert!(refused.contains("firewall") && refused.contains("--force"), "{refused}");
    let refused =
        chain.lab.dom0(&format!("bulkhead nic unassign {}", tests::lab::NIC)).wait().expect_failure();
    assert!(refused.contains("bulkhead down net"), "{refused}");
    chain.lab.sh("bulkhead down");
    assert_eq!(processes(chain), 0);
    assert_eq!(count(chain, "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e vfio -e memfd:link"), 0);
    chain.lab.sh(&format!("bulkhead nic unassign {}", tests::lab::NIC));
    let driver = chain.lab.sh(&format!("readlink /sys/bus/pci/devices/{}/driver", tests::lab::NIC));
    assert!(driver.trim().ends_with("/e1000e"), "{driver}");
    assert_eq!(chain.lab.sh("ls /sys/class/net"), "eth0\nlo\n");
    assert_eq!(chain.lab.sh("cat /etc/bulkhead/domains/net.toml | grep -c 0000: || true"), "0\n");
}
