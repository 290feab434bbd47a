//! The driver against the register-level fake.

mod hostile;
mod offload;

use crate::fake::{Fake82574, Faults, MAC};
use crate::rx::RX_RING;
use crate::stats::Counter;
use crate::tx::{MAX_FRAME, TX_RING};
use crate::{Armed, Duplex, InterruptMode, LinkState, Nic, RxHints, SetupError, TxError, TxOffload};
use hal::fake::{FakeArena, FakeClock, FakeRegion};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

type TestNic = Nic<Fake82574, FakeRegion, FakeClock>;

/// A machine with one card in it.
struct Bench {
    arena: FakeArena,
    clock: FakeClock,
    card: Fake82574,
}

impl Bench {
    fn new() -> Self {
        let arena = FakeArena::new(0x1_0000_0000, 2 << 20);
        let clock = FakeClock::new();
        let card = Fake82574::new(&arena, &clock);
        Self { arena, clock, card }
    }

    fn start(&mut self, mode: InterruptMode) -> Result<TestNic, SetupError> {
        Nic::new(0x10D3, mode, self.card.clone(), &mut self.arena, self.clock.clone())
    }

    fn up(&mut self) -> TestNic {
        self.start(InterruptMode::MsiX).unwrap()
    }

    fn assert_clean(&self) {
        assert_eq!(self.card.breaches(), Vec::<std::string::String>::new());
        assert_eq!(self.arena.bus().faults(), []);
        assert!(self.arena.gaps_untouched());
    }
}

/// A broadcast frame whose bytes tell its number.
fn frame(number: usize, len: usize) -> Vec<u8> {
    let mut frame = vec![0xFF; 6];
    frame.extend((6..len).map(|at| (at * 7 + number).to_le_bytes()[0]));
    frame
}

fn drain(nic: &mut TestNic, budget: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    nic.rings().0.poll(budget, &mut |frame: &[u8], _: RxHints| frames.push(frame.to_vec()));
    frames
}

#[test]
fn bring_up_breaks_no_rule_and_finds_address_and_link() {
    for mode in [InterruptMode::MsiX, InterruptMode::Msi, InterruptMode::IntX] {
        let mut bench = Bench::new();
        let nic = bench.start(mode).unwrap();
        assert_eq!(nic.mac(), MAC);
        assert_eq!(nic.name(), "82574L");
        assert_eq!(nic.link(), LinkState::Up { mbps: 1000, duplex: Duplex::Full });
        bench.assert_clean();
        assert!(bench.clock.peek_us() < 200_000, "{} us", bench.clock.peek_us());
    }
}

#[test]
fn the_fake_notices_what_it_promises_to_notice() {
    use crate::regs;
    use hal::mmio::Mmio;
    let writes = [
        (regs::RDBAL0, 0),
        (regs::TDLEN0, 128),
        (regs::RDT0, 512),
        (regs::TDT0, 4096),
        (regs::RCTL, 1 << 31 | 2),
        (0x1F000, 0),
        (regs::CTRL, regs::ctrl::RST),
        (regs::MDIC, 0),
    ];
    for (reg, value) in writes {
        let mut bench = Bench::new();
        let _nic = bench.up();
        bench.card.write32(reg, value);
        assert!(!bench.card.breaches().is_empty(), "{reg:#x} = {value:#x}");
    }
}

#[test]
fn start_reports_what_is_wrong_with_the_card() {
    let cases = [
        (Faults { absent: true, ..Faults::default() }, SetupError::Absent),
        (Faults { dead_phy: true, ..Faults::default() }, SetupError::Phy),
    ];
    for (faults, error) in cases {
        let mut bench = Bench::new();
        bench.card.set_faults(faults);
        assert_eq!(bench.start(InterruptMode::MsiX).unwrap_err(), error);
    }
    let mut bench = Bench::new();
    let unknown =
        Nic::new(0x1234, InterruptMode::Msi, bench.card.clone(), &mut bench.arena, FakeClock::new());
    assert_eq!(unknown.map(|_| ()).unwrap_err(), SetupError::UnknownChip(0x1234));
    let mut small = FakeArena::new(0, 1 << 20);
    let card = Fake82574::new(&small, &bench.clock);
    let starved = Nic::new(0x10D3, InterruptMode::Msi, card, &mut small, bench.clock.clone());
    assert_eq!(starved.map(|_| ()).unwrap_err(), SetupError::NoDmaMemory);
}

