//! The boot record that a unikernel finds as its first module.

use super::{LoadError, Module, place};
use crate::memory::Layout;
use abi::boot_info::{BootInfo, MAGIC, VERSION};
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::{SystemTime, UNIX_EPOCH};
use vm_memory::GuestMemoryMmap;

/// What the record says beyond what is known here.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Domain name; longer than 31 bytes is cut.
    pub name: String,
    /// Frequency of the guest's time-stamp counter in kHz.
    pub tsc_khz: u64,
    /// Bytes at the top of low memory that assigned devices may reach.
    pub dma_len: u64,
    /// Bytes of memory that outlives the machine.
    pub state_len: u64,
}

pub(super) fn write(memory: &GuestMemoryMmap, layout: Layout, facts: &Facts) -> Result<Module, LoadError> {
    let record = record(layout, facts)?;
    let bytes = encode(&record);
    super::write(memory, "the boot record", place::BOOT_INFO, &bytes)?;
    Ok(Module { base: place::BOOT_INFO, len: bytes.len() as u64 })
}

fn record(layout: Layout, facts: &Facts) -> Result<BootInfo, LoadError> {
    let mut seed = [0; 64];
    let got =
        getrandom(&mut seed, GetRandomFlags::empty()).map_err(|e| LoadError::BootInfo(e.to_string()))?;
    if got != seed.len() {
        return Err(LoadError::BootInfo("the host gave too few random bytes".into()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().take(31).zip(facts.name.bytes()) {
        *to = from;
    }
    let present = |len: u64, base: u64| if len > 0 { base } else { 0 };
    Ok(BootInfo {
        magic: MAGIC,
        version: VERSION,
        size: u32::try_from(size_of::<BootInfo>()).unwrap_or(0),
        tsc_khz: facts.tsc_khz,
        ecam_base: abi::memory_map::ECAM_BASE,
        dma_base: present(facts.dma_len, layout.low.saturating_sub(facts.dma_len)),
        dma_len: facts.dma_len,
        state_base: present(facts.state_len, abi::memory_map::STATE_BASE),
        state_len: facts.state_len,
        wall_clock_ns: u64::try_from(now).unwrap_or(0),
        seed,
        name,
    })
}

/// Little-endian bytes in the order of the fields, whose offsets `abi` asserts.
fn encode(record: &BootInfo) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<BootInfo>());
    bytes.extend(record.magic.to_le_bytes());
    bytes.extend(record.version.to_le_bytes());
    bytes.extend(record.size.to_le_bytes());
    for word in [
        record.tsc_khz,
        record.ecam_base,
        record.dma_base,
        record.dma_len,
        record.state_base,
        record.state_len,
        record.wall_clock_ns,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(record.seed);
    bytes.extend(record.name);
    bytes
}
