//! Firewall rules, changed while connections are open.

use super::system::Chain;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use tests::lab::station::ENTRANCE;
use tests::lab::until;

/// Longer than the step takes, at 80 KiB a second.
const LONG: usize = 8 << 20;

fn fetches(chain: &Chain, name: &str) -> bool {
    let page = chain.start_in(name, &format!("wget -q -T 5 -t 1 -O - {}", chain.web.url("page"))).wait();
    page.status == 0 && page.out == chain.web.page
}

fn rules(chain: &Chain, words: &str) -> String {
    let begun = Instant::now();
    let said = chain.lab.sh(&format!("bulkhead rules {words}"));
    eprintln!("bulkhead rules {words}: {:.2} s", begun.elapsed().as_secs_f32());
    said
}

/// A rule that is added ends a transfer that is under way and keeps new ones from beginning; without it they begin
/// again. The other AppVM notices nothing.
pub(crate) fn rule_cuts_a_transfer(chain: &Chain) {
    let url = chain.web.url(&format!("slow/{LONG}"));
    let transfer = chain.start_in("work", &format!("wget -q -T 15 -t 1 -O /tmp/cut {url}"));
    let arrived = || -> usize {
        let size = chain.run_in("work", "stat -c %s /tmp/cut 2>/dev/null || echo 0");
        size.trim().parse().unwrap_or(0)
    };
    until(Duration::from_secs(20), "the first bytes", || (arrived() > 64 << 10).then_some(()));
    let port = chain.web.port();
    let said = rules(chain, &format!("add --before 0 work drop proto=tcp dstports={port} log=yes"));
    assert!(said.contains("in force"), "{said}");
    let at_once = arrived();
    assert!(at_once < LONG, "the transfer was still under way");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(arrived(), at_once, "nothing more arrives");
    assert!(!fetches(chain, "work"), "nor does a new connection come up");
    assert!(fetches(chain, "personal"), "the other has rules of its own");
    let listed = rules(chain, "list work");
    let first: Vec<_> = listed.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(first[..2], ["0", "drop"], "{listed}");
    let hits: u64 = first.last().unwrap().parse().unwrap_or_else(|e| panic!("{e}: {listed}"));
    assert!(hits > 0, "the rule decided: {listed}");
    assert!(listed.contains("in force"), "{listed}");
    let logged = format!("-> 10.0.2.2:{port} by rule 0 (drop proto=tcp dstports={port} log=yes)");
    until(Duration::from_secs(10), "the decision in the log", || {
        let log = rules(chain, "log work");
        log.lines().any(|l| l.contains(" dropped tcp 10.137.") && l.contains(&logged)).then_some(())
    });
    rules(chain, "del work 0");
    assert!(fetches(chain, "work"), "online again");
    assert_ne!(transfer.wait().status, 0, "the transfer did not come to its end");
    assert!(arrived() < LONG);
}

/// Answers each connection to a port with a word, as long as the file is there.
fn server(chain: &Chain, name: &'static str, port: u16) -> tests::lab::Pending {
    let script = format!(
        r#"perl -e 'use IO::Socket::INET;
            $server = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, ReuseAddr => 1, Timeout => 1) or die;
            open(F, ">/tmp/serving"); close(F);
            $end = time + 150;
            while (time < $end && -e "/tmp/serving") {{
                $client = $server->accept or next;
                print $client "this is {name}\n";
                close($client);
            }}'"#
    );
    chain.run_in(name, "rm -f /tmp/serving");
    let running = chain.start_in(name, &script);
    chain.run_in(name, "for tenth in $(seq 200); do [ -e /tmp/serving ] && exit 0; sleep 0.1; done; exit 1");
    running
}

fn end(chain: &Chain, name: &str, server: tests::lab::Pending) {
    chain.run_in(name, "rm /tmp/serving");
    server.wait().expect_success();
}

/// A connection to the uplink's own address, from the cable, reaches an AppVM that forwards the port.
pub(crate) fn forwarded_port_reaches_the_appvm(chain: &Chain) {
    let server = server(chain, "work", 2222);
    let greeting = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, chain.station.entrance)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    };
    assert_eq!(greeting(), None, "nothing is forwarded before it is asked for");
    rules(chain, &format!("add work action=forward proto=tcp dstports={ENTRANCE} toport=2222"));
    let text = until(Duration::from_secs(30), "the AppVM's greeting", greeting);
    assert_eq!(text, "this is work\n");
    let refused = format!("bulkhead rules add personal action=forward proto=tcp dstports={ENTRANCE}");
    let refused = chain.lab.dom0(&refused).wait().expect_failure();
    assert!(refused.contains("work.rules") && refused.contains("personal.rules"), "{refused}");
    rules(chain, "reset work");
    assert_eq!(greeting(), None, "nor afterwards");
    end(chain, "work", server);
}

/// One AppVM reaches the other when its rules and the other's allow it, and only then.
pub(crate) fn domains_meet_when_both_say_so(chain: &Chain) {
    let server = server(chain, "personal", 2323);
    let other = chain.address("personal");
    let meets = || {
        let script = format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{other}/2323 && cat <&3'");
        chain.start_in("work", &script).wait().out
    };
    assert_eq!(meets(), "", "the default allows the network, not domains");
    let added =
        chain.lab.dom0("bulkhead rules add work accept dstdomain=personal proto=tcp dstports=2323").wait();
    assert!(added.err.contains("personal has no matching srcdomain=work rule"), "{}", added.err);
    added.expect_success();
    assert_eq!(meets(), "", "one end alone");
    rules(chain, "add personal accept srcdomain=work proto=tcp dstports=2323");
    assert_eq!(meets(), "this is personal\n");
    rules(chain, "reset work");
    assert_eq!(meets(), "", "the other end alone");
    rules(chain, "reset personal");
    end(chain, "personal", server);
}
