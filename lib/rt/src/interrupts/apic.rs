//! The local APIC (Intel SDM vol. 3A chapter 12): end of interrupt and the one-shot timer.

use super::{SPURIOUS, TIMER};
use crate::mmio::{Model, Registers};
use crate::ram::Range;
use core::cell::RefCell;
use critical_section::Mutex;
use hal::mmio::Mmio;

const NUMBER: u16 = 0x020;
const VERSION: u16 = 0x030;
const TASK_PRIORITY: u16 = 0x080;
const END_OF_INTERRUPT: u16 = 0x0B0;
const SPURIOUS_VECTOR: u16 = 0x0F0;
const LOCAL_TIMER: u16 = 0x320;
const LOCAL_LINTS: [u16; 2] = [0x350, 0x360];
const LOCAL_ERROR: u16 = 0x370;
const INITIAL_COUNT: u16 = 0x380;
const CURRENT_COUNT: u16 = 0x390;
const DIVIDE: u16 = 0x3E0;

const MASKED: u32 = 1 << 16;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

/// How the APIC's registers are reached.
#[derive(Debug)]
enum Access {
    Msr,
    Memory(Registers),
}

/// The local APIC of the only processor.
#[derive(Debug)]
pub(crate) struct Apic {
    access: Access,
    deadline: bool,
}

static APIC: Mutex<RefCell<Option<Apic>>> = Mutex::new(RefCell::new(None));

impl Apic {
    fn read(&self, register: u16) -> u32 {
        match &self.access {
            // The upper half of all registers used here is reserved.
            Access::Msr => (Model::X2Apic(register).read() & 0xFFFF_FFFF) as u32,
            Access::Memory(registers) => registers.read32(u32::from(register)),
        }
    }

    fn write(&self, register: u16, value: u32) {
        match &self.access {
            // SAFETY: x2APIC mode is on, and no register of the APIC reaches memory.
            Access::Msr => unsafe { Model::X2Apic(register).write(u64::from(value)) },
            Access::Memory(registers) => registers.write32(u32::from(register), value),
        }
    }

    /// Turns the APIC on, in x2APIC mode where offered, everything but our vectors masked.
    fn enable() -> Option<Self> {
        let features = raw_cpuid::CpuId::new().get_feature_info()?;
        if !features.has_apic() {
            return None;
        }
        let base = Model::ApicBase.read() & !0xFFF | Model::ApicBase.read() & 0x100 | BASE_ENABLE;
        let access = if features.has_x2apic() {
            // SAFETY: CPUID offers x2APIC; the address part is unchanged.
            unsafe {
                Model::ApicBase.write(base);
                Model::ApicBase.write(base | BASE_X2APIC);
            }
            Access::Msr
        } else {
            // SAFETY: the address part is unchanged.
            unsafe { Model::ApicBase.write(base) };
            let block = Range::new(base & 0x000F_FFFF_FFFF_F000, 4096)?;
            // SAFETY: the processor says that its APIC is there.
            Access::Memory(unsafe { Registers::map(block) }?)
        };
        let apic = Self { access, deadline: features.has_tsc_deadline() };
        let lints = LOCAL_LINTS.iter().take(if apic.read(VERSION) >> 16 & 0xFF >= 3 { 2 } else { 0 });
        for &lint in lints.chain(&[LOCAL_ERROR]) {
            apic.write(lint, MASKED);
        }
        apic.write(TASK_PRIORITY, 0);
        apic.write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u32::from(SPURIOUS));
        apic.write(DIVIDE, DIVIDE_BY_1);
        let mode = if apic.deadline { TIMER_TSC_DEADLINE } else { 0 };
        apic.write(LOCAL_TIMER, mode | u32::from(TIMER));
        Some(apic)
    }
}

/// The APIC as the rest of the runtime uses it.
#[derive(Debug)]
pub(crate) struct Lapic;

impl Lapic {
    /// Turns the APIC on; `false` when the processor has none.
    pub(crate) fn start() -> bool {
        let apic = Apic::enable();
        let found = apic.is_some();
        critical_section::with(|cs| APIC.borrow(cs).replace(apic));
        found
    }

    /// Tells the APIC that the interrupt in service was handled.
    pub(super) fn acknowledge() {
        Self::with((), |apic| apic.write(END_OF_INTERRUPT, 0));
    }

    /// The APIC's number, where messages are sent to.
    pub(crate) fn number() -> u8 {
        Self::with(0, |apic| match apic.access {
            Access::Msr => (apic.read(NUMBER) & 0xFF) as u8,
            Access::Memory(_) => (apic.read(NUMBER) >> 24) as u8,
        })
    }

    /// Whether the timer compares with the time-stamp counter (true) or counts down (false).
    pub(crate) fn has_deadline() -> bool {
        Self::with(false, |apic| apic.deadline)
    }

    /// Fires the timer interrupt when the time-stamp counter reaches `tsc`.
    pub(crate) fn fire_at_tsc(tsc: u64) {
        // Zero would disarm. SAFETY: called only where CPUID offers TSC-deadline mode.
        Self::with((), |_| unsafe { Model::TscDeadline.write(tsc.max(1)) });
    }

    /// Fires the timer interrupt after `ticks` of the APIC's own clock; 0 stops it.
    pub(crate) fn fire_after(ticks: u32) {
        Self::with((), |apic| apic.write(INITIAL_COUNT, ticks));
    }

    /// What is left of [`Lapic::fire_after`].
    pub(crate) fn ticks_left() -> u32 {
        Self::with(0, |apic| apic.read(CURRENT_COUNT))
    }

    fn with<R>(otherwise: R, f: impl FnOnce(&Apic) -> R) -> R {
        critical_section::with(|cs| match APIC.borrow_ref(cs).as_ref() {
            Some(apic) => f(apic),
            None => otherwise,
        })
    }
}
