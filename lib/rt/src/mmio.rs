//! Registers of every kind: memory-mapped, I/O ports, model-specific, the time-stamp counter.
//!
//! Callers get small safe types, each confined to one device's registers, none of which can reach memory.

use crate::ram::Range;
use core::ptr::NonNull;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// A block of I/O ports that belongs to one device.
#[derive(Debug)]
pub(crate) struct Ports {
    base: u16,
    len: u16,
}

impl Ports {
    /// The first serial port.
    pub(crate) const COM1: Self = Self { base: abi::memory_map::COM1, len: 8 };
    /// Where the monitor takes exit codes.
    pub(crate) const EXIT: Self = Self { base: abi::memory_map::EXIT_PORT, len: 4 };
    /// PCI configuration mechanism 1: address at 0, data at 4.
    pub(crate) const PCI_CONFIG: Self = Self { base: 0xCF8, len: 8 };
    /// The interval timer 8254: channels at 0..3, control at 3.
    pub(crate) const PIT: Self = Self { base: 0x40, len: 4 };
    /// The real-time clock: register number at 0, data at 1.
    pub(crate) const RTC: Self = Self { base: 0x70, len: 2 };
    /// Data port of the first interrupt controller 8259 (its mask), alone.
    pub(crate) const PIC1_MASK: Self = Self { base: 0x21, len: 1 };
    /// Data port of the second interrupt controller 8259 (its mask), alone.
    pub(crate) const PIC2_MASK: Self = Self { base: 0xA1, len: 1 };

    /// The port at `offset` when an access of `width` bytes stays inside the block.
    fn at(&self, offset: u16, width: u16) -> Option<u16> {
        (offset.checked_add(width)? <= self.len).then(|| self.base + offset)
    }

    pub(crate) fn read8(&self, offset: u16) -> u8 {
        // SAFETY: the port is inside a block whose device cannot touch memory.
        self.at(offset, 1).map_or(0xFF, |port| unsafe { Port::<u8>::new(port).read() })
    }

    pub(crate) fn write8(&self, offset: u16, value: u8) {
        if let Some(port) = self.at(offset, 1) {
            // SAFETY: as in `read8`.
            unsafe { Port::new(port).write(value) }
        }
    }

    pub(crate) fn read32(&self, offset: u16) -> u32 {
        // SAFETY: as in `read8`; a PCI configuration read has no side effect on memory.
        self.at(offset, 4).map_or(u32::MAX, |port| unsafe { Port::<u32>::new(port).read() })
    }

    pub(crate) fn write32(&self, offset: u16, value: u32) {
        if let Some(port) = self.at(offset, 4) {
            // SAFETY: as in `read8`. Configuration writes come from `pci` alone, which lets a device
            // become a bus master only at its owner's word.
            unsafe { Port::new(port).write(value) }
        }
    }
}

/// Memory-mapped registers: one mapped block, reached in volatile accesses of 32 bits.
#[derive(Debug)]
pub struct Registers {
    base: NonNull<u32>,
    len: u32,
}

// SAFETY: the block is plain address space; every access is one volatile load or store.
unsafe impl Send for Registers {}

impl Registers {
    /// Maps `range` (device registers, whole pages are mapped) uncached.
    ///
    /// # Safety
    /// `range` is device registers, not memory that Rust uses.
    pub(crate) unsafe fn map(range: Range) -> Option<Self> {
        let len = u32::try_from(range.len()).ok()?;
        crate::paging::map_registers(range).ok()?;
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(usize::try_from(range.start).ok()?))?;
        Some(Self { base, len })
    }

    /// Length of the block in bytes.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the block has no register at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of the block of `len` bytes at `offset`; `None` when it is not inside or not aligned.
    #[must_use]
    pub fn part(&self, offset: u32, len: u32) -> Option<Self> {
        if !offset.is_multiple_of(4) || offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the sum stays inside the mapped block.
        Some(Self { base: unsafe { self.base.byte_add(offset as usize) }, len })
    }

    /// The register of type `T` at `offset`.
    fn at<T>(&self, offset: u32) -> Option<NonNull<T>> {
        let size = u32::try_from(size_of::<T>()).ok()?;
        if !offset.is_multiple_of(size) || offset.checked_add(size)? > self.len {
            return None;
        }
        // SAFETY: the sum stays inside the mapped block.
        Some(unsafe { self.base.cast::<T>().byte_add(offset as usize) })
    }

    /// Reads the 16-bit register at `offset`; all ones beyond the block.
    pub(crate) fn read16(&self, offset: u32) -> u16 {
        // SAFETY: aligned, inside the block, mapped for ever.
        self.at::<u16>(offset).map_or(u16::MAX, |at| unsafe { at.read_volatile() })
    }

    /// Writes the 16-bit register at `offset`; nothing happens beyond the block.
    pub(crate) fn write16(&self, offset: u32, value: u16) {
        if let Some(at) = self.at::<u16>(offset) {
            // SAFETY: aligned, inside the block, mapped for ever.
            unsafe { at.write_volatile(value) }
        }
    }
}

