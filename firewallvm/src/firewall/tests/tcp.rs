//! Off-path attackers, and connections that end and begin again.
use super::world::*;
use crate::{flows::tcp::State, verdict::DropReason};
use proptest::prelude::*;

const CLIENT: (u16, u16) = (40000, 443);
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN: u8 = 1;

/// An established connection; the client is at 1001, the server at 5001.
fn established(w: &mut World) -> (u16, u16) {
    let (there, back) = (to_server(false, 0), from_server(false));
    let port = ends(&w.out(0, &there.tcp(mac(0), CLIENT, SYN, (1000, 0), 64000, b""))).1;
    w.in_to(0, &back.tcp(NIC, (443, port), SYN | ACK, (5000, 1001), 65000, b""));
    w.out(0, &there.tcp(mac(0), CLIENT, ACK, (1001, 5001), 500, b""));
    assert_eq!(state(w), State::Established);
    (443, port)
}

fn state(w: &World) -> State {
    let flows = &w.fw.core().v4.flows;
    (0..flows.capacity()).filter_map(|n| flows.get(n)).find(|f| f.remote == SERVER4).unwrap().tracker.state()
}

#[test]
fn only_a_syn_opens() {
    let mut w = World::new(1);
    for flags in [ACK, RST, RST | ACK, FIN | ACK, SYN | ACK] {
        w.refused(0, &to_server(false, 0).tcp(mac(0), CLIENT, flags, (1, 1), 9, b""), DropReason::TcpNotSyn);
    }
    for flags in [0, FIN, SYN | FIN, SYN | RST, FIN | RST, 0x3f] {
        w.refused(0, &to_server(false, 0).tcp(mac(0), CLIENT, flags, (1, 1), 9, b""), DropReason::TcpFlags);
    }
    assert_eq!(w.fw.core().v4.flows.len(), 0);
}

#[test]
fn an_answer_must_acknowledge_the_syn() {
    let mut w = World::new(1);
    let back = from_server(false);
    let port = ends(&w.out(0, &to_server(false, 0).tcp(mac(0), CLIENT, SYN, (1000, 0), 64000, b""))).1;
    let s = (443, port);
    for ack in [0, 1000, 1002, 0x8000_0000] {
        w.refused_from_net(&back.tcp(NIC, s, SYN | ACK, (5000, ack), 100, b""), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, RST | ACK, (0, ack), 0, b""), DropReason::TcpWindow);
    }
    w.refused_from_net(&back.tcp(NIC, s, SYN, (5000, 0), 100, b""), DropReason::TcpState);
    w.refused_from_net(&back.tcp(NIC, s, ACK, (5000, 1001), 100, b""), DropReason::TcpState);
    w.refused_from_net(&back.tcp(NIC, s, RST, (0, 0), 0, b""), DropReason::TcpState);
    assert_eq!(state(&w), State::SynSent);
    // The refusal of a closed port passes and ends the flow.
    w.in_to(0, &back.tcp(NIC, s, RST | ACK, (0, 1001), 0, b""));
    assert_eq!(state(&w), State::Reset);
}

#[test]
fn blind_injection_changes_nothing() {
    let mut w = World::new(1);
    let s = established(&mut w);
    let back = from_server(false);
    // Beyond what the client's window of 500 << 7 allows, below what was sent, and acknowledging the unsent.
    for seq in [5001 + 64000 + 65000, 0x7000_0000, 0xF000_0000] {
        w.refused_from_net(&back.tcp(NIC, s, RST, (seq, 0), 0, b""), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, RST | ACK, (seq, 1001), 0, b""), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, ACK, (seq, 1001), 0, b"evil"), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, FIN | ACK, (seq, 1001), 0, b""), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, SYN | ACK, (seq, 1001), 0, b""), DropReason::TcpWindow);
        w.refused_from_net(&back.tcp(NIC, s, SYN, (seq, 0), 0, b""), DropReason::TcpState);
    }
    for ack in [1002, 0x4000_0000, 0x9000_0000] {
        w.refused_from_net(&back.tcp(NIC, s, ACK, (5001, ack), 500, b"evil"), DropReason::TcpWindow);
    }
    assert_eq!(state(&w), State::Established);
    // In the window but not exact: the client may challenge it, the firewall forgets nothing (RFC 5961 §3).
    w.in_to(0, &back.tcp(NIC, s, RST, (5101, 0), 0, b""));
    assert_eq!(state(&w), State::Established);
    w.in_to(0, &back.tcp(NIC, s, RST, (5001, 0), 0, b""));
    assert_eq!(state(&w), State::Reset);
}