#[test]
fn a_blank_receive_address_is_read_from_the_nvm() {
    let mut bench = Bench::new();
    bench.card.set_faults(Faults { blank_receive_address: true, ..Faults::default() });
    assert_eq!(bench.up().mac(), MAC);
    bench.assert_clean();
}

#[test]
fn receives_in_order_across_the_wrap_with_one_tail_write_per_burst() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let _ = bench.card.take_tail_writes();
    let mut number = 0;
    for burst in [1, 64, 300, 17, 256, 500, 3] {
        let sent: Vec<_> =
            (0..burst).map(|index| frame(number + index, 60 + (number + index) % 1400)).collect();
        assert!(sent.iter().all(|frame| bench.card.receive(frame)));
        assert_eq!(drain(&mut nic, RX_RING), sent);
        assert_eq!(bench.card.take_tail_writes(), 1);
        number += burst;
    }
    assert!(number > 2 * RX_RING);
    assert_eq!(drain(&mut nic, 64), Vec::<Vec<u8>>::new());
    assert_eq!(bench.card.take_tail_writes(), 0, "an empty poll touches no register");
    assert_eq!(nic.counters().rx.frames, number as u64);
    bench.assert_clean();
}

#[test]
fn poll_stops_at_its_budget_and_a_full_ring_loses_frames_without_harm() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let accepted = (0..RX_RING + 10).filter(|number| bench.card.receive(&frame(*number, 100))).count();
    assert_eq!(accepted, RX_RING - 1, "one descriptor stays free");
    assert_eq!(drain(&mut nic, 10).len(), 10);
    assert_eq!(drain(&mut nic, RX_RING).len(), accepted - 10);
    assert!(bench.card.receive(&frame(1, 100)));
    nic.service().unwrap();
    assert_eq!(nic.statistics().get(Counter::NoBuffers), 11);
    bench.assert_clean();
}

#[test]
fn bad_descriptors_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let lengths = |len: u64, bits: u64| bits | len << 32;
    let cases =
        [lengths(2049, 3), lengths(65_535, 3), lengths(0, 3), lengths(13, 3), lengths(100, 3 | 1 << 24)];
    for word in cases {
        assert!(bench.card.receive_raw(word, &[0x55; 64]));
    }
    // A frame in three pieces, then a good one.
    for word in [lengths(2048, 1), lengths(2048, 1), lengths(10, 3), lengths(60, 3)] {
        assert!(bench.card.receive_raw(word, &[0x66; 60]));
    }
    assert_eq!(drain(&mut nic, 64), [[0x66; 60]]);
    let counters = nic.counters().rx;
    assert_eq!((counters.bad_length, counters.runt, counters.damaged), (3, 1, 1));
    assert_eq!((counters.fragmented, counters.frames), (1, 1));
    bench.assert_clean();
}

#[test]
fn sends_across_the_wrap_pads_and_kicks_once_per_burst() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let _ = bench.card.take_tail_writes();
    for round in 0..20 {
        let (_, mut tx) = nic.rings();
        let frames: Vec<_> = (0..50).map(|index| frame(round * 50 + index, 14 + index * 30)).collect();
        for frame in &frames {
            let (head, tail) = frame.split_at(frame.len() / 3);
            tx.send(&[head, &[], tail], TxOffload::None).unwrap();
        }
        assert_eq!(bench.card.take_sent().len(), 0, "nothing leaves before the kick");
        tx.kick();
        assert_eq!(bench.card.take_tail_writes(), 1);
        let padded = frames.into_iter().map(|mut frame| {
            frame.resize(frame.len().max(60), 0);
            frame
        });
        assert_eq!(bench.card.take_sent(), padded.collect::<Vec<_>>());
        assert_eq!(tx.reclaim(), 50);
        tx.kick();
        assert_eq!(bench.card.take_tail_writes(), 0);
    }
    assert_eq!(nic.counters().tx.frames, 1000);
    bench.assert_clean();
}

