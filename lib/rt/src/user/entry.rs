//! Into ring 3, and the three ways back: a call (SYSCALL), an interrupt, an exception.
//!
//! Interrupts and exceptions come through `interrupts::entry`, which sends those from ring 3 here. All run with
//! interrupts off from the processor's switch to ring 0 on, so there is one state at a time and plain statics serve.
//! Between SYSCALL and the switch of stacks only what cannot be masked may come (NMI, machine check, a debug
//! exception that `mov ss` delayed), and each of these has a stack of its own.

use super::processor::{EXTENDED, STATE_LEN, STATE_PARTS, USER_CODE, USER_DATA};
use core::arch::naked_asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

/// Everything of a program that is in the processor while it runs.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Floating-point and vector units, as FXSAVE or XSAVE lay them out.
    pub(super) extended: [u8; STATE_LEN],
    pub(super) rax: u64,
    rbx: u64,
    rcx: u64,
    pub(super) rdx: u64,
    pub(super) rsi: u64,
    pub(super) rdi: u64,
    rbp: u64,
    pub(super) r8: u64,
    pub(super) r9: u64,
    pub(super) r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    pub(super) rsp: u64,
    pub(super) rip: u64,
    pub(super) rflags: u64,
    /// As in `interrupts::entry::Frame`.
    pub(super) mark: u64,
    /// As in `interrupts::entry::Frame`.
    pub(super) error: u64,
}

impl State {
    /// A program that has not run: all registers zero but these, floating-point units as after reset.
    pub(super) fn new(rip: u64, rsp: u64, rflags: u64) -> Self {
        let mut extended = [0; STATE_LEN];
        // FCW 0x37F at 0, MXCSR 0x1F80 at 24: every exception masked. The header says that nothing else is set.
        extended[..2].copy_from_slice(&0x37Fu16.to_le_bytes());
        extended[24..28].copy_from_slice(&0x1F80u32.to_le_bytes());
        Self {
            extended,
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            rbp: 0,
            r8: 0,
            r9: 0,
            r10: 0,
            r11: 0,
            r12: 0,
            r13: 0,
            r14: 0,
            r15: 0,
            rsp,
            rip,
            rflags,
            mark: 0,
            error: 0,
        }
    }
}

/// `naked_asm!`, with the named fields of [`State`] as operands: the offset of each.
macro_rules! state_asm {
    ([$($field:ident)+] $($asm:tt)+) => {
        naked_asm!($($asm)+ $($field = const offset_of!(State, $field),)+)
    };
}

/// How [`enter`] goes to ring 3.
pub(super) const BY_INTERRUPT_RETURN: u64 = 0;
/// As [`BY_INTERRUPT_RETURN`], quicker: RCX and R11 are not restored.
pub(super) const BY_CALL_RETURN: u64 = 1;

/// [`enter`] came back by a call.
pub(super) const CALL: u64 = 0;
/// [`enter`] came back by an interrupt or an exception, which `mark` tells.
pub(super) const INTERRUPTED: u64 = 1;

/// Where the runtime's stack goes on when the program is left.
static KERNEL_STACK: AtomicU64 = AtomicU64::new(0);
/// The [`State`] of the program that runs.
static CURRENT: AtomicU64 = AtomicU64::new(0);
/// The program's stack pointer, between SYSCALL and the saving of the rest.
static PROGRAM_STACK: AtomicU64 = AtomicU64::new(0);

/// Runs the program of `state` until it is left; `how` is one of the `BY_` constants. Returns [`CALL`] or
/// [`INTERRUPTED`], with interrupts off.
///
/// # Safety
/// Interrupts are off; the processor was prepared; `state` is valid, its `extended` part one that the processor
/// saved or [`State::new`] made, its `rip` canonical, its `rflags` free of privileges.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(state: *mut State, how: u64) -> u64 {
    state_asm!(
        [rax rbx rdx rsi rdi rbp r8 r9 r10 r12 r13 r14 r15 rsp rip rflags]
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rip + {kernel_stack}], rsp",
        "mov [rip + {current}], rdi",
        "cmp byte ptr [rip + {extended}], 0",
        "je 2f",
        "mov eax, {parts}",
        "xor edx, edx",
        "xrstor64 [rdi]",
        "jmp 3f",
        "2:",
        "fxrstor64 [rdi]",
        "3:",
        "test rsi, rsi",
        "mov rax, [rdi + {rax}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rbp, [rdi + {rbp}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "jz {by_interrupt_return}",
        "mov rcx, [rdi + {rip}]",
        "mov r11, [rdi + {rflags}]",
        "mov rsp, [rdi + {rsp}]",
        "mov rdi, [rdi + {rdi}]",
        "sysretq",
        kernel_stack = sym KERNEL_STACK,
        current = sym CURRENT,
        extended = sym EXTENDED,
        parts = const STATE_PARTS,
        by_interrupt_return = sym by_interrupt_return,
    )
}

