//! The Tor gateway in the whole chain, in the lab: a network card behind VFIO, netvm, firewallvm, torvm, AppVMs. The
//! lab's cable ends in the namespace of a private Tor network; the judge of the leak suite reads what was on it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;
use tests::lab::{Lab, NIC, NIC_MAC, Pending, Stage, Wishes, until};
use tests::leaks::capture::Capture;
use tests::leaks::{BringUp, Cable, Report, SMOLTCP_SYN};
use tests::promises::Promises;

/// Longest that an AppVM may take to boot, emulated twice: four times what it takes. One that stops in its boot is met now
/// and then, and waited for no longer.
const BOOT: Duration = Duration::from_secs(240);
/// Longest from there to a page, and to all else that has to come.
const PATIENCE: Duration = Duration::from_secs(300);
/// In every request of an AppVM.
const MARK: &str = "marked-request-of-an-appvm";
/// What the private network's files are for dom0.
const NETWORK: &str = "/etc/bulkhead/tor-network.toml";

struct Chain {
    lab: Lab,
    network: Network,
}

/// What `network.json` says, as far as it is needed here.
#[derive(serde::Deserialize)]
struct Network {
    or_addresses: Vec<SocketAddrV4>,
    web: Vec<std::net::IpAddr>,
    page: String,
}

impl Chain {
    fn up(stage: &Stage, directory: &std::path::Path) -> Self {
        let read = |name| std::fs::read_to_string(directory.join(name)).unwrap();
        let network: Network = serde_json::from_str(&read("network.json")).unwrap();
        let lab = Lab::boot(stage, &Wishes::default());
        lab.sh("for module in kvm-amd vfio-pci vfio_iommu_type1 e1000e; do modprobe $module || exit 1; done");
        lab.start_daemon();
        lab.sh(&format!(
            "cp /host/domains/*.toml /etc/bulkhead/domains/
            sed -i 's#^network = .*#network = \"{NETWORK}\"#' /etc/bulkhead/domains/tor.toml
            cat >{NETWORK} <<'END'\n{}\nEND",
            read("network.toml")
        ));
        // Another one like it, but free to be led elsewhere.
        lab.sh("sed -e 's/^anonymous.*//' -e 's/hostname=anon/hostname=veiled/' -e 's/^autostart.*//' \
             /etc/bulkhead/domains/anon.toml >/etc/bulkhead/domains/veiled.toml");
        lab.sh(&format!("bulkhead nic assign {NIC} net"));
        lab.sh("bulkhead up");
        let chain = Self { lab, network };
        chain.wait_for_agent("anon");
        chain
    }

    fn wait_for_agent(&self, name: &str) {
        until(BOOT, "the AppVM's agent answers", || {
            // Of a machine that has ended no answer will come.
            assert_ne!(self.status(name)["state"], "failed", "{name} ended by itself");
            (self.start_in(name, "true").within(BOOT).status == 0).then_some(())
        });
        self.start_in(name, "systemctl start network-online.target").within(BOOT).expect_success();
    }

    fn start_in(&self, name: &str, script: &str) -> Pending {
        let quoted = script.replace('\'', r"'\''");
        self.lab.dom0(&format!("bulkhead run {name} -- sh -c '{quoted}'"))
    }

    fn fetches(&self, name: &str) -> bool {
        let url = format!("http://{}/?{MARK}", self.network.web[0]);
        let page = self.start_in(name, &format!("wget -q -T 20 -t 1 -O - '{url}'")).wait();
        page.status == 0 && page.out == self.network.page
    }

    fn wait_for_page(&self, name: &str) {
        until(PATIENCE, "a page through Tor", || self.fetches(name).then_some(()));
    }