#[test]
fn a_full_ring_says_so_and_asks_for_a_wake_up() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    bench.card.set_faults(Faults { tx_hang: true, ..Faults::default() });
    let (_, mut tx) = nic.rings();
    let accepted = (0..TX_RING + 5).filter(|n| tx.send(&[&frame(*n, 100)], TxOffload::None).is_ok()).count();
    assert_eq!(accepted, TX_RING - 1);
    assert_eq!(tx.send(&[&frame(0, 100)], TxOffload::None), Err(TxError::Full));
    tx.kick();
    assert_eq!(nic.arm(), Armed::Sleep);
    let before = bench.card.interrupts()[usize::from(crate::interrupt::VECTOR_TX)];
    bench.card.set_faults(Faults::default());
    assert!(bench.card.interrupts()[usize::from(crate::interrupt::VECTOR_TX)] > before);
    assert_eq!(nic.rings().1.reclaim(), accepted);
    bench.assert_clean();
}

#[test]
fn lengths_out_of_range_are_refused() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let (_, mut tx) = nic.rings();
    for len in [0, 13, MAX_FRAME + 1, 70_000] {
        assert_eq!(tx.send(&[&vec![0; len]], TxOffload::None), Err(TxError::Length), "{len}");
    }
    assert_eq!(tx.send(&[&vec![0; 65_554]], TxOffload::Segment { mss: 1460 }), Err(TxError::Length));
    tx.kick();
    assert!(bench.card.take_sent().is_empty());
    bench.assert_clean();
}

#[test]
fn arming_never_misses_a_frame_and_interrupts_mask_themselves() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let received = |bench: &Bench| bench.card.interrupts()[0];
    assert!(bench.card.receive(&frame(0, 100)));
    assert_eq!(received(&bench), 0, "masked until armed");
    assert_eq!(nic.arm(), Armed::Pending);
    assert_eq!(received(&bench), 1, "the pending cause fired");
    assert!(bench.card.receive(&frame(1, 100)));
    assert_eq!(received(&bench), 1, "masked itself");
    assert_eq!(drain(&mut nic, 64).len(), 2);
    assert_eq!(nic.arm(), Armed::Sleep);
    drain(&mut nic, 64);
    let before = received(&bench);
    assert!(bench.card.receive(&frame(2, 100)));
    assert!(received(&bench) >= before);
    bench.assert_clean();
}

#[test]
fn msi_and_intx_acknowledge_by_reading_the_cause() {
    let mut bench = Bench::new();
    let mut nic = bench.start(InterruptMode::IntX).unwrap();
    nic.acknowledge();
    assert_eq!(nic.arm(), Armed::Sleep);
    assert!(bench.card.receive(&frame(0, 100)));
    assert_eq!(bench.card.interrupts()[0], 1);
    nic.acknowledge();
    assert!(bench.card.receive(&frame(1, 100)));
    assert_eq!(bench.card.interrupts()[0], 1, "reading ICR masked everything");
    assert_eq!(drain(&mut nic, 64).len(), 2);
    bench.assert_clean();
}

