//! Programs in ring 3, on a processor with everything and on a plain one.

use super::{Machine, Outcome, PANICKED, boot_with};

const PROCESSORS: [&str; 2] = ["max", "qemu64"];

fn on(processor: &str, probe: &str) -> Option<Outcome> {
    boot_with(&["-cpu", processor], Machine::Micro, "8M", probe)
}

fn must_succeed(probe: &str, words: &[&str]) {
    for processor in PROCESSORS {
        let Some(outcome) = on(processor, probe) else { return };
        for word in words {
            assert!(outcome.output.contains(word), "{processor}: no '{word}':\n{}", outcome.output);
        }
        assert!(!outcome.output.contains("FAILED"), "{processor}: {}", outcome.output);
        assert_eq!(outcome.status, 1, "{processor}: {}", outcome.output);
    }
}

#[test]
fn calls_are_answered_and_registers_kept() {
    must_succeed("user-calls", &["call answered", "general registers kept", "vector registers kept"]);
}

#[test]
fn faults_end_the_program_alone() {
    must_succeed("user-faults", &["43 offenders survived"]);
}

#[test]
fn odd_states_are_harmless_and_loops_are_interrupted() {
    must_succeed("user-odd", &["no stack: harmless", "calls in 200 runs", "interrupted 20 times"]);
}

#[test]
fn ring_0_does_not_touch_memory_of_ring_3() {
    for (probe, words) in
        [("user-touch", "page fault at address 0x555500000000"), ("user-execute", "page fault")]
    {
        let Some(outcome) = on("max", probe) else { return };
        assert!(outcome.output.contains(words), "{}", outcome.output);
        assert!(!outcome.output.contains("NOT STOPPED"), "{}", outcome.output);
        assert_eq!(outcome.status, PANICKED);
    }
}
