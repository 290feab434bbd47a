//! Entry code for the 256 vectors: saves every register that Rust may change, calls the handler, returns.

use core::arch::naked_asm;

/// What is on the stack when the handler runs, lowest address first, from the vector's mark on.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Frame {
    registers: [u64; 15],
    /// Return address of the vector's `call`: tells the vector.
    mark: u64,
    /// Error code, or 0 for vectors that have none.
    pub(super) error: u64,
    /// Where it happened.
    pub(super) rip: u64,
    cs: u64,
    pub(super) rflags: u64,
}

/// Bytes per vector in [`stubs`].
const STUB: u64 = 8;
/// Bytes of a stub up to the end of its `call`.
const CALL_END: u64 = 7;

/// The address of the entry code for `vector`.
pub(super) fn address(vector: u8) -> u64 {
    stubs as *const () as u64 + STUB * u64::from(vector)
}

/// 256 entries of 8 bytes: push a zero where the processor pushes no error code (a 2-byte no-op where it
/// does), then call [`common`].
#[unsafe(naked)]
extern "C" fn stubs() {
    naked_asm!(
        ".macro bulkhead_plain n",
        ".rept \\n",
        ".byte 0x6A, 0x00",
        "call {common}",
        ".byte 0x90",
        ".endr",
        ".endm",
        ".macro bulkhead_error n",
        ".rept \\n",
        ".byte 0x66, 0x90",
        "call {common}",
        ".byte 0x90",
        ".endr",
        ".endm",
        "bulkhead_plain 8",  // 0..=7
        "bulkhead_error 1",  // 8 double fault
        "bulkhead_plain 1",  // 9
        "bulkhead_error 5",  // 10..=14
        "bulkhead_plain 2",  // 15, 16
        "bulkhead_error 1",  // 17 alignment check
        "bulkhead_plain 3",  // 18..=20
        "bulkhead_error 1",  // 21 control protection
        "bulkhead_plain 7",  // 22..=28
        "bulkhead_error 2",  // 29 VMM communication, 30 security
        "bulkhead_plain 225", // 31..=255
        ".purgem bulkhead_plain",
        ".purgem bulkhead_error",
        common = sym common,
    )
}

/// Saves, calls [`handle`], restores, returns. Stack on entry: mark, error code, RIP, CS, RFLAGS, RSP, SS.
#[unsafe(naked)]
extern "C" fn common() {
    naked_asm!(
        // From ring 3? Then this is not a detour but the end of a run of the program.
        "test byte ptr [rsp + 24], 3",
        "jnz {from_program}",
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, rsp",
        "mov rbp, rsp",
        "cld",
        "sub rsp, 528",
        "and rsp, -16",
        "fxsave64 [rsp]",
        "mov dword ptr [rsp + 512], 0x1F80",
        "ldmxcsr [rsp + 512]",
        "call {handle}",
        "fxrstor64 [rsp]",
        "mov rsp, rbp",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        "add rsp, 16",
        "iretq",
        from_program = sym crate::user::interrupted,
        handle = sym handle,
    )
}

extern "C" fn handle(frame: &mut Frame) {
    super::dispatch(vector(frame.mark), frame);
    frame.rip = behind_halt(frame.rip);
}

/// The vector whose stub left `mark`.
pub(super) fn vector(mark: u64) -> u8 {
    u8::try_from(mark.wrapping_sub(address(0) + CALL_END) / STUB).unwrap_or(super::SPURIOUS)
}

/// Turns interrupts on and halts until one comes.
///
/// No interrupt comes between the two instructions: STI takes effect behind the one that follows it. Where a
/// processor is emulated that may not hold (QEMU's SVM forgets it when the machine is left and entered again between
/// the two), and the interrupt that should have ended the halt is over before it begins. So whoever is interrupted in
/// front of this `hlt` returns behind it: see [`behind_halt`].
#[unsafe(naked)]
pub(super) extern "C" fn enable_and_halt() {
    naked_asm!("sti", "hlt", "ret")
}

/// Bytes of `sti`, and of `hlt`.
const STI: u64 = 1;
const HLT: u64 = 1;

/// Where to go on after an interrupt at `rip`.
fn behind_halt(rip: u64) -> u64 {
    let halt = enable_and_halt as *const () as u64 + STI;
    if rip == halt { halt + HLT } else { rip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_interrupted_in_front_of_the_halt_returns_behind_it() {
        let begin = enable_and_halt as *const () as u64;
        // SAFETY: three bytes of code, readable like all of it.
        let code = unsafe { core::slice::from_raw_parts(enable_and_halt as *const u8, 3) };
        assert_eq!(code, [0xFB, 0xF4, 0xC3]);
        assert_eq!([0, 1, 2, 3].map(|at| behind_halt(begin + at) - begin), [0, 2, 2, 3]);
    }
}
