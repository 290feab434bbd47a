//! Nobody reaches an AppVM who was not asked: not from outside, not from the other AppVM.

use super::cable::is_from_outside;
use super::system::Chain;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tests::lab::cable::Frame;
use tests::lab::station::{self, Way, tcp_segment, udp_datagram};
use tests::lab::{Pending, until};

const SYN: u8 = 2;
/// From which the station sends, and nobody else.
const PORT: u16 = 4444;
/// In everything that must not arrive.
const MARK: &str = "b5b5b5b5b5b5b5b5";
const MARK_BYTES: [u8; 8] = [0xb5; 8];

/// Prints every frame that the AppVM receives, in hexadecimal, until it is told to end: what is sent is left out.
const SNIFFER: &str = r#"perl -e '
    socket(S, 17, 3, 0x0300) or die "packet socket: $!";
    $| = 1;
    open(R, ">/tmp/sniffing");
    close(R);
    $end = time + 100;
    while (time < $end && -e "/tmp/sniffing") {
        $r = ""; vec($r, fileno(S), 1) = 1;
        next unless select($r, undef, undef, 0.2);
        $from = recv(S, $b, 2000, 0);
        print unpack("H*", $b), "\n" if unpack("x10C", $from) != 4;
    }'"#;

/// A sniffer at work in an AppVM.
struct Sniffer<'c> {
    chain: &'c Chain,
    name: &'c str,
    running: Pending,
}

impl<'c> Sniffer<'c> {
    /// Starts it and waits until it listens.
    fn start(chain: &'c Chain, name: &'c str) -> Self {
        chain.run_in(name, "rm -f /tmp/sniffing");
        let running = chain.start_in(name, SNIFFER);
        let listens = "for tenth in $(seq 200); do [ -e /tmp/sniffing ] && exit 0; sleep 0.1; done; exit 1";
        chain.run_in(name, listens);
        Self { chain, name, running }
    }

    /// Ends it; what it has heard.
    fn heard(self) -> Vec<Frame> {
        self.chain.run_in(self.name, "sleep 1; rm /tmp/sniffing");
        let text = self.running.wait().expect_success();
        let frame = |line: &str| -> Option<Frame> {
            let byte = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
            (0..line.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Frame)
        };
        text.lines().map(|line| frame(line).expect("hexadecimal")).collect()
    }
}

/// A station on the cable sends what opens connections, to the uplink's address and to inner ones, from its own
/// address and from forged ones. Nothing arrives, nothing is answered, and firewallvm counts what it dropped.
pub(crate) fn outsiders_get_nothing(chain: &Chain) {
    let work = chain.address("work");
    let gateway = Ipv4Addr::from_bits(work.to_bits() - 1);
    let before = chain.counters("firewall");
    let sniffer = Sniffer::start(chain, "work");
    let mut to_uplink = 0;
    for from in [station::ADDRESS, Ipv4Addr::new(198, 51, 100, 7), chain.address("personal")] {
        for (to, port) in [(chain.uplink, 22), (chain.uplink, 40_000), (work, 80), (gateway, 53)] {
            let way = Way { from: (from, PORT), to: (to, port) };
            chain.station.send(&tcp_segment(way, SYN));
            chain.station.send(&udp_datagram(way, &MARK_BYTES));
            to_uplink += if to == chain.uplink { 2 } else { 0 };
        }
    }
    // The sniffer hears at all.
    chain.run_in("work", &format!("ping -c 1 -W 5 {gateway}"));
    let heard = sniffer.heard();
    let answer = |frame: &&Frame| frame.addresses() == Some((gateway.into(), work.into()));
    assert!(heard.iter().any(|frame| answer(&frame)), "the gateway's answer: {heard:x?}");
    let theirs =
        |frame: &&Frame| [6, 17].iter().any(|p| frame.ports(*p).is_some_and(|(from, _)| from == PORT));
    let intruders: Vec<_> = heard.iter().filter(theirs).collect();
    assert!(intruders.is_empty(), "{intruders:x?}");

    let cable = chain.lab.cable();
    let sent = cable.iter().filter(|frame| frame.from() == station::MAC);
    assert_eq!(sent.count(), 24, "the station's frames were on the cable");
    let answers: Vec<_> = cable
        .iter()
        .filter(|frame| !is_from_outside(frame) && frame.is_ip())
        .filter(|frame| frame.addresses().is_some_and(|(_, to)| to == IpAddr::V4(station::ADDRESS)))
        .collect();
    assert!(answers.is_empty(), "answers to the station: {answers:x?}");
    // What is addressed to the uplink comes as far as firewallvm, save what claims an inner source.
    until(Duration::from_secs(5), "firewallvm counts what it dropped", || {
        let now = chain.counters("firewall");
        let more = |name: &str| now[name] - before[name];
        let dropped =
            more("drop_no_flow") + more("drop_tcp_not_syn") + more("drop_spoofed") + more("drop_policy");
        (dropped >= to_uplink * 2 / 3).then_some(())
    });
}

