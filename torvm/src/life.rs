//! The program's life: started, watched, ended, started again after a while. Pure.

use crate::guest::Why;
use control::message::Program;

/// Pause before the first restart, in microseconds; it doubles each time.
const FIRST_US: u64 = 1_000_000;
/// Longest pause.
const LONGEST_US: u64 = 60_000_000;
/// A program that was ready for so long has done well: the next pause is the first one again.
const WELL_US: u64 = 60_000_000;
/// A program that runs for so long without a call hangs.
pub const HANG_US: u64 = 30_000_000;

/// What is to be done about the program now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is to be started.
    Start,
    /// It runs.
    Run,
    /// Nothing, until this time (microseconds) if there is one.
    Nothing(Option<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Started at this time, when everything is there.
    Down { at_us: u64 },
    /// It runs.
    Up { ready_since_us: Option<u64>, silent_us: u64 },
}

/// The program's life.
#[derive(Debug)]
pub struct Life {
    state: State,
    pause_us: u64,
    /// How often it was started.
    runs: u32,
    /// The reason of the last refusal, so that the same one is told once.
    refused: Option<Why>,
    news: Option<Program>,
}

impl Default for Life {
    fn default() -> Self {
        Self { state: State::Down { at_us: 0 }, pause_us: FIRST_US, runs: 0, refused: None, news: None }
    }
}

impl Life {
    /// What is to be done. `lacks`: whether something that the program needs is not there yet.
    #[must_use]
    pub fn due(&self, now_us: u64, lacks: Lacks) -> Due {
        match (self.state, lacks) {
            (State::Up { .. }, _) => Due::Run,
            (State::Down { .. }, Lacks::Something) => Due::Nothing(None),
            (State::Down { at_us }, Lacks::Nothing) if at_us > now_us => Due::Nothing(Some(at_us)),
            (State::Down { .. }, Lacks::Nothing) => Due::Start,
        }
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// How often it was started.
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.runs
    }

    /// It was started.
    pub fn started(&mut self) {
        self.runs = self.runs.saturating_add(1);
        self.state = State::Up { ready_since_us: None, silent_us: 0 };
        self.refused = None;
        self.news = Some(Program::Started { run: self.runs });
    }

    /// It could not be started; that is tried again.
    pub fn refused(&mut self, now_us: u64, why: Why) {
        self.state = State::Down { at_us: now_us.saturating_add(self.pause_us) };
        self.lengthen();
        if self.refused.as_ref() != Some(&why) {
            self.news = Some(Program::Refused { why: why.clone() });
            self.refused = Some(why);
        }
    }

    /// It ended by itself or was ended for what it did; it is started again after a pause.
    pub fn ended(&mut self, now_us: u64, how: Why) {
        if let State::Up { ready_since_us: Some(since), .. } = self.state
            && now_us.saturating_sub(since) >= WELL_US
        {
            self.pause_us = FIRST_US;
        }
        self.state = State::Down { at_us: now_us.saturating_add(self.pause_us) };
        self.lengthen();
        self.news = Some(Program::Ended { run: self.runs, how });
    }

    /// Somebody wants it started again, at once.
    pub fn begin_anew(&mut self, how: Why) {
        if self.is_up() {
            self.news = Some(Program::Ended { run: self.runs, how });
        }
        *self = Self { runs: self.runs, news: self.news.take(), ..Self::default() };
    }

    /// It said whether it is ready.
    pub fn heard(&mut self, now_us: u64, ready: bool) {
        if let State::Up { ready_since_us, .. } = &mut self.state {
            *ready_since_us = ready.then(|| ready_since_us.unwrap_or(now_us));
        }
    }

    /// It ran for so long and then made a call.
    pub fn called(&mut self) {
        if let State::Up { silent_us, .. } = &mut self.state {
            *silent_us = 0;
        }
    }