#[test]
fn brute_force_of_blind_segments_changes_no_state() {
    let mut w = World::new(1);
    let s = established(&mut w);
    let back = from_server(false);
    let mut random = crate::hash::Random::new([5, 6]);
    let mut passed = 0;
    for round in 0..1 << 14 {
        let number = random.next_u64();
        let (seq, ack) = ((number >> 32) as u32, (number & 0xFFFF_FFFF) as u32);
        let flags = [RST, SYN, ACK, FIN | ACK][round % 4];
        w.net.send(&link::Meta::default(), &[&back.tcp(NIC, s, flags, (seq, ack), 500, b"")]).unwrap();
        if round % 32 == 31 {
            w.net.publish();
            w.run();
            passed += w.at_client(0).len();
        }
    }
    assert_eq!(state(&w), State::Established);
    // A window of 64,000 and the 65,000 below it in 2^32: one blind reset in 33,000 is seen by the client.
    assert!(passed <= 4, "{passed}");
}

#[test]
fn a_client_that_forgot_gets_its_port_back() {
    let mut w = World::new(1);
    let s = established(&mut w);
    let (there, back) = (to_server(false, 0), from_server(false));
    // It restarts and uses the same port: the SYN passes, the server challenges, the client resets, and begins again.
    w.out(0, &there.tcp(mac(0), CLIENT, SYN, (77_000_000, 0), 64000, b""));
    assert_eq!(state(&w), State::Established);
    w.in_to(0, &back.tcp(NIC, s, ACK, (5001, 1001), 500, b""));
    w.out(0, &there.tcp(mac(0), CLIENT, RST, (1001, 0), 0, b""));
    assert_eq!(state(&w), State::Reset);
    w.refused_from_net(&back.tcp(NIC, s, ACK, (5001, 1001), 500, b"late"), DropReason::TcpState);
    // That is another connection, with a port of its own outside.
    let again = w.out(0, &there.tcp(mac(0), CLIENT, SYN, (77_000_000, 0), 64000, b""));
    assert_eq!((state(&w), w.fw.core().v4.flows.len()), (State::SynSent, 1));
    let s = (443, ends(&again).1);
    w.in_to(0, &back.tcp(NIC, s, SYN | ACK, (900, 77_000_001), 65000, b""));
}

#[test]
fn window_scaling_counts_only_if_both_offer_it() {
    // established() offers 7 on both sides: a window of 500 is 64,000 bytes.
    let mut w = World::new(1);
    let s = established(&mut w);
    let back = from_server(false);
    w.in_to(0, &back.tcp(NIC, s, ACK, (5001 + 63_000, 1001), 500, b"x"));
    w.refused_from_net(&back.tcp(NIC, s, ACK, (5001 + 65_000, 1001), 500, b"x"), DropReason::TcpWindow);
}

#[test]
fn unanswered_and_dead_connections_expire_and_living_ones_do_not() {
    let mut w = World::new(1);
    w.out(0, &to_server(false, 0).tcp(mac(0), CLIENT, SYN, (1000, 0), 64000, b""));
    w.wait(125);
    assert_eq!(w.fw.core().v4.flows.len(), 0);
    let s = established(&mut w);
    for _ in 0..40 {
        w.wait(180);
        w.in_to(0, &from_server(false).tcp(NIC, s, ACK, (5001, 1001), 500, b""));
    }
    assert_eq!(state(&w), State::Established);
    w.wait(7445);
    assert_eq!(w.fw.core().v4.flows.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A lossless conversation of any shape is never refused.
    #[test]
    fn what_two_honest_ends_say_passes(
        isn: (u32, u32), steps in proptest::collection::vec((any::<bool>(), 0usize..1400, any::<bool>()), 1..60),
    ) {
        let mut w = World::new(1);
        let (there, back) = (to_server(false, 0), from_server(false));
        let (mut c, mut s) = isn;
        let port = ends(&w.out(0, &there.tcp(mac(0), CLIENT, SYN, (c, 0), 64000, b""))).1;
        c = c.wrapping_add(1);
        w.in_to(0, &back.tcp(NIC, (443, port), SYN | ACK, (s, c), 65000, b""));
        s = s.wrapping_add(1);
        w.out(0, &there.tcp(mac(0), CLIENT, ACK, (c, s), 500, b""));
        for (from_client, len, again) in steps {
            let data = vec![3; len];
            for _ in 0..=usize::from(again) {
                if from_client {
                    w.out(0, &there.tcp(mac(0), CLIENT, ACK, (c, s), 500, &data));
                } else {
                    w.in_to(0, &back.tcp(NIC, (443, port), ACK, (s, c), 500, &data));
                }
            }
            let by = u32::try_from(len).unwrap();
            if from_client { c = c.wrapping_add(by) } else { s = s.wrapping_add(by) }
        }
        w.out(0, &there.tcp(mac(0), CLIENT, ACK | FIN, (c, s), 500, b""));
        w.in_to(0, &back.tcp(NIC, (443, port), ACK | FIN, (s, c.wrapping_add(1)), 500, b""));
        w.out(0, &there.tcp(mac(0), CLIENT, ACK, (c.wrapping_add(1), s.wrapping_add(1)), 500, b""));
        prop_assert_eq!(state(&w), State::Closing);
    }
}
