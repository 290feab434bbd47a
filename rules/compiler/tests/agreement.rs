//! Programs do what the specification says: for generated files and packets the compiled program and the reference
//! evaluator decide the same, ask for the same limits in the same order, and canonical text reads back as the same.

#[path = "agreement/generate.rs"]
mod generate;

use generate::{file, packet};
use proptest::prelude::*;
use rules_compiler::{compile, explain, packet::Packet, parse, parse_rule, reference};
use rules_program::{
    Program,
    question::{Gate, Judgement},
};
use std::collections::HashMap;

const NOW: u64 = 1_700_000_000;

/// A gate that is open now and then, always in the same order for the same questions.
#[derive(Default)]
struct Limits {
    asked: Vec<u16>,
    times: HashMap<u16, u32>,
}

impl Gate for Limits {
    fn admits(&mut self, rule: u16) -> bool {
        self.asked.push(rule);
        let times = self.times.entry(rule).or_default();
        *times += 1;
        !(u32::from(rule) * 7 + *times * 5).is_multiple_of(3)
    }
}

/// The same gate behind a program, which knows rules by other numbers.
struct Placed<'p> {
    limits: Limits,
    places: &'p [u16],
}

impl Gate for Placed<'_> {
    fn admits(&mut self, rule: u16) -> bool {
        self.limits.admits(self.places[usize::from(rule)])
    }
}

fn agree(text: &str, packets: &[Packet]) -> Result<(), TestCaseError> {
    let compiled = match compile(text, NOW) {
        Ok(compiled) => compiled,
        Err(errors) => return Err(TestCaseError::fail(format!("{text}{errors:#?}"))),
    };
    let program =
        Program::load(&compiled.program).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
    let mut specified = Limits::default();
    let mut placed = Placed { limits: Limits::default(), places: &compiled.places };
    for packet in packets {
        let names = packet.name_numbers(&compiled.policy);
        let judged = program.judge(&packet.question(&compiled.policy, &names), &mut placed);
        let rule = judged.rule.map(|rule| compiled.places[usize::from(rule)]);
        let expected = reference::judge(&compiled.file, NOW, packet, &mut specified);
        let expected = Judgement { action: expected.action, rule: expected.rule, log: expected.log };
        prop_assert_eq!(Judgement { rule, ..judged }, expected, "{}\n{:?}", text, packet);
        prop_assert_eq!(&placed.limits.asked, &specified.asked, "{}\n{:?}", text, packet);
        let explanation = explain(&compiled, NOW, packet);
        let before = explanation.decided.as_ref().map_or(compiled.file.rules.len(), |rule| rule.rule.into());
        prop_assert_eq!(explanation.passed.len(), before);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_what_the_specification_says(text in file(), packets in prop::collection::vec(packet(), 1..40)) {
        agree(&text, &packets)?;
    }

    #[test]
    fn canonical_text_reads_back_as_the_same(text in file()) {
        let file = parse(&text).map_err(|errors| TestCaseError::fail(format!("{text}{errors:#?}")))?;
        let canonical = file.to_string();
        prop_assert_eq!(&parse(&canonical).unwrap(), &file, "{}", canonical);
        for rule in &file.rules {
            prop_assert_eq!(&parse_rule(&rule.to_string()).unwrap(), &rule.value);
        }
    }

    #[test]
    fn a_rule_that_is_said_to_be_shadowed_never_decides(
        text in file(), packets in prop::collection::vec(packet(), 1..200),
    ) {
        let compiled = compile(&text, NOW).unwrap();
        let shadowed: Vec<u32> = compiled.warnings().iter()
            .filter(|warning| warning.message == "this rule can never match")
            .map(|warning| warning.span.line)
            .collect();
        for packet in &packets {
            let verdict = reference::judge(&compiled.file, NOW, packet, &mut Limits::default());
            let line = verdict.rule.map(|rule| compiled.file.rules[usize::from(rule)].span.line);
            prop_assert!(line.is_none_or(|line| !shadowed.contains(&line)), "{}\n{:?}", text, packet);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", line in "[a-z0-9=@:,./+# \\n-]{0,80}") {
        for text in [text, line] {
            let errors = compile(&text, NOW).err().unwrap_or_default();
            let colour = rules_compiler::diagnostic::Colour::Never;
            let _ = rules_compiler::diagnostic::render(&errors, "file", &text, colour);
            let _ = rules_compiler::parse_packet(&text);
        }
    }
}
