//! A card that lies: whatever it writes into memory or answers from registers, the driver never panics,
//! never hands out more than a buffer, and never makes the card reach outside the arena by its own doing.

use super::*;
use crate::regs;
use crate::rx::RX_BUFFER;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The card writes any word into any descriptor of a ring.
    Scribble {
        ring: Ring,
        index: usize,
        half: usize,
        word: u64,
    },
    /// The card completes a receive descriptor with any status.
    Receive(u64),
    /// The card lies in one of so many register reads.
    Lie(u32),
    Poll(usize),
    Send {
        len: usize,
        offload: TxOffload,
    },
    Kick,
    Reclaim,
    Arm,
    Service,
    Wait(u64),
    Groups(usize),
}

#[derive(Clone, Copy, Debug)]
enum Ring {
    Receive,
    Transmit,
}

fn offload() -> impl Strategy<Value = TxOffload> {
    prop_oneof![
        Just(TxOffload::None),
        (any::<u16>(), any::<u16>()).prop_map(|(start, offset)| TxOffload::Checksum { start, offset }),
        any::<u16>().prop_map(|mss| TxOffload::Segment { mss }),
    ]
}

/// Words that look like completions more often than chance would have it.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (any::<u32>(), any::<u16>()).prop_map(|(status, len)| u64::from(status | 3) | u64::from(len) << 32),
        (0_u64..2100).prop_map(|len| 3 | len << 32),
        Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ring = prop_oneof![Just(Ring::Receive), Just(Ring::Transmit)];
    prop_oneof![
        (ring, 0..RX_RING, 0_usize..2, word()).prop_map(|(ring, index, half, word)| Step::Scribble {
            ring,
            index,
            half,
            word
        }),
        word().prop_map(Step::Receive),
        (0_u32..8).prop_map(Step::Lie),
        (0_usize..2000).prop_map(Step::Poll),
        (0_usize..3000, offload()).prop_map(|(len, offload)| Step::Send { len, offload }),
        Just(Step::Kick),
        Just(Step::Reclaim),
        Just(Step::Arm),
        Just(Step::Service),
        any::<u32>().prop_map(|us| Step::Wait(u64::from(us))),
        (0_usize..50).prop_map(Step::Groups),
    ]
}

impl Bench {
    fn scribble(&self, ring: Ring, index: usize, half: usize, word: u64) {
        let (base, count) = match ring {
            Ring::Receive => (regs::RDBAL0, RX_RING),
            Ring::Transmit => (regs::TDBAL0, TX_RING),
        };
        let base = u64::from(self.card.peek(base)) | u64::from(self.card.peek(base + 4)) << 32;
        let addr = base + ((index % count) * 16 + half * 8) as u64;
        let _ = self.arena.bus().write(addr, &word.to_le_bytes());
    }

    fn apply(&self, nic: &mut TestNic, step: &Step) {
        match step {
            Step::Scribble { ring, index, half, word } => self.scribble(*ring, *index, *half, *word),
            Step::Receive(status) => drop(self.card.receive_raw(*status, &[0x5A; 64])),
            Step::Lie(lie_every) => {
                self.card.set_faults(Faults { lie_every: *lie_every, ..Faults::default() });
            }
            Step::Poll(budget) => {
                let frames = drain(nic, *budget);
                assert!(frames.len() <= *budget);
                assert!(frames.iter().all(|frame| (14..=RX_BUFFER).contains(&frame.len())));
            }
            Step::Send { len, offload } => drop(nic.rings().1.send(&[&frame(1, *len)], *offload)),
            Step::Kick => nic.rings().1.kick(),
            Step::Reclaim => assert!(nic.rings().1.reclaim() <= TX_RING),
            Step::Arm => drop(nic.arm()),
            Step::Service => drop(nic.service()),
            Step::Wait(us) => self.clock.advance_us(*us),
            Step::Groups(count) => nic.set_multicast(&vec![[1, 2, 3, 4, 5, 6]; *count]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_word_in_memory_or_register_hurts(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut nic = bench.up();
        for step in &steps {
            bench.apply(&mut nic, step);
        }
        prop_assert!(bench.arena.gaps_untouched());
    }

    #[test]
    fn a_lying_card_fails_to_start_or_starts(lie_every in 1_u32..200) {
        let mut bench = Bench::new();
        bench.card.set_faults(Faults { lie_every, ..Faults::default() });
        if let Ok(mut nic) = bench.start(InterruptMode::MsiX) {
            prop_assert!(nic.mac()[0] & 1 == 0);
            let _ = nic.service();
        }
        prop_assert!(bench.clock.peek_us() < 2_000_000, "start-up is bounded");
    }
}
