//! A card that is told to write outside the DMA arena: does anything stop it?

use crate::nic;
use core::sync::atomic::{AtomicU64, Ordering};
use hal::dma::{Dma, DmaRegion};
use hal::mmio::Mmio;
use rt::Step;

/// Ordinary memory of the domain, as far from the arena as any.
static CANARY: [AtomicU64; 256] = [const { AtomicU64::new(PATTERN) }; 256];
const PATTERN: u64 = 0x5AFE_5AFE_5AFE_5AFE;

const DESCRIPTORS: usize = 8;
const RCTL: u32 = 0x0100;
const RCTL_EN: u32 = 1 << 1;
const RDBAL: u32 = 0x2800;
const RDBAH: u32 = 0x2804;
const RDLEN: u32 = 0x2808;
const RDH: u32 = 0x2810;
const RDT: u32 = 0x2818;
const PATIENCE_US: u64 = 20_000_000;

/// Points the receive ring at the canary, provokes an answer from the cable, and looks.
pub(crate) fn by_dma(machine: &rt::Machine) -> ! {
    let mut card = nic::open(machine);
    let Some(registers) = nic::function(machine).registers(0) else { rt::stop(format_args!("no registers")) };
    let target = CANARY.as_ptr().expose_provenance() as u64;
    let Some(ring) = machine.dma_arena().alloc(DESCRIPTORS * 16, 128) else {
        rt::stop(format_args!("no arena"))
    };
    for index in 0..DESCRIPTORS {
        ring.write_u64(index * 16, target);
        ring.write_u64(index * 16 + 8, 0);
    }
    hal::dma::fence();
    let rctl = registers.read32(RCTL);
    registers.write32(RCTL, rctl & !RCTL_EN);
    let [low, high] = [ring.bus_addr() & 0xFFFF_FFFF, ring.bus_addr() >> 32];
    registers.write32(RDBAL, u32::try_from(low).unwrap_or(0));
    registers.write32(RDBAH, u32::try_from(high).unwrap_or(0));
    registers.write32(RDLEN, 128);
    registers.write32(RDH, 0);
    registers.write32(RDT, 0);
    registers.write32(RCTL, rctl);
    registers.write32(RDT, 7);
    let mut asked = 0;
    rt::run(move |now| {
        if registers.read32(RDH) != 0 {
            report();
        }
        if now >= PATIENCE_US {
            rt::stop(format_args!("the card received nothing"));
        }
        if now >= asked {
            asked = now + 500_000;
            nic::discover(&mut card);
        }
        Step::Idle { until_us: Some(now + 10_000) }
    })
}

fn report() -> ! {
    let intact = CANARY.iter().all(|word| word.load(Ordering::SeqCst) == PATTERN);
    log::info!("a frame was received; CANARY {}", if intact { "INTACT" } else { "OVERWRITTEN" });
    rt::exit(0)
}
