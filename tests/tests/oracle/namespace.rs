//! A network namespace of the test's own, in which Linux is a router: a tap for the client, one for another domain, one
//! for the uplink. A test program that needs one runs itself again in it.

use dom0::tap;
use rustix::fd::OwnedFd;
use std::{
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    process::{Command, Stdio},
};

/// Set in the program that runs inside.
const INSIDE: &str = "BULKHEAD_ORACLE_INSIDE";
/// `struct virtio_net_hdr`, which precedes frames on a tap as dom0 opens it. Zeros: nothing was offloaded.
const VNET_HEADER: usize = 10;

/// Runs the body of the test `name` in a namespace; says aloud when that is impossible here.
pub(crate) fn inside(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(why) = possible() {
        // Not `eprintln!`: that is kept from the user while a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {why}");
        return;
    }
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("PATH", path())
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its namespace: see above");
}

/// `PATH` with the administrators' directories.
fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn possible() -> Result<(), String> {
    let nft = Command::new("unshare")
        .args(["--net", "nft", "list", "ruleset"])
        .env("PATH", path())
        .output()
        .map_err(|e| format!("unshare: {e}"))?;
    if !nft.status.success() {
        let said = String::from_utf8_lossy(&nft.stderr).trim().to_owned();
        return Err(format!("needs root, and nftables in the kernel and as a program: {said}"));
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Err("needs /dev/net/tun".to_owned());
    }
    Ok(())
}

/// One end of a cable; the kernel has the other.
pub(crate) struct Tap(OwnedFd);

impl Tap {
    fn open(name: &str) -> Self {
        Self(tap::open(name).unwrap())
    }

    /// The kernel has done with the frame when this returns.
    pub(crate) fn send(&self, frame: &[u8]) {
        let bytes = [&[0; VNET_HEADER], frame].concat();
        assert_eq!(rustix::io::write(&self.0, &bytes).unwrap(), bytes.len());
    }

    /// What came out and was not yet read.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        let (mut frames, mut buffer) = (Vec::new(), vec![0; 70_000]);
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(len) => frames.push(buffer[VNET_HEADER.min(len)..len].to_vec()),
                Err(rustix::io::Errno::AGAIN) => return frames,
                Err(e) => panic!("a tap: {e}"),
            }
        }
    }
}

/// Linux as a router.
pub(crate) struct Router {
    pub client: Tap,
    pub peer: Tap,
    pub uplink: Tap,
}

/// Routes but no neighbours to be asked for; every client's network is behind the client's tap, the peer's behind its own.
const LINKS: &str = "\
link set lo up
link set client0 address fe:ff:ff:ff:ff:ff arp off up
link set peer0 address fe:ff:ff:ff:ff:ff arp off up
link set up0 address fe:ff:ff:ff:ff:ff arp off mtu 1400 up
addr add 192.168.7.20/24 dev up0
addr add 2001:db8:7::20/64 dev up0 nodad
route add 10.137.0.0/16 dev client0
route add 10.137.200.4/30 dev peer0
route add default via 192.168.7.1 dev up0
route add fd09:24ef:4179::/48 dev client0
route add fd09:24ef:4179:ff00::/64 dev peer0
route add ::/0 via 2001:db8:7::1 dev up0
";

/// A router that forwards, believes no foreign source address, opens no connection in the middle, and does not save on
/// errors.
const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/client0/rp_filter", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/client0/send_redirects", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "1000000"),
    ("net/ipv4/icmp_msgs_burst", "1000000"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
];

/// What surrounds a domain's table: the addresses' translation, no source address but the client's own (of all those
/// that rounds have, the one of this round), nothing for the router itself, nothing but DNS for the virtual name servers,
/// nothing for addresses of the inside that nobody has.
const SURROUNDINGS: &str = "
table inet surroundings {
  chain postrouting { type nat hook postrouting priority 100; oifname up0 masquerade; }
  set here4 { type ipv4_addr; }
  set here6 { type ipv6_addr; }
  chain prerouting {
    type filter hook prerouting priority -300;
    iifname client0 ip saddr != @here4 drop
    iifname client0 ip6 saddr != @here6 drop
    ip daddr 10.139.1.0/24 ip daddr != { 10.139.1.1, 10.139.1.2 } drop
    ip daddr { 10.139.1.1, 10.139.1.2 } meta l4proto != { tcp, udp } drop
    ip daddr { 10.139.1.1, 10.139.1.2 } th dport != 53 drop
    ip6 daddr fd09:24ef:4179::/48 ip6 daddr != fd09:24ef:4179:ff00::/64 iifname client0 drop
  }
  chain input { type filter hook input priority 0; drop; }
}
";

impl Router {
    pub(crate) fn new() -> Self {
        let [client, peer, uplink] = ["client0", "peer0", "up0"].map(Tap::open);
        run("ip", &["-batch", "-"], LINKS);
        run("nft", &["-f", "-"], SURROUNDINGS);
        for (name, value) in SETTINGS {
            // Where a limit is the whole machine's, this namespace has none.
            let set = std::fs::write(format!("/proc/sys/{name}"), value);
            assert!(set.is_ok() || name.contains("icmp_msgs"), "{name}: {set:?}");
        }
        Self { client, peer, uplink }
    }

    /// Loads a ruleset, as JSON.
    pub(crate) fn load(&self, json: &str) {
        run("nft", &["-j", "-f", "-"], json);
    }

    /// Lets this client's addresses come from the client's tap, and no other; removes the table that was there for another.
    pub(crate) fn admit(&self, v4: Ipv4Addr, v6: Ipv6Addr, before: Option<&str>) {
        let sets = [("here4", v4.to_string()), ("here6", v6.to_string())];
        let commands = sets.map(|(set, address)| {
            let set = format!("inet surroundings {set}");
            format!("flush set {set}\nadd element {set} {{ {address} }}\n")
        });
        let delete = before.map(|table| format!("delete table inet {table}\n"));
        self.tell(&(commands.concat() + &delete.unwrap_or_default()));
    }

    /// Carries out commands of nft's own language.
    pub(crate) fn tell(&self, commands: &str) {
        run("nft", &["-f", "-"], commands);
    }
}

/// Runs a program with this input and gives what it says.
fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}\n{input}");
    String::from_utf8(done.stdout).unwrap()
}