/// An AppVM's own IPv6 address, or that of its link while the outer network has given none.
fn address_v6(chain: &Chain, name: &str) -> String {
    let shown = chain.run_in(name, "ip -6 -o addr show dev eth0");
    let addresses: Vec<_> =
        shown.split_whitespace().filter(|word| word.contains("::") || word.contains("/64")).collect();
    let global = addresses.iter().find(|address| address.starts_with("fd09:24ef:4179:"));
    let address =
        global.or(addresses.first()).unwrap_or_else(|| panic!("{name} has no IPv6 address: {shown}"));
    eprintln!("{name} has {address}");
    let zone = if address.starts_with("fe80") { "%eth0" } else { "" };
    address.split('/').next().unwrap_or_default().to_owned() + zone
}

/// What an AppVM with address `own` can try against the one with address `other`.
fn attack(own: Ipv4Addr, other: Ipv4Addr, other_v6: &str) -> String {
    format!(
        r#"
            ping -6 -q -c 2 -i 0.3 -W 1 -p {MARK} {other_v6} && echo REACHED ping of IPv6
            ping -q -c 2 -i 0.3 -W 1 -p {MARK} {other} && echo REACHED ping
            timeout 2 bash -c 'echo {MARK} >/dev/tcp/{other}/22' 2>/dev/null && echo REACHED tcp
            ip addr add {other}/32 dev eth0
            ping -q -c 2 -i 0.3 -W 1 -p {MARK} -I {other} 10.0.2.2 && echo REACHED as the other
            ip addr del {other}/32 dev eth0
            perl -e '
                use Socket;
                socket(S, 17, 3, 0x0300) or die;
                open(I, "/sys/class/net/eth0/ifindex"); $index = <I>;
                open(M, "/sys/class/net/eth0/address"); $mac = <M>; $mac =~ s/[^0-9a-f]//g; $mac = pack("H*", $mac);
                ($own, $other) = (inet_aton("{own}"), inet_aton("{other}"));
                $gate = "\xfe" . "\xff" x 5; $mark = pack("H*", "{MARK}");
                sub frame {{ send(S, $_[0] . "\0" x 24, 0, pack("S n i S C C a8", 17, 3, $index, 1, 0, 6, "")) or die $!; }}
                sub datagram {{
                    my ($from, $to) = @_;
                    my $header = pack("C C n n n C C n a4 a4", 0x45, 0, 36, 1, 0, 64, 17, 0, $from, $to);
                    my $sum = unpack("%32n*", $header); $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
                    substr($header, 10, 2) = pack("n", ~$sum & 0xffff);
                    return $header . pack("n n n n", 4444, 5555, 16, 0) . $mark;
                }}
                for $to ($gate, "\x02\x62\x6b\0\0\x01", "\x02\x62\x6b\0\0\x02", "\xff" x 6) {{
                    for $source ($mac, "\x02\x62\x6b\0\0\x01", "\x02\x62\x6b\0\0\x02", $gate) {{
                        frame($to . $source . "\x08\0" . datagram($own, $other));
                        frame($to . $source . "\x08\0" . datagram($other, $own));
                        frame($to . $source . "\x08\x06" . pack("n n C C n", 1, 0x800, 6, 4, 2) . $mac . $other . $to . $own . $mark);
                    }}
                }}
            '
            echo DONE"#
    )
}

/// One AppVM tries to reach the other: by its address, from a forged one, with a forged ARP answer, with frames
/// made out to the other's hardware address. The other hears none of it, nor does the cable.
pub(crate) fn appvms_do_not_reach_each_other(chain: &Chain) {
    for (from, to) in [("work", "personal"), ("personal", "work")] {
        let (own, other) = (chain.address(from), chain.address(to));
        let before = chain.counters("firewall");
        let sniffer = Sniffer::start(chain, to);
        let said = chain.start_in(from, &attack(own, other, &address_v6(chain, to))).wait().expect_success();
        let said: Vec<_> =
            said.lines().filter(|line| line.starts_with("REACHED") || *line == "DONE").collect();
        assert_eq!(said, ["DONE"], "from {from}");
        // It can be heard there at all.
        chain.run_in(to, &format!("ping -c 1 -W 5 {}", Ipv4Addr::from_bits(other.to_bits() - 1)));
        let heard = sniffer.heard();
        let gateway = IpAddr::V4(Ipv4Addr::from_bits(other.to_bits() - 1));
        assert!(heard.iter().any(|frame| frame.addresses() == Some((gateway, other.into()))), "{heard:x?}");
        let arrived: Vec<_> = heard
            .iter()
            .filter(|f| {
                let opens = f.ports(6).is_some_and(|(_, port)| port == 22);
                let from = f.addresses().is_some_and(|(source, _)| source == IpAddr::V4(own));
                opens || from || f.contains(&MARK_BYTES)
            })
            .collect();
        assert!(arrived.is_empty(), "{to} hears {from}: {arrived:x?}");
        let leaked = chain.lab.cable().into_iter().find(|f| !is_from_outside(f) && f.contains(&MARK_BYTES));
        assert_eq!(leaked, None, "on the cable");
        let after = chain.counters("firewall");
        for reason in ["drop_isolation", "drop_spoofed", "drop_source_mac", "drop_arp"] {
            assert!(after[reason] > before[reason], "{reason} was not counted");
        }
        // Both are online as before.
        for name in [from, to] {
            let page = chain.run_in(name, &format!("wget -q -T 20 -t 1 -O - {}", chain.web.url("page")));
            assert_eq!(page, chain.web.page, "{name}");
        }
    }
}
