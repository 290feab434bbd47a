//! Where we answer otherwise than a suite's author expects, and why.

use super::groups::Script;

/// Why the script does not pass; `None`: it passes.
pub(crate) fn deviation(script: &Script) -> Option<&'static str> {
    let title = script.title();
    DEVIATIONS.iter().find(|(name, _)| *name == title).map(|(_, why)| *why)
}

/// Any overlap ends the datagram, in IPv4 as in IPv6.
const OVERLAP: &str = "the datagram is dropped: an overlap ends it in IPv4 as RFC 5722 asks in IPv6 (RFC 1858, RFC 3128: \
                       overlaps serve to deceive filters); Linux does the same";
/// Routing headers of type 0 are dropped without a word.
const ROUTING: &str = "dropped without an answer: RFC 5095 §4.2 lets firewalls filter routing headers of type 0, and an \
                       answer would tell who is there";
/// The same, where the suite's host looks behind the header.
const ROUTING_PASSED: &str = "dropped, also when no hop is left and whatever it hides behind: RFC 5095 §4.2; the suite's \
                              host takes one that is used up for harmless";
/// The far host is Linux.
const LINUX_MSS: &str = "the far host's doing: Linux sends segments of 536 or 1220 bytes to who announces no MSS (RFC 9293 \
                         §3.7.1), so the error changes nothing; the same without the firewall";
/// Options before a fragment header.
const BEFORE: &str = "fragments behind hop-by-hop options are dropped: nobody sends such, and what each \
                      fragment says for itself is lost when the datagram is put together";

/// Script and reason.
const DEVIATIONS: &[(&str, &str)] = &[
    (
        "arp/arp_announcement",
        "no answer: on a link with one client there is nobody whom our defence (RFC 5227 §2.4) could set right; the \
         claim is dropped and counted, and teaches nothing",
    ),
    (
        "arp/arp_multicast",
        "no answer: a sender's hardware address that is a group's is not the client's (RFC 1812 §3.3.2 forbids to \
         believe it)",
    ),
    ("arp/arp_proxy", "no answer: we are nobody's proxy; the suite first makes its host one"),
    ("frag/frag_mf0long", OVERLAP),
    ("frag/frag_mf0middle", OVERLAP),
    ("frag/frag_mf0short", OVERLAP),
    ("frag/frag_mf1end", OVERLAP),
    ("frag/frag_overhead", OVERLAP),
    ("frag/frag_overhead0", OVERLAP),
    ("frag/frag_overhead1", OVERLAP),
    ("frag/frag_overtail", OVERLAP),
    ("frag/frag_overtail0", OVERLAP),
    ("frag/frag_overtail1", OVERLAP),
    ("frag/frag_opt", "dropped: packets with IP options are not forwarded (RFC 7126 §4)"),
    ("frag/frag_queuelimit", QUEUE),
    ("frag6/frag6_queuelimit", QUEUE),
    ("frag6/frag6_ext", BEFORE),
    ("frag6/frag6_opt", "dropped: the first fragment does not hold all headers (RFC 7112 §5)"),
    (
        "frag6/frag6_overdrop",
        "dropped: after an overlap also the fragments that are yet to come are discarded (RFC 5722 §4)",
    ),
    ("pf_fragment/frag6_ext", BEFORE),
    ("pf_fragment/frag_cutnew", OVERLAP),
    ("pf_fragment/frag_cutold", OVERLAP),
    ("pf_fragment/frag_dropnew", OVERLAP),
    ("pf_fragment/frag_dropold", OVERLAP),
    (
        "pf_state/fakeack_rst",
        "the connection persists, which is what is tested; the challenge comes from the far host with its own number \
         (RFC 5961 §4.2), not from the filter with the one before it",
    ),
    ("pmtu/tcp_connect", LINUX_MSS),
    ("pmtu/tcp_connect6", LINUX_MSS),
    ("pmtu/tcp_atomicfrag6", LINUX_MSS),
    (
        "pmtu/udp_echo6",
        "the answer comes in fragments as it should, and is put together in the firewall; the client's link takes the \
         datagram whole",
    ),
    ("rh0/rh0_empty", ROUTING),
    ("rh0/rh0_final", ROUTING),
    ("rh0/rh0_frag_route", ROUTING),
    ("rh0/rh0_route", ROUTING),
    ("rh0/rh0_frag2", ROUTING_PASSED),
    ("rh0/rh0_frag_empty", ROUTING_PASSED),
    ("rh0/rh0_frag_final", ROUTING_PASSED),
];

/// How many fragments make a datagram.
const QUEUE: &str = "65 fragments are put together, which the suite's host refuses: ours may be 256, as many as 64 KiB has \
                     on a path with an MTU of 296; each is put in its place at a constant cost";
