//! The kernel's own packet filter between two veth pairs, and a sender that costs it as little as possible.
//!
//! Three network namespaces: ours sends, `router` filters and forwards, `sink` drops whatever arrives at its door. The
//! sender, the softirq that routes and the drop at the end all run on one processor, within `sendmmsg`.
#![expect(
    unsafe_code,
    reason = "packet sockets of the kernel, which no library offers with bypass of the queue"
)]

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::Small;

/// Frames for one system call.
pub(crate) const BATCH: usize = 64;

/// Names that nothing else on the machine has.
const ROUTER: &str = "bulkhead-bench-router";
const SINK: &str = "bulkhead-bench-sink";
const FROM: &str = "bhbench0";

/// The router, and a socket that sends to it.
pub(crate) struct Router {
    socket: i32,
    /// Hardware address of the router's end.
    mac: [u8; 6],
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(args).stderr(Stdio::piped()).output().map_err(|e| e.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
}

fn ip(line: &str) -> Result<(), String> {
    run("ip", &line.split_whitespace().collect::<Vec<_>>())
}

/// Loads a rule set in a namespace.
fn nft(namespace: &str, rules: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    child.stdin.take().expect("piped").write_all(rules.as_bytes()).map_err(|e| e.to_string())?;
    let done = child.wait_with_output().map_err(|e| e.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

impl Router {
    /// Builds it.
    ///
    /// # Errors
    /// What is missing: root, `ip`, `nft`, or support by the kernel.
    pub(crate) fn new() -> Result<Self, String> {
        remove();
        let lines = [
            format!("netns add {ROUTER}"),
            format!("netns add {SINK}"),
            format!("link add {FROM} type veth peer name in netns {ROUTER}"),
            format!("link add out netns {ROUTER} type veth peer name end netns {SINK}"),
            format!("link set {FROM} up"),
            format!("-n {ROUTER} link set lo up"),
            format!("-n {ROUTER} link set in address 02:00:00:00:00:01 up"),
            format!("-n {ROUTER} link set out up"),
            format!("-n {SINK} link set end up"),
            format!("-n {ROUTER} addr add 10.137.255.254/16 dev in"),
            format!("-n {ROUTER} addr add 192.168.7.20/24 dev out"),
            format!("-n {ROUTER} neigh add 192.168.7.1 lladdr 02:00:00:00:00:02 dev out"),
            format!("-n {ROUTER} route add default via 192.168.7.1"),
        ];
        let built = lines.iter().try_for_each(|line| ip(line)).and_then(|()| {
            let knobs = [
                "net.ipv4.ip_forward=1",
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.in.rp_filter=0",
                "net.ipv6.conf.all.disable_ipv6=1",
            ];
            let set = |knob: &&str| run("ip", &["netns", "exec", ROUTER, "sysctl", "-qw", knob]);
            knobs.iter().try_for_each(set)?;
            nft(SINK, "table netdev t { chain c { type filter hook ingress device end priority 0; counter drop; }; }")
        });
        let socket = built.and_then(|()| open_socket());
        match socket {
            Ok(socket) => Ok(Self { socket, mac: [2, 0, 0, 0, 0, 1] }),
            Err(why) => {
                remove();
                Err(why)
            }
        }
    }

    /// Puts other rules in force, and forgets every connection.
    ///
    /// # Errors
    /// What `nft` says.
    pub(crate) fn rules(&self, rules: &str) -> Result<(), String> {
        nft(ROUTER, &format!("flush ruleset\n{rules}"))
    }

    /// Sends frames in batches; gives the time that each batch took.
    pub(crate) fn send(&self, frames: &[Small]) -> Vec<Duration> {
        let mut frames: Vec<Small> = frames.to_vec();
        for frame in &mut frames {
            frame[..6].copy_from_slice(&self.mac);
        }
        let mut parts: Vec<libc::iovec> = frames
            .iter_mut()
            .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
            .collect();
        let mut times = Vec::new();
        for batch in parts.chunks_mut(BATCH) {
            // SAFETY: a message header of zeros is valid, and so is one with a pointer to a vector that lives on.
            let mut messages: Vec<libc::mmsghdr> = vec![unsafe { std::mem::zeroed() }; batch.len()];
            for (message, part) in messages.iter_mut().zip(batch.iter_mut()) {
                (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
            }
            let count = u32::try_from(messages.len()).expect("few");
            let start = Instant::now();
            // SAFETY: the messages, the vectors and the frames that they point to live until the call is over.
            let sent = unsafe { libc::sendmmsg(self.socket, messages.as_mut_ptr(), count, 0) };
            times.push(start.elapsed());
            assert_eq!(usize::try_from(sent), Ok(messages.len()), "every frame was sent");
        }
        times
    }

    /// Packets that arrived at the sink so far.
    ///
    /// # Errors
    /// What `nft` says.
    pub(crate) fn arrived(&self) -> Result<u64, String> {
        let listed = Command::new("ip").args(["netns", "exec", SINK, "nft", "list", "ruleset"]).output();
        let text = String::from_utf8_lossy(&listed.map_err(|e| e.to_string())?.stdout).into_owned();
        let after = text.split("packets ").nth(1).and_then(|rest| rest.split_whitespace().next());
        after.and_then(|number| number.parse().ok()).ok_or_else(|| "no counter in the sink".to_owned())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // SAFETY: the socket is ours and open.
        unsafe { libc::close(self.socket) };
        remove();
    }
}

fn remove() {
    for line in [format!("link del {FROM}"), format!("netns del {ROUTER}"), format!("netns del {SINK}")] {
        // What is not there need not be removed.
        let _ = ip(&line);
    }
}

/// Keeps this thread, and with it the kernel's work for it, on one processor from now on.
pub(crate) fn stay_here() {
    // SAFETY: a set of zeros is valid, and the calls write within it or read it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or(0), &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// A packet socket that sends through [`FROM`] past every queue.
fn open_socket() -> Result<i32, String> {
    let name = std::ffi::CString::new(FROM).expect("no zero in it");
    // SAFETY: the name ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    // SAFETY: opens a socket; nothing else is touched.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if index == 0 || socket < 0 {
        return Err(format!("a packet socket: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: an address of zeros is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("small");
    address.sll_ifindex = i32::try_from(index).expect("small");
    let (on, len) = (1i32, |bytes: usize| u32::try_from(bytes).expect("small"));
    // SAFETY: address and option live until the calls are over, and their lengths are right.
    let done = unsafe {
        libc::bind(socket, (&raw const address).cast(), len(size_of_val(&address)))
            | libc::setsockopt(
                socket,
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                len(size_of_val(&on)),
            )
    };
    if done == 0 { Ok(socket) } else { Err(format!("a packet socket: {}", std::io::Error::last_os_error())) }
}