#[test]
fn link_changes_are_reported_once() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    assert_eq!(nic.service().unwrap().link, None);
    assert_eq!(nic.arm(), Armed::Sleep);
    let other = usize::from(crate::interrupt::VECTOR_OTHER);
    let before = bench.card.interrupts()[other];
    bench.card.set_link(false);
    assert_eq!(bench.card.interrupts()[other], before + 1);
    assert_eq!(nic.service().unwrap().link, Some(LinkState::Down));
    assert_eq!(nic.service().unwrap().link, None);
    bench.card.set_link(true);
    assert!(matches!(nic.service().unwrap().link, Some(LinkState::Up { mbps: 1000, .. })));
    bench.assert_clean();
}

#[test]
fn a_hung_transmitter_is_reset_and_works_again() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    nic.set_multicast(&[[0x33, 0x33, 0, 0, 0, 1]]);
    bench.card.set_faults(Faults { tx_hang: true, ..Faults::default() });
    let (_, mut tx) = nic.rings();
    tx.send(&[&frame(1, 100)], TxOffload::None).unwrap();
    tx.kick();
    bench.clock.advance_us(1_900_000);
    assert!(!nic.service().unwrap().reset, "patience");
    bench.clock.advance_us(200_000);
    assert!(nic.service().unwrap().reset);
    bench.card.set_faults(Faults::default());
    assert_eq!((nic.counters().tx.lost, nic.counters().resets), (1, 1));
    let (_, mut tx) = nic.rings();
    tx.send(&[&frame(2, 100)], TxOffload::None).unwrap();
    tx.kick();
    assert_eq!(bench.card.take_sent(), [frame(2, 100)]);
    let mut group = frame(3, 100);
    group[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    assert!(bench.card.receive(&group), "the reset restored the groups");
    assert_eq!(drain(&mut nic, 9), [group]);
    bench.assert_clean();
}

#[test]
fn a_link_that_is_down_is_no_hang() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    bench.card.set_faults(Faults { tx_hang: true, ..Faults::default() });
    bench.card.set_link(false);
    let (_, mut tx) = nic.rings();
    tx.send(&[&frame(1, 100)], TxOffload::None).unwrap();
    tx.kick();
    for _ in 0..10 {
        bench.clock.advance_us(1_000_000);
        assert!(!nic.service().unwrap().reset);
    }
    bench.assert_clean();
}

#[test]
fn a_hung_receiver_is_reset() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    nic.service().unwrap();
    bench.card.set_faults(Faults { rx_hang: true, ..Faults::default() });
    assert!(!bench.card.receive(&frame(1, 100)));
    assert!(nic.service().unwrap().reset);
    bench.card.set_faults(Faults::default());
    assert!(bench.card.receive(&frame(2, 100)));
    assert_eq!(drain(&mut nic, 9), [frame(2, 100)]);
    bench.assert_clean();
}

#[test]
fn a_pulled_card_is_an_error_not_a_hang() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    bench.card.set_faults(Faults { absent: true, ..Faults::default() });
    assert_eq!(nic.service(), Err(SetupError::Absent));
}

#[test]
fn only_own_broadcast_and_chosen_groups_arrive() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let to = |dest: [u8; 6]| {
        let mut frame = frame(0, 100);
        frame[..6].copy_from_slice(&dest);
        frame
    };
    let (group, stranger) = ([0x01, 0, 0x5E, 0, 0, 0xFB], [0x52, 0x54, 0, 0x12, 0x34, 0x57]);
    assert!(bench.card.receive(&to(MAC)));
    assert!(!bench.card.receive(&to(stranger)));
    assert!(!bench.card.receive(&to(group)));
    nic.set_multicast(&[group]);
    assert!(bench.card.receive(&to(group)));
    assert!(!bench.card.receive(&to([0x01, 0, 0x5E, 0, 0x10, 0xFB])));
    nic.set_multicast(&[[0x01, 0, 0x5E, 0, 0, 1]; 100]);
    assert!(bench.card.receive(&to([0x01, 0, 0x5E, 0, 0x10, 0xFB])), "too many groups: all of them");
    nic.set_multicast(&[]);
    assert!(!bench.card.receive(&to(group)));
    bench.assert_clean();
}
