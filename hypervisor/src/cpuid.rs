//! What the guest is told about its processor: what KVM supports, less nesting, plus topology and timing.
//!
//! Works from leaf contents alone, so AMD and Intel hosts take the same path.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Highest hypervisor leaf that we define: timing.
const TIMING_LEAF: u32 = 0x4000_0010;
/// KVM's local APIC timer counts at 1 GHz.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// One processor among several; each is a core of its own in one package.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Number of the processor, also its APIC ID.
    pub id: u32,
    /// Number of processors.
    pub count: u32,
}

/// What the guest may know about time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Frequency of the time-stamp counter in kHz; 0 when unknown.
    pub tsc_khz: u32,
    /// Whether the local APIC has TSC-deadline mode.
    pub tsc_deadline: bool,
}

/// What this host's virtualisation does wrong, as far as a guest must be kept from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errata {
    /// Nothing known.
    None,
    /// QEMU's emulated SVM does not intercept XSETBV: KVM never learns the guest's XCR0 and restores another,
    /// so a guest that uses XSAVE or AVX faults. Both are hidden.
    XsetbvNotIntercepted,
}

impl Errata {
    /// Looks at the processor that this process runs on.
    #[must_use]
    pub fn of_this_host() -> Self {
        let leaf = core::arch::x86_64::__cpuid(0x4000_0000);
        let mut vendor = Vec::new();
        for register in [leaf.ebx, leaf.ecx, leaf.edx] {
            vendor.extend(register.to_le_bytes());
        }
        if vendor == b"TCGTCGTCGTCG" { Self::XsetbvNotIntercepted } else { Self::None }
    }
}

/// Hides XSAVE and every instruction set that lives in its state.
pub fn hide_xsave(entries: &mut Vec<kvm_cpuid_entry2>) {
    entries.retain(|entry| entry.function != 0xD);
    for entry in entries {
        match (entry.function, entry.index) {
            // FMA, XSAVE, OSXSAVE, AVX, F16C
            (1, _) => entry.ecx &= !(1 << 12 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29),
            (7, 0) => {
                // AVX2 and AVX-512; VAES and VPCLMULQDQ, PKU; AMX
                entry.ebx &= !(1 << 5 | 1 << 16 | 1 << 17 | 1 << 21 | 0b1111 << 26 | 1 << 30 | 1 << 31);
                entry.ecx &=
                    !(1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14);
                entry.edx &= !(1 << 2 | 1 << 3 | 1 << 8 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25);
            }
            (7, 1) => (entry.eax, entry.edx) = (0, 0),
            (0x8000_0001, _) => entry.ecx &= !(1 << 11 | 1 << 15 | 1 << 16), // XOP, LWP, FMA4
            _ => {}
        }
    }
}

/// Adjusts what KVM supports to one processor of our machine.
#[must_use]
pub fn filter(supported: &[kvm_cpuid_entry2], topology: Topology, timing: Timing) -> Vec<kvm_cpuid_entry2> {
    let ours = |e: &&kvm_cpuid_entry2| !matches!(e.function, 0xB | 0x1F | TIMING_LEAF);
    let mut entries: Vec<_> = supported.iter().filter(ours).copied().collect();
    let extended_topology = supported.iter().any(|e| e.function == 0xB);
    for entry in &mut entries {
        adjust(entry, topology, timing);
    }
    if extended_topology {
        entries.extend(extended_topology_leaves(topology));
    }
    if timing.tsc_khz != 0 {
        let (eax, ebx) = (timing.tsc_khz, APIC_BUS_KHZ);
        entries.push(kvm_cpuid_entry2 { function: TIMING_LEAF, eax, ebx, ..Default::default() });
    }
    entries
}

