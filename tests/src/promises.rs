//! Promises of a system that takes long to start: kept or not one after the other, and a step that fails does not
//! hide those after it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// What was looked at so far.
#[derive(Debug, Default)]
pub struct Promises {
    failed: Vec<&'static str>,
}

impl Promises {
    /// Takes a step, and says how it went; `false` when it panicked.
    pub fn check(&mut self, name: &'static str, step: impl FnOnce()) -> bool {
        let begun = Instant::now();
        let is_kept = catch_unwind(AssertUnwindSafe(step)).is_ok();
        eprintln!(
            "{} {name} ({:.1} s)",
            if is_kept { "ok  " } else { "FAIL" },
            begun.elapsed().as_secs_f32()
        );
        if !is_kept {
            self.failed.push(name);
        }
        is_kept
    }

    /// Ends the test.
    ///
    /// # Panics
    /// When a promise was not kept; names those.
    pub fn all_kept(self) {
        assert!(self.failed.is_empty(), "not kept: {:?}", self.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_told_after_the_others() {
        let mut promises = Promises::default();
        assert!(!promises.check("broken", || panic!("on purpose")));
        assert!(promises.check("kept", || ()));
        assert_eq!(promises.failed, ["broken"]);
        assert!(catch_unwind(AssertUnwindSafe(|| promises.all_kept())).is_err());
        Promises::default().all_kept();
    }
}
