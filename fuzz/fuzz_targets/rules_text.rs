//! A rules file of any bytes: it is refused with errors that can be shown, or it compiles to a program that is verified,
//! says of a packet what the specification says, and its canonical text reads back as the same.
//!
//! Input: the file; behind a byte 0, the description of a packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rules_compiler::{
    compile,
    diagnostic::{Colour, render},
    edit, explain, parse, parse_packet,
    reference::judge,
};
use rules_program::{Listing, Program, question::Open};

const NOW: u64 = 1_700_000_000;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (text, description) = text.split_once('\0').unwrap_or((&text, "tcp 192.0.2.1:443"));
    let _ = edit::with_absolute_expiry(text, NOW);
    let _ = edit::delete_matching(text, "drop");
    let compiled = match compile(text, NOW) {
        Ok(compiled) => compiled,
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = render(&errors, "file", text, Colour::Always);
            return;
        }
    };
    let _ = render(&compiled.warnings(), "file", text, Colour::Always);
    assert_eq!(edit::count(text), compiled.file.rules.len());
    assert_eq!(parse(&compiled.file.to_string()).as_ref(), Ok(&compiled.file));
    assert_eq!(Listing::of(&compiled.program).expect("a program").policy(), &compiled.policy);
    let program = Program::load(&compiled.program).expect("a program");
    let packet = match parse_packet(description) {
        Ok(packet) => packet,
        Err(errors) => {
            let _ = render(&errors, "packet", description, Colour::Never);
            return;
        }
    };
    let names = packet.name_numbers(&compiled.policy);
    let judged = program.judge(&packet.question(&compiled.policy, &names), &mut Open);
    let specified = judge(&compiled.file, NOW, &packet, &mut Open);
    assert_eq!(judged.action, specified.action);
    assert_eq!(judged.rule.and_then(|rule| Some(compiled.rule(rule)?.0)), specified.rule);
    let _ = explain(&compiled, NOW, &packet).to_string();
});
