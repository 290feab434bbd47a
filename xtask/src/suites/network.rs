//! The machines that the suites want, as network namespaces: a client, another client, the firewall, a router whose
//! next link is narrow, and the far host.
//!
//! ```text
//!  A 10.137.0.6 ──tap── firewall ──tap── router 192.0.2.1 ──veth, path MTU 1300 to .9── far host 198.51.100.9, .10
//!  B 10.137.0.10 ─tap──┘
//! ```

use super::Programs;
use crate::host;
use anyhow::{Context, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// How long anything here takes to be there.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// A process that ends with this value: its standard input is ours.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace, held by a process.
struct Namespace(Ending);

impl Namespace {
    fn new() -> Result<Self> {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).env("PATH", host::path());
        let holder = Ending(holder.spawn().context("cannot run unshare")?);
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let (ours, begin) = (namespace("self"), Instant::now());
        while namespace(&holder.0.id().to_string()).is_none_or(|theirs| Some(theirs) == ours) {
            if begin.elapsed() > PATIENCE {
                bail!("unshare made no namespace");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self(holder))
    }

    fn pid(&self) -> String {
        self.0.0.id().to_string()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid(), "--"]).arg(program).env("PATH", host::path());
        command
    }

    /// Runs lines of shell in the namespace; all must succeed.
    fn shell(&self, lines: &str) -> Result<()> {
        let mut shell = self.command(Path::new("sh"));
        crate::packages::output(shell.args(["-e", "-c", lines])).map(drop)
    }

    /// Starts a program that says "ready", and ends when its standard input does.
    fn start(&self, program: &Path, args: &[&str]) -> Result<Ending> {
        let mut command = self.command(program);
        let child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = Ending(child.with_context(|| format!("cannot run {}", program.display()))?);
        let mut line = String::new();
        if let Some(out) = child.0.stdout.take() {
            let mut out = BufReader::new(out);
            out.read_line(&mut line)?;
            // What it says at its end has a reader as long as it lives.
            std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        }
        if line.trim() != "ready" {
            bail!("{} did not get ready", program.display());
        }
        Ok(child)
    }
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
        let firewall = between.start(&programs.firewall, &["bha", "bhb", "bhu"])?;
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
        let reflector = far.start(&programs.reflector, &["serve", FAR4, FAR6, NARROW4, NARROW6])?;
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
