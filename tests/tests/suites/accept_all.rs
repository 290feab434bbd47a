//! Rules that let a client reach everything in the network, in the messages that bring them.

use control::message::{RULES_PIECE, ToFirewall};
use rules_program::{
    assemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rule},
};

/// The messages for the client on `port`.
pub(crate) fn messages(port: u8) -> Vec<ToFirewall> {
    let everything = Rule {
        direction: Direction::Outward,
        action: Action::Accept,
        targets: Vec::new(),
        protocols: Protocols::ALL,
        destination_ports: Ports::ALL,
        source_ports: Ports::ALL,
        icmp_type: None,
        rate: None,
        connections: None,
        log: false,
        line: 0,
    };
    let policy = Policy { rules: vec![everything], ..Policy::default() };
    let program = assemble(&policy).expect("one rule fits");
    let total = u32::try_from(program.len()).expect("a short program");
    let pieces = (0..).step_by(RULES_PIECE).zip(program.chunks(RULES_PIECE));
    pieces
        .map(|(offset, piece)| ToFirewall::Rules {
            port,
            generation: 1,
            total,
            offset,
            bytes: piece.iter().copied().collect(),
        })
        .collect()
}
