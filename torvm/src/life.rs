//! The program's life: started, watched, ended, started again after a while.
//!
//! A program that ends is started again, later and later while it keeps ending at once. One that computes for long
//! without a call has lost its way and is ended.

/// First pause before a restart, in microseconds.
const PAUSE_FIRST_US: u64 = 250_000;
/// Longest pause.
const PAUSE_MAX_US: u64 = 30_000_000;
/// A program that lived this long starts with the first pause again.
const STEADY_US: u64 = 60_000_000;
/// Time on the processor without a call after which a program counts as hung.
const HUNG_US: u64 = 60_000_000;

/// How a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none; one is to be started at this time (microseconds).
    Down {
        /// When.
        start_us: u64,
    },
    /// It runs since this time.
    Up {
        /// When it started.
        since_us: u64,
    },
}

/// The life of the one program.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    state: State,
    pause_us: u64,
    computed_us: u64,
    starts: u32,
}

impl Default for Life {
    fn default() -> Self {
        Self { state: State::Down { start_us: 0 }, pause_us: PAUSE_FIRST_US, computed_us: 0, starts: 0 }
    }
}

impl Life {
    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// It was started.
    pub fn started(&mut self, now_us: u64) {
        self.state = State::Up { since_us: now_us };
        self.computed_us = 0;
        self.starts = self.starts.saturating_add(1);
    }

    /// It made a call.
    pub fn called(&mut self) {
        self.computed_us = 0;
    }

    /// It was on the processor for `us` without making a call; `true` when that has gone on for too long.
    pub fn computed(&mut self, us: u64) -> bool {
        self.computed_us = self.computed_us.saturating_add(us);
        self.computed_us > HUNG_US
    }

    /// It ended, or could not be started; returns when it is to be started again.
    pub fn ended(&mut self, now_us: u64) -> u64 {
        if let State::Up { since_us } = self.state
            && now_us.saturating_sub(since_us) >= STEADY_US
        {
            self.pause_us = PAUSE_FIRST_US;
        }
        let start_us = now_us.saturating_add(self.pause_us);
        self.pause_us = (self.pause_us * 2).min(PAUSE_MAX_US);
        self.state = State::Down { start_us };
        start_us
    }

    /// It was ended on purpose: it is to be started at once.
    pub fn replaced(&mut self, now_us: u64) {
        self.state = State::Down { start_us: now_us };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_steady_life_resets_them() {
        let mut life = Life::default();
        assert_eq!(life.state(), State::Down { start_us: 0 });
        let mut now = 0;
        let mut pauses = [0; 10];
        for pause in &mut pauses {
            life.started(now);
            now += 1_000;
            *pause = life.ended(now) - now;
            now += *pause;
        }
        assert_eq!(pauses[..3], [250_000, 500_000, 1_000_000]);
        assert_eq!(pauses[9], PAUSE_MAX_US);
        life.started(now);
        now += STEADY_US;
        assert_eq!(life.ended(now) - now, PAUSE_FIRST_US);
        assert_eq!(life.starts(), 11);
    }

    #[test]
    fn only_computing_without_a_call_is_hung() {
        let mut life = Life::default();
        life.started(0);
        for _ in 0..10 {
            assert!(!life.computed(HUNG_US));
            life.called();
        }
        assert!(!life.computed(HUNG_US) && life.computed(1));
    }

    #[test]
    fn what_was_replaced_starts_at_once() {
        let mut life = Life::default();
        life.started(5);
        life.replaced(9);
        assert_eq!(life.state(), State::Down { start_us: 9 });
    }
}
