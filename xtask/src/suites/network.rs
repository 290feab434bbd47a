//! The machines that the suites want, as network namespaces: a client, another client, the firewall, a router whose
//! next link is narrow, and the far host.
//!
//! ```text
//!  A 10.137.0.6 ──tap── firewall ──tap── router 192.0.2.1 ──veth, path MTU 1300 to .9── far host 198.51.100.9, .10
//!  B 10.137.0.10 ─tap──┘
//! ```

use super::Programs;
use crate::host;
use crate::namespace::{Ending, Namespace, start_ready};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// The far host's address without a narrow link before it.
pub(crate) const FAR4: &str = "198.51.100.10";
/// The same, IPv6.
pub(crate) const FAR6: &str = "2001:db8:ffff::10";
/// The far host behind the narrow link.
pub(crate) const NARROW4: &str = "198.51.100.9";
/// The same, IPv6.
pub(crate) const NARROW6: &str = "2001:db8:ffff::9";
/// Client A.
pub(crate) const CLIENT4: &str = "10.137.0.6";
/// The same, IPv6.
pub(crate) const CLIENT6: &str = "fd09:24ef:4179:1:62:6bff:fe00:1";
/// Client A's hardware address.
pub(crate) const CLIENT_MAC: &str = "02:62:6b:00:00:01";
/// Client A's interface.
pub(crate) const CLIENT_IF: &str = "bha";
/// The firewall's hardware address, and what it calls itself towards client A.
pub(crate) const FIREWALL_MAC: &str = "fe:ff:ff:ff:ff:ff";
/// The firewall towards client A.
pub(crate) const GATEWAY4: &str = "10.137.0.5";

/// Whether namespaces and tap devices can be made.
///
/// # Errors
/// What is missing.
pub(crate) fn possible() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root (or: unshare -Ur cargo xtask suites)");
    }
    host::install(&[("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")])?;
    let tun = Path::new("/dev/net/tun");
    if !tun.exists() {
        bail!("there is no /dev/net/tun (modprobe tun)");
    }
    let tried = Command::new("unshare")
        .args(["--net", "ip", "tuntap", "add", "bhx", "mode", "tap"])
        .env("PATH", host::path())
        .stderr(Stdio::null())
        .status()
        .context("cannot run unshare")?;
    if !tried.success() {
        bail!("this machine lets nobody make a network namespace with a tap device in it");
    }
    Ok(())
}

/// The machines; they are gone with this value.
pub(crate) struct Network {
    client: Namespace,
    firewall: Ending,
    _reflector: Ending,
    _others: Vec<Namespace>,
}

impl Network {
    /// Makes the machines. A `quiet` client has no address: its kernel does not answer what a script's own packets
    /// bring back.
    ///
    /// # Errors
    /// What could not be made.
    pub(crate) fn new(programs: &Programs, quiet: bool) -> Result<Self> {
        let [client, other, between, router, far] = {
            let mut made = (0..5).map(|_| Namespace::new());
            let mut next = || made.next().context("five").flatten();
            [next()?, next()?, next()?, next()?, next()?]
        };
        let firewall = start(&between, &programs.firewall, &["bha", "bhb", "bhu"])?;
        between.shell(&format!(
            "ip link set bha netns {}; ip link set bhb netns {}; ip link set bhu netns {}",
            client.pid(),
            other.pid(),
            router.pid()
        ))?;
        client.shell(&client_lines(quiet))?;
        router.shell(&format!("{ROUTER}\nip link add veth type veth peer name eth netns {}", far.pid()))?;
        router.shell(ROUTER_TO_FAR)?;
        far.shell(FAR)?;
        if !quiet {
            // The scripts of fragments take "don't fragment" in an answer for a fault.
            far.shell("echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc")?;
        }
        let reflector = start(&far, &programs.reflector, &["serve", FAR4, FAR6, NARROW4, NARROW6])?;
        Ok(Self { client, firewall, _reflector: reflector, _others: vec![other, between, router, far] })
    }

    /// A program in the client.
    pub(crate) fn in_client(&self, program: &Path) -> Command {
        self.client.command(program)
    }

    /// Whether the firewall still runs.
    pub(crate) fn stands(&mut self) -> bool {
        matches!(self.firewall.0.try_wait(), Ok(None))
    }
}

/// Starts one of our programs in a namespace.
fn start(namespace: &Namespace, program: &Path, args: &[&str]) -> Result<Ending> {
    let mut command = namespace.command(program);
    command.args(args);
    start_ready(command, &program.display().to_string())
}

fn client_lines(quiet: bool) -> String {
    let common = format!(
        "echo 0 > /proc/sys/net/ipv6/conf/{CLIENT_IF}/accept_ra\n\
         ip link set lo up\n\
         ip link set {CLIENT_IF} address {CLIENT_MAC}\n\
         ip link set {CLIENT_IF} up\n"
    );
    let addresses = if quiet {
        format!(
            "ip route add default via {GATEWAY4} dev {CLIENT_IF} onlink\n\
             ip route add default via fe80::fcff:ffff:feff:ffff dev {CLIENT_IF}"
        )
    } else {
        format!(
            "ip addr add {CLIENT4}/30 dev {CLIENT_IF}\nip route add default via {GATEWAY4}\n\
             ip addr add {CLIENT6}/64 dev {CLIENT_IF} nodad\n\
             ip route add default via fe80::fcff:ffff:feff:ffff dev {CLIENT_IF}"
        )
    };
    common + &addresses
}

const ROUTER: &str = "ip link set lo up
ip link set bhu up
ip addr add 192.0.2.1/24 dev bhu
ip addr add 2001:db8:7::1/64 dev bhu nodad
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";

const ROUTER_TO_FAR: &str = "ip link set veth up
ip addr add 198.51.100.1/24 dev veth
ip addr add 2001:db8:ffff::1/64 dev veth nodad
ip route add 198.51.100.9/32 dev veth mtu 1300
ip route add 2001:db8:ffff::9/128 dev veth mtu 1300";

const FAR: &str = "ip link set lo up
ip link set eth up
for n in 9 10; do
  ip addr add 198.51.100.$n/24 dev eth
  ip addr add 2001:db8:ffff::$n/64 dev eth nodad
done
ip route add default via 198.51.100.1
ip route add default via 2001:db8:ffff::1";
