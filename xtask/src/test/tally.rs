//! Counts what passed, failed and was skipped, from what test programs print.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

/// Numbers of tests, and what went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed. Signed: a test says that it skips before its result line counts it.
    pub(crate) passed: i64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that this machine cannot run, or that are marked as ignored.
    pub(crate) skipped: u64,
    failures: Vec<String>,
    reasons: Vec<String>,
    unstable: Vec<String>,
}

impl Tally {
    /// Adds the numbers of a part.
    pub(crate) fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
        self.failures.extend(more.failures);
        self.reasons.extend(more.reasons);
        self.unstable.extend(more.unstable);
    }

    /// Takes a first attempt at the same program into account: what failed in one attempt alone has passed in the
    /// other, and is unstable. Only where both ran to their ends; otherwise this attempt's word stands.
    pub(crate) fn unstable(&mut self, first: Self) {
        let tests = |tally: &Self| tally.passed + i64::try_from(tally.failed).unwrap_or(i64::MAX);
        let named = |tally: &Self| u64::try_from(tally.failures.len()) == Ok(tally.failed);
        if named(self) && named(&first) && tests(self) == tests(&first) {
            let passed_before = |failure: &mut String| !first.failures.contains(failure);
            let once: Vec<String> = self.failures.extract_if(.., passed_before).collect();
            self.failed = u64::try_from(self.failures.len()).unwrap_or(u64::MAX);
            self.passed += i64::try_from(once.len()).unwrap_or(0);
            self.unstable.extend(once);
        }
        self.unstable.extend(first.unstable);
        self.unstable.extend(first.failures.into_iter().filter(|failure| !self.failures.contains(failure)));
    }

    /// Counts one failure.
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.lines().next().unwrap_or_default().to_owned());
    }

    /// Counts one test that is not run.
    pub(crate) fn skip(&mut self, why: &str) {
        self.skipped += 1;
        self.reasons.push(why.to_owned());
    }

    /// Counts a step that either passes or fails.
    pub(crate) fn step(&mut self, what: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.fail(what);
        }
    }

    /// Takes a line of a test program: its result line, a failed test's line, or a test that says that it
    /// skips what it should do (and then counts as passed in the result line).
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |word: &str| -> u64 {
                let before = result.split(&format!(" {word}")).next().unwrap_or_default();
                before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
            };
            self.passed += i64::try_from(number("passed")).unwrap_or(0);
            self.failed += number("failed");
            self.skipped += number("ignored");
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix("... FAILED"))
        {
            self.failures.push(name.trim().to_owned());
        } else if let Some((_, why)) = line.split_once("SKIPPED: ") {
            self.skip(why);
            // The test that says so ends well; it is not one that has passed.
            self.passed -= 1;
        }
    }

    /// Prints what failed, why tests were skipped, and the numbers.
    pub(crate) fn report(&self) {
        println!();
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        for failure in &self.unstable {
            println!("failed at first, and then passed: {failure}");
        }
        let mut reasons = self.reasons.clone();
        reasons.sort();
        reasons.dedup();
        for reason in reasons {
            println!("skipped: {reason}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
    }
}

/// Runs a test program or `cargo test`, showing what it prints, and counts.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn counted(command: &mut Command, what: &str) -> Result<Tally> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let err = thread::spawn(move || err.map_or_else(Vec::new, |err| shown(err, |line| eprintln!("{line}"))));
    let mut lines = out.map_or_else(Vec::new, |out| shown(out, |line| println!("{line}")));
    lines.extend(err.join().unwrap_or_default());
    let mut tally = Tally::default();
    lines.iter().for_each(|line| tally.line(line));
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        tally.fail(&format!("{what}: {status}"));
    }
    Ok(tally)
}

fn shown(stream: impl Read, show: impl Fn(&str)) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut bytes) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        show(&line);
        lines.push(line);
        bytes.clear();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let mut tally = Tally::default();
        tally.line(
            "test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0s",
        );
        tally.line("test a::b ... FAILED");
        tally.line("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (21, 1, 2));
        assert_eq!(tally.failures, ["a::b"]);
    }

    fn attempt(passed: i64, failures: &[&str]) -> Tally {
        let mut tally = Tally { passed, ..Tally::default() };
        failures.iter().for_each(|failure| tally.fail(failure));
        tally
    }

    #[test]
    fn a_test_fails_that_fails_in_both_attempts() {
        let after = |first, mut second: Tally| {
            second.unstable(first);
            (second.passed, second.failures, second.unstable)
        };
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let once = after(attempt(3, &["a"]), attempt(3, &["b"]));
        assert_eq!(once, (4, vec![], words(&["b", "a"])));
        let twice = after(attempt(2, &["a", "b"]), attempt(3, &["a"]));
        assert_eq!(twice, (3, words(&["a"]), words(&["b"])));
        // An attempt that was cut short says nothing of the tests that it did not come to.
        let short = after(attempt(0, &["lab: x ended with status 137"]), attempt(3, &["a"]));
        assert_eq!(short, (3, words(&["a"]), words(&["lab: x ended with status 137"])));
    }

    #[test]
    fn test_that_says_it_skips_has_not_passed() {
        let mut tally = Tally::default();
        tally.line("test x ... SKIPPED: no KVM");
        tally.line("ok");
        tally.line("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 0, 1));
        assert_eq!(tally.reasons, ["no KVM"]);
    }

    #[test]
    fn program_that_ends_badly_without_a_result_has_failed() {
        let tally = counted(Command::new("sh").args(["-c", "exit 3"]), "x").unwrap();
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }
}