    fn status(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.lab.sh("bulkhead status --json")).unwrap();
        let mut all = all.as_array().unwrap().iter();
        all.find(|domain| domain["name"] == name).unwrap_or_else(|| panic!("no domain {name}")).clone()
    }

    fn capture(&self) -> Capture {
        Capture::running(&std::fs::read(self.lab.directory().join("cable.pcap")).unwrap())
    }

    /// What may be on the lab's cable.
    fn cable(&self) -> Cable {
        Cable {
            card: NIC_MAC,
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            routers: vec![Ipv4Addr::new(10, 0, 2, 2)],
            stations: vec![
                [0x52, 0x55, 10, 0, 2, 2],
                [0x52, 0x55, 10, 0, 2, 3],
                [0x52, 0x56, 0, 0, 0, 2],
                [0x52, 0x56, 0, 0, 0, 3],
            ],
            relays: self.network.or_addresses.iter().copied().collect(),
            // firewallvm has forwarded it.
            ttl: 63,
            syn_options: SMOLTCP_SYN,
            bring_up: BringUp::Netvm,
            secrets: vec![MARK.as_bytes().to_vec()],
        }
    }

    fn judge(&self) -> Report {
        std::thread::sleep(Duration::from_millis(300));
        self.cable().judge(&self.capture()).unwrap_or_else(|leaks| panic!("{leaks}"))
    }

    /// Opens a connection from an AppVM that lasts, and another one whenever it ends, until [`Self::close`].
    fn keep_open(&self, name: &str) -> Pending {
        let url = format!("http://{}/long", self.network.web[0]);
        let limit = PATIENCE.as_secs();
        self.start_in(
            name,
            &format!(
                "rm -f /tmp/enough
                end=$(($(date +%s) + {limit}))
                while [ ! -e /tmp/enough ] && [ $(date +%s) -lt $end ]; do
                    timeout {limit} wget -q -T 40 -t 1 -O /dev/null '{url}' || sleep 1
                done"
            ),
        )
    }

    /// Ends what [`Self::keep_open`] holds open.
    fn close(&self, name: &str) {
        let script = "touch /tmp/enough
            for process in /proc/[0-9]*; do
                [ \"$(cat $process/comm 2>/dev/null)\" = wget ] && kill ${process#/proc/}
            done
            true";
        self.start_in(name, script).within(PATIENCE).expect_success();
    }

    /// Starts to send everything from an AppVM, for so long: pages, and what may not leave.
    fn load(&self, name: &str, seconds: u32) -> Pending {
        let web = self.network.web[0];
        self.start_in(
            name,
            &format!(
                "end=$(($(date +%s) + {seconds}))
                while [ $(date +%s) -lt $end ]; do
                    wget -q -T 10 -t 1 -O /dev/null 'http://{web}/bytes/50000?{MARK}' &
                    ping -c 1 -W 1 {web} >/dev/null 2>&1
                    ping -6 -c 1 -W 1 2001:db8:80::80 >/dev/null 2>&1
                    for to in {web}/53 {web}/123 {web}/443 224.0.0.251/5353 10.0.2.3/53 10.0.2.2/5355; do
                        bash -c \"echo {MARK} >/dev/udp/$to\" 2>/dev/null
                    done
                    timeout 1 bash -c 'echo {MARK} >/dev/tcp/9.9.9.9/853' 2>/dev/null
                    getent hosts {MARK}.page.test >/dev/null
                done
                wait; true"
            ),
        )
    }
}

/// From power-on to a page: DHCP and discovery of the card, relays, nothing else.
fn bring_up(chain: &Chain) {
    chain.wait_for_page("anon");
    let report = chain.judge();
    eprintln!("{report:?}");
    assert!(report.connections > 0 && report.relay_frames() > 20, "{report:?}");
}

/// netvm, firewallvm and torvm are killed while an AppVM sends everything.
fn restarts(chain: &Chain) {
    let load = chain.load("anon", 60);
    for (name, holds, holds_not) in [
        ("net", "/dev/vfio/", "vda"),
        ("firewall", "bulkhead", "vfio\\|vda\\|store"),
        ("tor", "store", "vfio"),
    ] {
        let before = chain.status(name)["restarts"].as_u64().unwrap();
        let found = chain.lab.sh(&format!(
            "for p in $(pidof bulkhead-vmm); do
                open=$(ls -l /proc/$p/fd)
                echo \"$open\" | grep -q -e '{holds}' || continue
                echo \"$open\" | grep -q -e '{holds_not}' || echo $p
            done"
        ));
        let process: u32 =
            found.trim().parse().unwrap_or_else(|_| panic!("one process for {name}: {found:?}"));
        chain.lab.sh(&format!("kill -9 {process}"));
        until(PATIENCE, "the domain runs again", || {
            let status = chain.status(name);
            (status["restarts"].as_u64() > Some(before) && status["state"] == "running").then_some(())
        });
        chain.judge();
    }
    load.within(PATIENCE).expect_success();
    chain.wait_for_page("anon");
    chain.judge();
}

