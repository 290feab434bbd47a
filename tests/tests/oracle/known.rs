//! Where we differ from Linux and mean to: each with what makes ours right. A difference that is not here is a bug.
//!
//! `docs/oracle.md` has the same table for readers.

use crate::oracle::{
    cases::Case,
    odd::Odd,
    outcome::Outcome::{self, Answered, Dropped, Passes, Rejected, Reset},
};

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What must be odd about the packet.
    pub odd: Odd,
    /// Linux's outcome.
    linux: fn(Outcome) -> bool,
    /// Ours.
    ours: fn(Outcome) -> bool,
    /// Why ours is right.
    pub because: &'static str,
}

const fn by_rules(outcome: Outcome) -> bool {
    matches!(outcome, Passes | Rejected)
}

const fn not_dropped(outcome: Outcome) -> bool {
    !matches!(outcome, Dropped)
}

const fn answered(outcome: Outcome) -> bool {
    matches!(outcome, Answered(..))
}

const fn dropped(outcome: Outcome) -> bool {
    matches!(outcome, Dropped)
}

const fn reset(outcome: Outcome) -> bool {
    matches!(outcome, Reset)
}

/// Ours drops what Linux judges by the rules, or answers.
const fn ours_drops(odd: Odd, because: &'static str) -> Difference {
    Difference { odd, linux: not_dropped, ours: dropped, because }
}

pub(crate) const KNOWN: &[Difference] = &[
    Difference {
        odd: Odd::NoHop,
        linux: answered,
        ours: |outcome| matches!(outcome, Dropped | Rejected),
        because: "RFC 1812 §5.3.9: a filter may come first, and what it drops in silence must not be answered for its \
                  hop limit",
    },
    Difference {
        odd: Odd::TooLong,
        linux: answered,
        ours: |outcome| matches!(outcome, Dropped | Rejected),
        because: "as for the hop limit: what the rules forbid is not told how long it may be",
    },
    ours_drops(
        Odd::Options,
        "RFC 7126: options are a way around filters and nothing needs them: all are dropped",
    ),
    ours_drops(
        Odd::Destination,
        "RFC 6890, RFC 3879, RFC 1112: addresses that are not forwardable, and groups without multicast routing",
    ),
    ours_drops(Odd::PortZero, "RFC 6335 §6: port 0 is reserved; no answer could come back to it"),
    Difference {
        odd: Odd::NotSyn,
        linux: dropped,
        ours: reset,
        because: "RFC 9293 §3.5.2: a segment of no connection is answered by a reset; the rules prohibit the connection, and a client whose connection an edit has cut is told at once",
    },
    ours_drops(
        Odd::NotEcho,
        "RFC 5508 REQ-1: which queries pass is local policy; but for echo RFC 6918 deprecates them, and timestamps \
         tell a host's clock",
    ),
    ours_drops(
        Odd::HeaderOrder,
        "RFC 8200 §4.1: hop-by-hop options come first, each header once, destination options twice",
    ),
    ours_drops(
        Odd::RoutingHeader,
        "RFC 5095, RFC 8754 §5.1: a routing header has the packet go elsewhere than the rules were asked about",
    ),
    Difference {
        odd: Odd::DiscardOption,
        linux: answered,
        ours: |outcome| matches!(outcome, Passes | Rejected | Dropped),
        because: "RFC 8200 §4: hop-by-hop options are not for us to act on; the rules decide",
    },
    ours_drops(
        Odd::Jumbo,
        "RFC 2675 §4: no link here carries jumbograms; what is none is nobody's to answer",
    ),
    ours_drops(
        Odd::Duplicate,
        "RFC 5722 §3: fragments that overlap end their datagram, even where they are the same",
    ),
    Difference {
        odd: Odd::WholeAmongFragments,
        linux: dropped,
        ours: by_rules,
        because: "RFC 6946 §4: a datagram in one fragment is whole, whatever fragments have its identification",
    },
    Difference {
        odd: Odd::TransportChecksum,
        linux: dropped,
        ours: by_rules,
        because: "RFC 1624: the checksum is updated, not made anew, so that it stays wrong and its receiver drops it",
    },
    Difference {
        odd: Odd::CutByLength,
        linux: dropped,
        ours: by_rules,
        because: "as for a wrong checksum: the transport's checksum covers what was cut off",
    },
];

/// The entries that explain a case's difference.
pub(crate) fn explain(case: &Case, linux: Outcome, ours: Outcome) -> Vec<usize> {
    let fits =
        |entry: &Difference| case.odd.contains(&entry.odd) && (entry.linux)(linux) && (entry.ours)(ours);
    KNOWN.iter().enumerate().filter(|(_, entry)| fits(entry)).map(|(n, _)| n).collect()
}

/// The table for readers has the same reasons.
pub(crate) fn is_documented(text: &str) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(text);
    for entry in KNOWN {
        assert!(text.contains(&words(entry.because)), "docs/oracle.md does not say: {}", entry.because);
    }
    assert_eq!(text.matches("| `").count(), KNOWN.len(), "rows of differences in docs/oracle.md");
}
