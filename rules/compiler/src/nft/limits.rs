//! A rule's limits as nftables says them.

use super::expressions::Stmt;
use nftables::{
    expr::Expression,
    stmt::{CTCount, Limit, Statement},
};
use rules_program::policy::Rule;

/// A rule's limits, and whether they are exactly what it says.
pub(super) fn of(rule: &Rule) -> (Vec<Stmt>, bool) {
    let (mut all, mut exact) = (Vec::new(), true);
    if let Some(rate) = rule.rate {
        let (count, unit, same) = per_unit(rate.count, rate.per_seconds);
        exact = same;
        let limit = Limit {
            rate: count,
            rate_unit: None,
            per: Some(unit.into()),
            burst: Some(rate.burst),
            burst_unit: None,
            inv: None,
        };
        all.push(Statement::Limit(limit));
    }
    if let Some(most) = rule.connections {
        all.push(Statement::CTCount(CTCount { val: Expression::Number(most), inv: None }));
    }
    (all, exact)
}

/// The rate per unit of time that `nft` knows: the shortest one in which it is a whole number; else per week, rounded
/// down. Third: whether it is exact.
pub(super) fn per_unit(count: u32, seconds: u32) -> (u32, &'static str, bool) {
    const UNITS: [(u64, &str); 5] =
        [(1, "second"), (60, "minute"), (3600, "hour"), (86_400, "day"), (604_800, "week")];
    let seconds = u64::from(seconds.max(1));
    for (unit, name) in UNITS {
        let scaled = u64::from(count) * unit;
        if let (0, Ok(rate @ 1..)) = (scaled % seconds, u32::try_from(scaled / seconds)) {
            return (rate, name, true);
        }
    }
    let rate = u64::from(count) * 604_800 / seconds;
    let fits = u32::try_from(rate).map(|rate| (rate.max(1), "week", false));
    fits.unwrap_or((u32::try_from(u64::from(count) / seconds).unwrap_or(u32::MAX).max(1), "second", false))
}
