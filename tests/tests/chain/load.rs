//! Under load: no packet makes a processor of a driver domain leave for user space, and bells are not rung.

use super::system::Chain;
use tests::lab::web::{bulk, md5};

const LENGTH: usize = 6 << 20;

/// A download of some megabytes, with the counters before and after.
pub(crate) fn packets_cost_no_exits(chain: &Chain) {
    let before = ["net", "firewall"].map(|name| chain.counters(name));
    let url = chain.web.url(&format!("bulk/{LENGTH}"));
    let sum = chain.run_in("work", &format!("wget -q -T 60 -t 1 -O - {url} | md5sum"));
    let after = ["net", "firewall"].map(|name| chain.counters(name));
    let mut packets = Vec::new();
    for (i, (name, frames, suppressed)) in
        [("net", "frames_to_firewall", "link_rings_suppressed"), ("firewall", "received", "rings_suppressed")]
            .into_iter()
            .enumerate()
    {
        let grown = |counter: &str| {
            let value = |counters: &std::collections::BTreeMap<String, u64>| {
                *counters
                    .get(counter)
                    .unwrap_or_else(|| panic!("{name} has no counter {counter}: {counters:?}"))
            };
            value(&after[i]) - value(&before[i])
        };
        let (frames, exits, suppressed) = (grown(frames), grown("vmm.exits"), grown(suppressed));
        eprintln!("{name}: {frames} frames, {exits} exits to user space, {suppressed} bells not rung");
        for (counter, value) in &after[i] {
            let more = value - before[i].get(counter).unwrap_or(&0);
            if more > 0 {
                eprintln!("    {counter} +{more}");
            }
        }
        // A handful belongs to the counters' own way.
        assert!(exits * 50 < frames, "{name}: {exits} exits for {frames} frames");
        assert!(suppressed > 0, "{name}: every frame rang");
        packets.push(frames);
    }
    assert!(packets[0] > LENGTH as u64 / 65_536, "netvm's frames: {}", packets[0]);
    let expected = md5(&bulk(LENGTH));
    assert_eq!(sum.split_whitespace().next(), Some(expected.as_str()));
}
