//! Rules that let a client reach everything in the network, in the messages that bring them.

use control::message::ToFirewall;
use rules_program::{
    assemble,
    policy::{Action, Direction, Policy, Rule},
};

/// The messages for the client on `port`.
pub(crate) fn messages(port: u8) -> Vec<ToFirewall> {
    let everything = Rule::any(Direction::Outward, Action::Accept);
    let policy = Policy { rules: vec![everything], ..Policy::default() };
    let program = assemble(&policy).expect("one rule fits");
    ToFirewall::rules(port, 1, &program).collect()
}
