//! The chain, started as a user starts it, and how the steps look into it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tests::lab::station::Station;
use tests::lab::web::Web;
use tests::lab::{Lab, NIC, Pending, Stage, Wishes, until};

/// Longest that an AppVM may take to boot, emulated twice.
const BOOT: Duration = Duration::from_secs(180);

/// The running chain and its surroundings.
pub(crate) struct Chain {
    pub(crate) lab: Lab,
    pub(crate) web: Web,
    pub(crate) station: Station,
    /// netvm's address on the outer network.
    pub(crate) uplink: Ipv4Addr,
}

impl Chain {
    /// Boots the lab, takes the card from dom0, starts every domain and waits until both AppVMs are online.
    pub(crate) fn up(stage: &Stage) -> Self {
        let (web, station) = (Web::serve(), Station::new());
        let lab = Lab::boot(stage, &station.plug(Wishes::default()));
        lab.sh("for module in kvm-amd vfio-pci vfio_iommu_type1 e1000e; do modprobe $module || exit 1; done");
        let before = lab.sh("ls /sys/class/net");
        assert!(
            before.split_whitespace().any(|name| name == "eth0"),
            "dom0 owns its card at first: {before}"
        );
        lab.start_daemon();
        lab.sh("cp /host/domains/*.toml /etc/bulkhead/domains/");
        lab.sh(&format!("bulkhead nic assign {NIC} net"));
        let begun = Instant::now();
        lab.sh("bulkhead up");
        eprintln!("chain: every domain is up after {:.1} s", begun.elapsed().as_secs_f32());
        let mut chain = Self { lab, web, station, uplink: Ipv4Addr::UNSPECIFIED };
        std::thread::scope(|scope| {
            for name in ["work", "personal"] {
                let chain = &chain;
                scope.spawn(move || chain.wait_online(name));
            }
        });
        eprintln!("chain: both AppVMs are online after {:.1} s", begun.elapsed().as_secs_f32());
        chain.uplink = until(Duration::from_secs(30), "netvm's address", || chain.uplink_now());
        chain
    }

    /// Waits until an AppVM has an address.
    pub(crate) fn wait_online(&self, name: &str) {
        until(BOOT, "the AppVM's agent answers", || {
            // Of a machine that has ended no answer will come.
            assert_ne!(self.status(name)["state"], "failed", "{name} ended by itself");
            (self.start_in(name, "true").within(BOOT).status == 0).then_some(())
        });
        self.start_in(name, "systemctl start network-online.target").within(BOOT).expect_success();
    }

    fn uplink_now(&self) -> Option<Ipv4Addr> {
        let net = self.status("net");
        net["addresses"].as_array()?.iter().find_map(|a| a.as_str()?.split('/').next()?.parse().ok())
    }

    /// Starts a shell script in an AppVM.
    pub(crate) fn start_in(&self, name: &str, script: &str) -> Pending {
        let quoted = script.replace('\'', r"'\''");
        self.lab.dom0(&format!("bulkhead run {name} -- sh -c '{quoted}'"))
    }

    /// Runs a shell script in an AppVM that must succeed; its standard output.
    pub(crate) fn run_in(&self, name: &str, script: &str) -> String {
        self.start_in(name, script).wait().expect_success()
    }

    /// One domain of `bulkhead status --json`.
    pub(crate) fn status(&self, name: &str) -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&self.lab.sh("bulkhead status --json")).unwrap();
        let mut all = all.as_array().unwrap().iter();
        all.find(|domain| domain["name"] == name).unwrap_or_else(|| panic!("no domain {name}")).clone()
    }

    /// Address of an AppVM on its link.
    pub(crate) fn address(&self, name: &str) -> Ipv4Addr {
        self.status(name)["addresses"][0].as_str().unwrap().parse().unwrap()
    }

    /// Every counter of a domain.
    pub(crate) fn counters(&self, name: &str) -> BTreeMap<String, u64> {
        serde_json::from_str(&self.lab.sh(&format!("bulkhead counters {name} --json"))).unwrap()
    }
}
