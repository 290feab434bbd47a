//! Policy → bytes.

use crate::policy::{MAX_DOMAINS, MAX_LIMITED, MAX_NAMES, MAX_RULES, MAX_TARGETS, Policy};
use alloc::vec::Vec;

/// The first bytes of a program: its name and its version.
pub(crate) const MAGIC: [u8; 8] = *b"BHRULES\x01";

/// The policy exceeds a limit of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much of it is allowed.
    pub limit: usize,
}

impl core::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "more than {} {}", self.limit, self.what)
    }
}

impl core::error::Error for TooLarge {}

/// Makes the program of a policy.
///
/// # Errors
/// [`TooLarge`].
pub fn assemble(policy: &Policy) -> Result<Vec<u8>, TooLarge> {
    let limited = policy.rules.iter().filter(|rule| rule.rate.is_some() || rule.connections.is_some());
    let counts = [
        (policy.rules.len(), "rules", MAX_RULES),
        (policy.rules.iter().map(|rule| rule.targets.len()).sum(), "addresses and names", MAX_TARGETS),
        (policy.names.len(), "host names", MAX_NAMES),
        (policy.domains.len(), "domains", MAX_DOMAINS),
        (limited.count(), "rules with limits", MAX_LIMITED),
    ];
    for (count, what, limit) in counts {
        if count > limit {
            return Err(TooLarge { what, limit });
        }
    }
    let bytes = postcard::to_extend(policy, Vec::from(MAGIC));
    bytes.map_err(|_| TooLarge { what: "bytes", limit: usize::MAX })
}