/// The end of [`enter`], with RDI at the state, all others but RCX and R11 in place.
#[unsafe(naked)]
extern "C" fn by_interrupt_return() {
    state_asm!(
        [rcx rdi r11 rsp rip rflags]
        "push {data}",
        "push qword ptr [rdi + {rsp}]",
        "push qword ptr [rdi + {rflags}]",
        "push {code}",
        "push qword ptr [rdi + {rip}]",
        "mov rcx, [rdi + {rcx}]",
        "mov r11, [rdi + {r11}]",
        "mov rdi, [rdi + {rdi}]",
        "iretq",
        data = const USER_DATA,
        code = const USER_CODE,
    )
}

/// Where SYSCALL arrives: RCX is where to go on, R11 the flags, everything else the program's.
#[unsafe(naked)]
pub(super) extern "C" fn call() {
    state_asm!(
        [rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15 rsp rip rflags]
        "mov [rip + {program_stack}], rsp",
        "mov rsp, [rip + {current}]",
        "mov [rsp + {rax}], rax",
        "mov [rsp + {rip}], rcx",
        "mov [rsp + {rflags}], r11",
        "mov rax, [rip + {program_stack}]",
        "mov [rsp + {rsp}], rax",
        "mov [rsp + {rbx}], rbx",
        "mov [rsp + {rcx}], rcx",
        "mov [rsp + {rdx}], rdx",
        "mov [rsp + {rsi}], rsi",
        "mov [rsp + {rdi}], rdi",
        "mov [rsp + {rbp}], rbp",
        "mov [rsp + {r8}], r8",
        "mov [rsp + {r9}], r9",
        "mov [rsp + {r10}], r10",
        "mov [rsp + {r11}], r11",
        "mov [rsp + {r12}], r12",
        "mov [rsp + {r13}], r13",
        "mov [rsp + {r14}], r14",
        "mov [rsp + {r15}], r15",
        "mov rdi, rsp",
        "mov esi, {kind}",
        "jmp {leave}",
        program_stack = sym PROGRAM_STACK,
        current = sym CURRENT,
        kind = const CALL,
        leave = sym leave,
    )
}

/// Where interrupts and exceptions of ring 3 arrive, on a stack of the interrupt's. Stack on entry: mark, error code,
/// RIP, CS, RFLAGS, RSP, SS; every other register is the program's.
#[unsafe(naked)]
pub(crate) extern "C" fn interrupted() {
    state_asm!(
        [rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15 rsp rip rflags mark error]
        "push rdi",
        "mov rdi, [rip + {current}]",
        "mov [rdi + {rax}], rax",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {rcx}], rcx",
        "mov [rdi + {rdx}], rdx",
        "mov [rdi + {rsi}], rsi",
        "mov [rdi + {rbp}], rbp",
        "mov [rdi + {r8}], r8",
        "mov [rdi + {r9}], r9",
        "mov [rdi + {r10}], r10",
        "mov [rdi + {r11}], r11",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "pop qword ptr [rdi + {rdi}]",
        "pop qword ptr [rdi + {mark}]",
        "pop qword ptr [rdi + {error}]",
        "pop qword ptr [rdi + {rip}]",
        "pop rax", // CS
        "pop qword ptr [rdi + {rflags}]",
        "pop qword ptr [rdi + {rsp}]",
        "mov esi, {kind}",
        "jmp {leave}",
        current = sym CURRENT,
        kind = const INTERRUPTED,
        leave = sym leave,
    )
}

/// Saves the vector units into the state at RDI and returns ESI from [`enter`]. The flags are made the runtime's:
/// an interrupt leaves a program's AC, which would suspend SMAP, its NT and its DF as they are.
#[unsafe(naked)]
extern "C" fn leave() {
    naked_asm!(
        "mov rsp, [rip + {kernel_stack}]",
        "push 2",
        "popfq",
        "mov eax, {parts}",
        "xor edx, edx",
        "cmp byte ptr [rip + {extended}], 1",
        "jb 2f",
        "je 3f",
        "xsaveopt64 [rdi]",
        "jmp 4f",
        "3:",
        "xsave64 [rdi]",
        "jmp 4f",
        "2:",
        "fxsave64 [rdi]",
        "4:",
        "push 0x1F80",
        "ldmxcsr [rsp]",
        "pop rax",
        "mov eax, esi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        kernel_stack = sym KERNEL_STACK,
        parts = const STATE_PARTS,
        extended = sym EXTENDED,
    )
}
