//! Who knows the frequency of the time-stamp counter, best source first.

use crate::mmio::{self, Ports};
use abi::boot_info::BootInfo;

/// Frequency of the interval timer 8254 in Hz.
const PIT_HZ: u64 = 1_193_182;
/// Ticks of the interval timer per measurement (about 4 ms).
const PIT_WINDOW: u16 = 4_773;
/// Reads of the interval timer before a measurement is given up.
const PIT_PATIENCE: u32 = 200_000;

/// The frequency in kHz and the name of its source.
pub(super) fn find(info: Option<&BootInfo>, cmdline: &str) -> Option<(u64, &'static str)> {
    let told = info.map_or(0, |info| info.tsc_khz);
    let word = crate::boot::option(cmdline, "tsc_khz").and_then(|word| word.parse().ok()).unwrap_or(0);
    let sources: [(&'static str, &dyn Fn() -> u64); 6] = [
        ("boot record", &|| told),
        ("command line", &|| word),
        ("kvmclock", &|| mmio::kvm_clock_record().and_then(|record| from_kvm_clock(&record)).unwrap_or(0)),
        ("hypervisor leaf", &|| cpuid(0x4000_0000, 0x4000_0010).map_or(0, |[eax, ..]| u64::from(eax))),
        ("processor", &|| cpuid(0, 0x15).map_or(0, from_crystal)),
        ("interval timer", &|| measure().unwrap_or(0)),
    ];
    sources.iter().find_map(|(name, ask)| match ask() {
        0 => None,
        khz => Some((khz, *name)),
    })
}

/// Leaf `leaf` of CPUID when the range that starts at `first` reaches it.
fn cpuid(first: u32, leaf: u32) -> Option<[u32; 4]> {
    if first == 0x4000_0000 && !raw_cpuid::CpuId::new().get_feature_info()?.has_hypervisor() {
        return None;
    }
    let highest = raw_cpuid::cpuid!(first).eax;
    (leaf <= highest && highest < first + 0x1_0000).then(|| {
        let r = raw_cpuid::cpuid!(leaf);
        [r.eax, r.ebx, r.ecx, r.edx]
    })
}

/// CPUID leaf 0x15: crystal frequency (ECX, Hz) times EBX / EAX.
fn from_crystal([denominator, numerator, crystal_hz, _]: [u32; 4]) -> u64 {
    let hz = u64::from(crystal_hz) * u64::from(numerator);
    hz.checked_div(u64::from(denominator)).unwrap_or(0) / 1000
}

/// The clock record of KVM (`pvclock_vcpu_time_info`): nanoseconds = (ticks << shift) × mul / 2^32.
/// `None` for a record that was never written.
fn from_kvm_clock(record: &[u8; 32]) -> Option<u64> {
    let mul = u64::from(u32::from_le_bytes(record.get(24..28)?.try_into().ok()?));
    let shift = i32::from(i8::from_le_bytes([*record.get(28)?]));
    let khz = (1_000_000u64 << 32).checked_div(mul)?;
    let khz = match shift {
        0..=31 => khz >> shift,
        -20..0 => khz.checked_mul(1 << -shift)?,
        _ => return None,
    };
    (khz != 0).then_some(khz)
}

/// Measures against the interval timer: the median of three windows, so that one stall does not count.
fn measure() -> Option<u64> {
    let mut khz = [window()?, window()?, window()?];
    khz.sort_unstable();
    Some(khz[1])
}

fn window() -> Option<u64> {
    // Channel 0, low then high byte, mode 2: counts down from 65536 for ever.
    for (port, value) in [(3, 0x34), (0, 0), (0, 0)] {
        Ports::PIT.write8(port, value);
    }
    let first = pit();
    let begin = mmio::tsc();
    for _ in 0..PIT_PATIENCE {
        let passed = first.wrapping_sub(pit());
        if passed >= PIT_WINDOW {
            let ticks = mmio::tsc().wrapping_sub(begin);
            return Some(ticks.saturating_mul(PIT_HZ) / (u64::from(passed) * 1000));
        }
    }
    None
}

/// The latched count of channel 0.
fn pit() -> u16 {
    Ports::PIT.write8(3, 0);
    let low = Ports::PIT.read8(0);
    u16::from_le_bytes([low, Ports::PIT.read8(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mul: u32, shift: i8) -> [u8; 32] {
        let mut record = [0; 32];
        record[24..28].copy_from_slice(&mul.to_le_bytes());
        record[28] = shift.to_le_bytes()[0];
        record
    }

    #[test]
    fn kvm_clock_gives_the_frequency() {
        // 2.5 GHz: 0.4 ns a tick; KVM stores the factor as 0.8 with shift -1.
        let mul = u32::try_from((8u64 << 32) / 10).unwrap();
        assert_eq!(from_kvm_clock(&record(mul, -1)).unwrap().div_ceil(10) * 10, 2_500_000);
        // 500 MHz: 2 ns a tick, factor 0.5 with shift 2.
        assert_eq!(from_kvm_clock(&record(1 << 31, 2)), Some(500_000));
        assert_eq!(from_kvm_clock(&record(0, 0)), None);
        assert_eq!(from_kvm_clock(&record(1, -128)), None);
        assert_eq!(from_kvm_clock(&record(u32::MAX, 31)), None);
    }

    #[test]
    fn crystal_gives_the_frequency() {
        assert_eq!(from_crystal([2, 200, 24_000_000, 0]), 2_400_000);
        assert_eq!(from_crystal([0, 200, 24_000_000, 0]), 0);
        assert_eq!(from_crystal([2, 0, 0, 0]), 0);
    }
}
