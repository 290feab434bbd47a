//! AppVMs that know nothing of Bulkhead are online; dom0 is not.

use super::system::Chain;
use std::net::Ipv4Addr;
use std::time::Duration;
use tests::lab::until;

/// QEMU's user network offers this name server.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// DHCP has given each AppVM its own /30, its gateway and the virtual name servers.
pub(crate) fn addresses(chain: &Chain) {
    let mut seen = Vec::new();
    for name in ["work", "personal"] {
        let address = chain.address(name);
        let [a, b, c, d] = address.octets();
        assert_eq!((a, b, d % 4), (10, 137, 2), "{name}: {address}");
        let own = chain.run_in(name, "ip -4 -brief address show dev eth0");
        assert!(own.contains(&format!("{address}/30")), "{own}");
        let route = chain.run_in(name, "ip route show default");
        assert!(route.contains(&format!("via {}", Ipv4Addr::new(a, b, c, d - 1))), "{route}");
        let servers = chain.run_in(name, "cat /etc/resolv.conf");
        assert!(servers.contains("10.139.1.1"), "{servers}");
        seen.push(address);
    }
    assert_ne!(seen[0], seen[1]);
}

/// What arrives is what was served.
pub(crate) fn pages(chain: &Chain) {
    let before = chain.web.connections();
    for name in ["work", "personal"] {
        let page = chain.run_in(name, &format!("wget -q -T 20 -t 1 -O - {}", chain.web.url("page")));
        assert_eq!(page, chain.web.page, "{name}");
    }
    assert_eq!(chain.web.connections(), before + 2);
}

/// A question to 10.139.1.1 leaves for the outer network's name server, from the uplink's address. Whether
/// anybody answers depends on the machine that runs the lab.
pub(crate) fn names(chain: &Chain) {
    let _ = chain.start_in("work", "timeout 8 getent ahostsv4 question.bulkhead.test").wait();
    let question = until(Duration::from_secs(10), "the question on the cable", || {
        chain.lab.cable().into_iter().find(|frame| frame.contains(b"\x08question\x08bulkhead\x04test"))
    });
    assert_eq!(question.addresses(), Some((chain.uplink.into(), RESOLVER.into())));
    assert_eq!(question.ports(17).map(|(_, to)| to), Some(53));
}

/// The card is gone from dom0, and nothing has come in its place.
pub(crate) fn dom0_is_offline(chain: &Chain) {
    for name in ["work", "personal"] {
        let page = chain.run_in(name, &format!("wget -q -T 20 -t 1 -O - {}", chain.web.url("page")));
        assert_eq!(page, chain.web.page, "{name} is online meanwhile");
    }
    assert_eq!(chain.lab.sh("ls /sys/class/net"), "lo\n");
    assert_eq!(chain.lab.sh("ip route show table all | grep -v -w -e lo -e local || true"), "");
    assert_eq!(chain.lab.sh("grep -c ^vif /proc/net/dev || true"), "0\n");
}