/// Two AppVMs have streams to one server at the same time: no circuit carries both.
fn circuits(chain: &Chain) {
    chain.lab.sh("bulkhead up veiled");
    chain.wait_for_agent("veiled");
    let open: Vec<Pending> = ["anon", "veiled", "anon", "veiled"].map(|name| chain.keep_open(name)).into();
    let by_client = until(PATIENCE, "circuits of both AppVMs", || {
        let text = chain.lab.sh("bulkhead tor circuits --json");
        let circuits: Value = serde_json::from_str(&text).unwrap();
        let mut by_client: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for circuit in circuits.as_array().unwrap() {
            let word = |name: &str| circuit[name].as_str().unwrap().to_owned();
            by_client.entry(word("client")).or_default().insert(word("id"));
        }
        (by_client.len() == 2).then_some(by_client)
    });
    eprintln!("{by_client:?}");
    let (anon, veiled) = (&by_client["anon"], &by_client["veiled"]);
    assert!(anon.is_disjoint(veiled), "a circuit is shared: {by_client:?}");
    ["anon", "veiled"].iter().for_each(|name| chain.close(name));
    open.into_iter().for_each(|pending| drop(pending.within(PATIENCE)));
    chain.judge();
}

/// An AppVM is led around Tor and back. While it is behind torvm nothing of it leaves; an anonymous one is not led at
/// all.
fn another_way(chain: &Chain) {
    let refused = chain.lab.dom0("bulkhead route anon --via firewall").wait().expect_failure();
    assert!(refused.contains("anonymous"), "{refused}");
    chain.wait_for_page("anon");
    chain.judge();
    // Whoever is led to the cable is seen there: the judge would notice.
    let before = chain.capture().records.len();
    chain.lab.sh("bulkhead route veiled --via firewall");
    let flow = chain.keep_open("veiled");
    until(PATIENCE, "its own connection on the cable", || {
        let leaks = chain.cable().judge(&chain.capture()).err()?;
        leaks.found.iter().any(|leak| leak.index >= before && leak.why.contains("not a relay")).then_some(())
    });
    chain.lab.sh("bulkhead route veiled --via tor");
    std::thread::sleep(Duration::from_millis(300));
    let after = chain.capture().records.len();
    let load = chain.load("veiled", 15);
    let _ = load.within(PATIENCE);
    chain.close("veiled");
    let _ = flow.within(PATIENCE);
    chain.wait_for_page("veiled");
    let leaks = chain.cable().judge(&chain.capture()).expect_err("what was led around Tor");
    let late: Vec<_> = leaks
        .found
        .iter()
        // What others still send to the connection that was cut is theirs.
        .filter(|leak| leak.index >= after && leak.frame[6..12] == NIC_MAC)
        .map(|leak| &leak.why)
        .collect();
    assert!(late.is_empty(), "after it was led back: {late:?}");
}

/// What is promised, and what fails when it is not kept.
type Step = (&'static str, fn(&Chain));

const STEPS: &[Step] = &[
    ("bring-up: the card's own, and relays", bring_up),
    ("netvm, firewallvm and torvm are killed under load", restarts),
    ("two AppVMs share no circuit", circuits),
    ("an AppVM is led around Tor and back", another_way),
];

#[test]
fn the_chain_leaks_nothing() {
    let Some(directory) = std::env::var_os("BULKHEAD_TOR_NETWORK").map(PathBuf::from) else {
        // Not `eprintln!`: that is kept from the user while a test passes.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: no private Tor network: run `cargo xtask test --only tor`");
        return;
    };
    let Some(stage) = Stage::find() else { return };
    let chain = Chain::up(&stage, &directory);
    let mut promises = Promises::default();
    for (name, step) in STEPS {
        if !promises.check(name, || step(&chain)) {
            let look = "bulkhead status; bulkhead tor status; bulkhead tor log | tail -n 20";
            eprintln!("{}", chain.lab.dom0(look).wait().out);
            // The next step would begin where this one has not come to.
            break;
        }
    }
    promises.all_kept();
}