impl hal::mmio::Mmio for Registers {
    fn read32(&self, offset: u32) -> u32 {
        // SAFETY: aligned, inside the block, mapped for ever.
        self.at::<u32>(offset).map_or(u32::MAX, |at| unsafe { at.read_volatile() })
    }

    fn write32(&self, offset: u32, value: u32) {
        if let Some(at) = self.at::<u32>(offset) {
            // SAFETY: aligned, inside the block, mapped for ever.
            unsafe { at.write_volatile(value) }
        }
    }
}

/// Model-specific registers that this runtime uses, and no other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Model {
    /// IA32_APIC_BASE.
    ApicBase,
    /// IA32_TSC_DEADLINE.
    TscDeadline,
    /// A register of the local APIC in x2APIC mode, by its offset in the memory-mapped layout.
    X2Apic(u16),
    /// MSR_KVM_SYSTEM_TIME_NEW: bit 0 turns the clock record on.
    KvmSystemTime,
    /// IA32_STAR: selectors of SYSCALL and SYSRET.
    Star,
    /// IA32_LSTAR: where SYSCALL goes.
    LStar,
    /// IA32_FMASK: flags that SYSCALL clears.
    SFMask,
    /// IA32_SYSENTER_CS.
    SysenterCs,
    /// IA32_FS_BASE.
    FsBase,
    /// IA32_GS_BASE.
    GsBase,
}

impl Model {
    const fn number(self) -> u32 {
        match self {
            Self::ApicBase => 0x1B,
            Self::TscDeadline => 0x6E0,
            Self::X2Apic(offset) => 0x800 + (offset as u32 >> 4),
            Self::KvmSystemTime => 0x4B56_4D01,
            Self::Star => 0xC000_0081,
            Self::LStar => 0xC000_0082,
            Self::SFMask => 0xC000_0084,
            Self::SysenterCs => 0x174,
            Self::FsBase => 0xC000_0100,
            Self::GsBase => 0xC000_0101,
        }
    }

    /// Reads the register. The caller has seen in CPUID that it exists.
    pub(crate) fn read(self) -> u64 {
        // SAFETY: reading any of these has no side effect.
        unsafe { Msr::new(self.number()).read() }
    }

    /// Writes the register.
    ///
    /// # Safety
    /// The register exists (CPUID), and `value` neither moves the APIC over memory, nor has the host
    /// write to memory that Rust uses, nor lets ring 3 into ring 0 elsewhere than at code made for it; a base is
    /// canonical.
    pub(crate) unsafe fn write(self, value: u64) {
        // SAFETY: by the caller's promise.
        unsafe { Msr::new(self.number()).write(value) }
    }
}

/// The time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 and reads only.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A number from the processor's random generator; `None` where it has none, or none now.
pub(crate) fn rdrand() -> Option<u64> {
    if !raw_cpuid::CpuId::new().get_feature_info()?.has_rdrand() {
        return None;
    }
    let (number, valid): (u64, u8);
    // SAFETY: CPUID offers the instruction, which touches two registers and the flags.
    unsafe {
        core::arch::asm!("rdrand {}", "setc {}", out(reg) number, out(reg_byte) valid, options(nomem, nostack));
    }
    (valid == 1).then_some(number)
}

/// Memory that KVM writes its clock record to.
#[repr(C, align(64))]
struct KvmClock(core::cell::UnsafeCell<[u8; 32]>);

// SAFETY: written by the host only between the two register writes below, read with volatile access.
unsafe impl Sync for KvmClock {}

/// Asks KVM once for its clock record, and turns the record off again; `None` under any other monitor.
pub(crate) fn kvm_clock_record() -> Option<[u8; 32]> {
    static RECORD: KvmClock = KvmClock(core::cell::UnsafeCell::new([0; 32]));
    let offered = matches!(
        raw_cpuid::CpuId::new().get_hypervisor_info(),
        Some(info) if matches!(info.identify(), raw_cpuid::Hypervisor::KVM)
    );
    // KVM_FEATURE_CLOCKSOURCE2 is bit 3 of leaf 0x40000001.
    if !offered || raw_cpuid::cpuid!(0x4000_0001).eax & (1 << 3) == 0 {
        return None;
    }
    let at = RECORD.0.get().expose_provenance() as u64;
    // SAFETY: CPUID offers the register; the host writes to `RECORD` alone, which has room and is never
    // referenced. The second write ends that before this function returns.
    unsafe {
        Model::KvmSystemTime.write(at | 1);
        let record = RECORD.0.get().read_volatile();
        Model::KvmSystemTime.write(0);
        Some(record)
    }
}