    /// It ran for so long and made no call; `true` when it hangs.
    #[must_use]
    pub fn ran(&mut self, us: u64) -> bool {
        let State::Up { silent_us, .. } = &mut self.state else { return false };
        *silent_us = silent_us.saturating_add(us);
        *silent_us >= HANG_US
    }

    /// What dom0 has not been told yet.
    pub fn news(&mut self) -> Option<Program> {
        self.news.take()
    }

    /// dom0 could not be told; or it is somebody who was told nothing before.
    pub fn tell_again(&mut self, unheard: Option<Program>) {
        let now = || match (self.state, &self.refused) {
            (State::Up { .. }, _) => Some(Program::Started { run: self.runs }),
            (State::Down { .. }, Some(why)) => Some(Program::Refused { why: why.clone() }),
            (State::Down { .. }, None) => None,
        };
        self.news = unheard.or_else(now);
    }

    fn lengthen(&mut self) {
        self.pause_us = (self.pause_us * 2).min(LONGEST_US);
    }
}

/// Whether everything that the program needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// It is.
    Nothing,
    /// It is not.
    Something,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn why(text: &str) -> Why {
        text.try_into().unwrap()
    }

    /// Pauses between an end and the next start, in seconds.
    fn pause(life: &mut Life, now: u64) -> u64 {
        life.ended(now, why("exit 1"));
        let Due::Nothing(Some(at)) = life.due(now, Lacks::Nothing) else { panic!("no pause") };
        assert_eq!(life.due(at, Lacks::Nothing), Due::Start);
        life.started();
        (at - now) / S
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut life = Life::default();
        assert_eq!(life.due(0, Lacks::Something), Due::Nothing(None));
        assert_eq!(life.due(0, Lacks::Nothing), Due::Start);
        life.started();
        let pauses: [u64; 8] = core::array::from_fn(|_| pause(&mut life, 5 * S));
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(life.runs(), 9);
    }

    #[test]
    fn a_program_that_did_well_is_started_soon() {
        let mut life = Life::default();
        life.started();
        let _ = (pause(&mut life, S), pause(&mut life, S));
        life.heard(10 * S, true);
        life.heard(60 * S, true);
        assert_eq!(pause(&mut life, 69 * S), 4, "59 seconds are not long enough");
        life.heard(70 * S, true);
        life.heard(100 * S, false);
        life.heard(101 * S, true);
        assert_eq!(pause(&mut life, 140 * S), 8, "it was not ready all the time");
        life.heard(200 * S, true);
        assert_eq!(pause(&mut life, 260 * S), 1);
    }

    #[test]
    fn who_asks_for_a_restart_does_not_wait() {
        let mut life = Life::default();
        life.started();
        let _ = (pause(&mut life, S), pause(&mut life, S));
        life.begin_anew(why("new configuration"));
        assert_eq!(life.news(), Some(Program::Ended { run: 3, how: why("new configuration") }));
        assert_eq!(life.due(S, Lacks::Nothing), Due::Start);
        life.started();
        assert_eq!(pause(&mut life, 2 * S), 1);
        life.ended(0, why("x"));
        let _ = life.news();
        life.begin_anew(why("y"));
        assert_eq!(life.news(), None, "nothing ran");
    }

    #[test]
    fn the_same_refusal_is_told_once() {
        let mut life = Life::default();
        life.refused(0, why("no memory"));
        assert_eq!(life.news(), Some(Program::Refused { why: why("no memory") }));
        assert_eq!(life.due(0, Lacks::Nothing), Due::Nothing(Some(S)));
        life.refused(S, why("no memory"));
        assert_eq!(life.news(), None);
        life.tell_again(None);
        assert_eq!(life.news(), Some(Program::Refused { why: why("no memory") }));
    }

    #[test]
    fn only_running_without_calls_counts_as_hanging() {
        let mut life = Life::default();
        assert!(!life.ran(HANG_US));
        life.started();
        assert!(!life.ran(HANG_US - 1));
        life.called();
        assert!(!life.ran(HANG_US - 1));
        assert!(life.ran(1));
    }
}