fn adjust(entry: &mut kvm_cpuid_entry2, topology: Topology, timing: Timing) {
    let Topology { id, count } = topology;
    match entry.function {
        1 => {
            entry.ebx = entry.ebx & 0xFFFF | count.min(255) << 16 | id << 24;
            set(&mut entry.ecx, 5, false); // VMX
            set(&mut entry.ecx, 24, timing.tsc_deadline);
            set(&mut entry.ecx, 31, true); // there is a hypervisor
            set(&mut entry.edx, 28, count > 1);
        }
        // Intel cache leaf: caches of level 1 and 2 private, level 3 shared; cores in the package.
        4 if entry.eax & 0x1F != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = entry.eax & 0x3FFF | (sharing & 0xFFF) << 14 | (count - 1).min(63) << 26;
        }
        0x4000_0000 if timing.tsc_khz != 0 => entry.eax = entry.eax.max(TIMING_LEAF),
        0x8000_0001 => {
            set(&mut entry.ecx, 1, false); // CmpLegacy: cores are not threads
            set(&mut entry.ecx, 2, false); // SVM
        }
        0x8000_0008 => entry.ecx = width(count) << 12 | (count - 1) & 0xFF,
        0x8000_000A => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0), // SVM features
        // AMD cache leaf, as leaf 4.
        0x8000_001D if entry.eax & 0x1F != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = entry.eax & 0x3FFF | (sharing & 0xFFF) << 14;
        }
        0x8000_001E => (entry.eax, entry.ebx, entry.ecx) = (id, id & 0xFF, 0),
        _ => {}
    }
}

fn set(register: &mut u32, bit: u32, value: bool) {
    *register = *register & !(1 << bit) | u32::from(value) << bit;
}

/// Bits that number `count` processors.
fn width(count: u32) -> u32 {
    u32::BITS - count.saturating_sub(1).leading_zeros()
}

/// Leaf 0xB: one thread per core, `count` cores.
fn extended_topology_leaves(topology: Topology) -> [kvm_cpuid_entry2; 3] {
    let leaf = |index: u32, eax: u32, ebx: u32, kind: u32| kvm_cpuid_entry2 {
        function: 0xB,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax,
        ebx,
        ecx: kind << 8 | index,
        edx: topology.id,
        ..Default::default()
    };
    [leaf(0, 0, 1, 1), leaf(1, width(topology.count), topology.count, 2), leaf(2, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32) -> kvm_cpuid_entry2 {
        let all = u32::MAX;
        kvm_cpuid_entry2 { function, eax: all, ebx: all, ecx: all, edx: all, ..Default::default() }
    }

    #[test]
    fn nesting_is_hidden_and_the_hypervisor_shown() {
        let all = [entry(1), entry(0x8000_0001), entry(0x8000_000A), entry(0x4000_0000)];
        let timing = Timing { tsc_khz: 2_500_000, tsc_deadline: true };
        let filtered = filter(&all, Topology { id: 1, count: 2 }, timing);
        let leaf = |f: u32| *filtered.iter().find(|e| e.function == f).unwrap();
        assert_eq!(leaf(1).ecx & (1 << 5), 0);
        assert_ne!(leaf(1).ecx & (1 << 31), 0);
        assert_eq!(leaf(1).ebx >> 16, 0x0102);
        assert_eq!(leaf(0x8000_0001).ecx & (1 << 2), 0);
        assert_eq!(leaf(0x8000_000A).eax, 0);
        assert_eq!((leaf(TIMING_LEAF).eax, leaf(TIMING_LEAF).ebx), (2_500_000, 1_000_000));
    }

    #[test]
    fn topology_counts_cores() {
        let timing = Timing { tsc_khz: 0, tsc_deadline: false };
        let filtered = filter(&[entry(0xB), entry(0x8000_0008)], Topology { id: 2, count: 3 }, timing);
        let cores = filtered.iter().find(|e| e.function == 0xB && e.index == 1).unwrap();
        assert_eq!((cores.eax, cores.ebx, cores.edx), (2, 3, 2));
        let sizes = filtered.iter().find(|e| e.function == 0x8000_0008).unwrap();
        assert_eq!(sizes.ecx, 2 << 12 | 2);
        assert!(filtered.iter().all(|e| e.function != TIMING_LEAF));
    }
}
