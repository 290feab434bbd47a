//! The programs: position-independent code, as bytes.

use core::arch::global_asm;

/// Where a program's code, data and stack lie.
pub(super) const CODE: u64 = 0x5555_0000_0000;
/// Two pages, writable.
pub(super) const DATA: u64 = 0x5555_0010_0000;
/// Above two pages; a guard lies below.
pub(super) const STACK_TOP: u64 = 0x7FFF_FFFF_E000;

/// Makes functions that return the code between two labels.
macro_rules! programs {
    ($($(#[$about:meta])* $name:ident: $($line:literal),+;)+) => {
        global_asm!(
            ".section .rodata.programs, \"a\", @progbits",
            $(
                concat!("bulkhead_program_", stringify!($name), ":"),
                $($line,)+
                concat!("bulkhead_program_", stringify!($name), "_end:"),
            )+
            ".text",
            data = const DATA,
        );
        $(
            $(#[$about])*
            pub(super) fn $name() -> &'static [u8] {
                let (start, end): (*const u8, *const u8);
                // SAFETY: two labels of constants of this image, the second behind the first.
                unsafe {
                    core::arch::asm!(
                        concat!("lea {start}, [rip + bulkhead_program_", stringify!($name), "]"),
                        concat!("lea {end}, [rip + bulkhead_program_", stringify!($name), "_end]"),
                        start = out(reg) start,
                        end = out(reg) end,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                    core::slice::from_raw_parts(start, end.byte_offset_from_unsigned(start))
                }
            }
        )+
    };
}

programs! {
    /// Calls 39 with 1 to 6, then 60 with the answer.
    caller:
        "mov eax, 39", "mov edi, 1", "mov esi, 2", "mov edx, 3", "mov r10d, 4", "mov r8d, 5", "mov r9d, 6",
        "syscall", "mov rdi, rax", "mov eax, 60", "syscall", "ud2";
    /// Checks registers and the red zone around calls, and in between; calls 60 with 0 when all is well.
    keeps_general:
        "mov ebx, 1000",
        "2:",
        "lea rbp, [rbx + 0x1001]", "lea r12, [rbx + 0x1002]", "lea r13, [rbx + 0x1003]", "lea r14, [rbx + 0x1004]",
        "lea r15, [rbx + 0x1005]", "lea rdi, [rbx + 0x1006]", "lea rsi, [rbx + 0x1007]", "lea rdx, [rbx + 0x1008]",
        "lea r8, [rbx + 0x1009]", "lea r9, [rbx + 0x100A]", "lea r10, [rbx + 0x100B]",
        "mov [rsp - 8], rbx", "mov [rsp - 128], rbx",
        "mov eax, 39", "syscall",
        "mov ecx, 3000", "mov r11, rbx", "3:", "cmp r11, rbx", "jne 9f", "dec ecx", "jnz 3b",
        "cmp [rsp - 8], rbx", "jne 9f", "cmp [rsp - 128], rbx", "jne 9f",
        "sub rbp, rbx", "cmp rbp, 0x1001", "jne 9f", "sub r12, rbx", "cmp r12, 0x1002", "jne 9f",
        "sub r13, rbx", "cmp r13, 0x1003", "jne 9f", "sub r14, rbx", "cmp r14, 0x1004", "jne 9f",
        "sub r15, rbx", "cmp r15, 0x1005", "jne 9f", "sub rdi, rbx", "cmp rdi, 0x1006", "jne 9f",
        "sub rsi, rbx", "cmp rsi, 0x1007", "jne 9f", "sub rdx, rbx", "cmp rdx, 0x1008", "jne 9f",
        "sub r8, rbx", "cmp r8, 0x1009", "jne 9f", "sub r9, rbx", "cmp r9, 0x100A", "jne 9f",
        "sub r10, rbx", "cmp r10, 0x100B", "jne 9f",
        "dec ebx", "jnz 2b",
        "xor edi, edi", "mov eax, 60", "syscall",
        "9:", "mov edi, 1", "mov eax, 60", "syscall", "ud2";
    /// The same for vector registers and both control words: 256 bits of each where the processor has them.
    keeps_vectors:
        "mov r15, rsp", "mov dword ptr [rsp - 8], 0x7FC0", "ldmxcsr [rsp - 8]",
        "mov word ptr [rsp - 8], 0x27F", "fldcw [rsp - 8]", "fld1",
        "mov r12, {data}", "mov ecx, 512", "mov rdi, r12", "mov al, 1",
        "2:", "mov [rdi], al", "inc rdi", "imul eax, eax, 7", "add al, 3", "dec ecx", "jnz 2b",
        "xor r14d, r14d",
        "mov eax, 1", "xor ecx, ecx", "cpuid", "bt ecx, 27", "jnc 3f", "bt ecx, 28", "jnc 3f",
        "xor ecx, ecx", "xgetbv", "and eax, 6", "cmp eax, 6", "jne 3f", "mov r14d, 1",
        "3:", "mov r13d, 1000",
        "movups xmm0, [r12]", "movups xmm1, [r12 + 32]", "movups xmm7, [r12 + 224]", "movups xmm15, [r12 + 480]",
        "test r14d, r14d", "jz 4f",
        "vmovups ymm0, [r12]", "vmovups ymm1, [r12 + 32]", "vmovups ymm7, [r12 + 224]", "vmovups ymm15, [r12 + 480]",
        "4:",
        "mov eax, 39", "syscall", "mov ecx, 3000", "5:", "dec ecx", "jnz 5b",
        "lea rdi, [r12 + 1024]",
        "mov ebx, 16", "movups [rdi], xmm0", "movups [rdi + 32], xmm1", "movups [rdi + 224], xmm7",
        "movups [rdi + 480], xmm15",
        "test r14d, r14d", "jz 6f",
        "mov ebx, 32", "vmovups [rdi], ymm0", "vmovups [rdi + 32], ymm1", "vmovups [rdi + 224], ymm7",
        "vmovups [rdi + 480], ymm15",
        "6:",
        "mov ecx, ebx", "mov rsi, r12", "lea rdi, [r12 + 1024]", "repe cmpsb", "jne 9f",
        "mov ecx, ebx", "lea rsi, [r12 + 32]", "lea rdi, [r12 + 1056]", "repe cmpsb", "jne 9f",
        "mov ecx, ebx", "lea rsi, [r12 + 224]", "lea rdi, [r12 + 1248]", "repe cmpsb", "jne 9f",
        "mov ecx, ebx", "lea rsi, [r12 + 480]", "lea rdi, [r12 + 1504]", "repe cmpsb", "jne 9f",
        "stmxcsr [rsp - 8]", "and dword ptr [rsp - 8], 0xFFC0", "cmp dword ptr [rsp - 8], 0x7FC0", "jne 9f",
        "fnstcw [rsp - 8]", "cmp word ptr [rsp - 8], 0x27F", "jne 9f",
        "fld st(0)", "fistp dword ptr [rsp - 8]", "cmp dword ptr [rsp - 8], 1", "jne 9f",
        "cmp rsp, r15", "jne 9f",
        "dec r13d", "jnz 4b",
        "xor edi, edi", "mov eax, 60", "syscall",
        "9:", "mov edi, 1", "mov eax, 60", "syscall", "ud2";
    /// Reads behind its base of FS.
    reads_fs:
        "mov rdi, fs:[8]", "mov eax, 60", "syscall", "ud2";
    calls_for_ever:
        "2:", "mov eax, 39", "syscall", "jmp 2b";
    spins:
        "2:", "jmp 2b";
    /// Calls 60 with everything that its predecessor may have left: zero.
    looks_around:
        "pushfq", "pop r11", "and r11, 0x3CD5", "or rdi, r11",
        "or rdi, rax", "or rdi, rbx", "or rdi, rcx", "or rdi, rdx", "or rdi, rsi", "or rdi, rbp", "or rdi, r8",
        "or rdi, r9", "or rdi, r10", "or rdi, r12", "or rdi, r13", "or rdi, r14", "or rdi, r15",
        "orps xmm0, xmm1", "orps xmm0, xmm7", "orps xmm0, xmm15", "movq rax, xmm0", "or rdi, rax",
        "movhlps xmm0, xmm0", "movq rax, xmm0", "or rdi, rax",
        "stmxcsr [rsp - 8]", "mov eax, [rsp - 8]", "xor eax, 0x1F80", "or rdi, rax",
        "fnstcw [rsp - 8]", "movzx eax, word ptr [rsp - 8]", "xor eax, 0x37F", "or rdi, rax",
        "mov ax, ds", "movzx eax, ax", "or rdi, rax", "mov ax, fs", "movzx eax, ax", "or rdi, rax",
        "mov r8, rdi",
        "mov eax, 1", "xor ecx, ecx", "cpuid", "bt ecx, 27", "jnc 2f", "bt ecx, 28", "jnc 2f",
        "xor ecx, ecx", "xgetbv", "and eax, 6", "cmp eax, 6", "jne 2f",
        "vextractf128 xmm2, ymm1, 1", "vextractf128 xmm3, ymm15, 1", "orps xmm2, xmm3", "movq rax, xmm2",
        "or r8, rax",
        "2:",
        "mov rsi, {data}", "mov ecx, 1024", "3:", "or r8, [rsi]", "add rsi, 8", "dec ecx", "jnz 3b",
        "mov rdi, r8", "mov eax, 60", "syscall", "ud2";

    reads_kernel: "mov rax, [0x100000]", "ud2";
    writes_kernel: "mov qword ptr [0x100000], 0", "ud2";
    runs_kernel: "mov eax, 0x100000", "jmp rax";
    reads_null: "xor eax, eax", "mov rax, [rax]", "ud2";
    reads_high: "mov rax, -4096", "mov rax, [rax]", "ud2";
    writes_code: "lea rax, [rip]", "mov byte ptr [rax], 0x90", "ud2";
    runs_stack: "push 0x90", "jmp rsp";
    runs_data: "mov rax, {data}", "jmp rax";
    overflows: "mov rbx, -1", "movq xmm15, rbx", "2:", "push rbx", "jmp 2b";
    jumps_beyond: "mov rax, 0x800000000000", "mov rbx, -1", "jmp rax";
    returns_beyond: "mov rax, 0xDEAD000000000000", "push rax", "ret";
    pushes_beyond: "mov rsp, 0x800000000010", "push rax", "ud2";
    divides: "xor ecx, ecx", "mov eax, 1", "xor edx, edx", "div ecx", "ud2";
    int80: "int 0x80", "ud2";
    int3: "int3", "ud2";
    int_timer: "int 0x30", "ud2";
    int_double_fault: "int 8", "ud2";
    icebp: ".byte 0xF1", "ud2";
    single_steps: "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "ud2";
    halts: "hlt", "ud2";
    clears_interrupts: "cli", "ud2";
    reads_port: "mov dx, 0x604", "in eax, dx", "ud2";
    writes_port: "mov dx, 0x604", "mov eax, 0xDEAD", "out dx, eax", "ud2";
    writes_port_raised: "pushfq", "or dword ptr [rsp], 0x3000", "popfq", "mov dx, 0x604", "out dx, eax", "ud2";
    writes_register: "mov ecx, 0xC0000082", "xor eax, eax", "xor edx, edx", "wrmsr", "ud2";
    reads_register: "mov ecx, 0xC0000082", "rdmsr", "ud2";
    writes_cr3: "xor eax, eax", "mov cr3, rax", "ud2";
    writes_dr7: "xor eax, eax", "mov dr7, rax", "ud2";
    sets_xcr0: "xor ecx, ecx", "mov eax, 1", "xor edx, edx", "xsetbv", "ud2";
    loads_tables: "lidt [rsp]", "ud2";
    forgets_page: "invlpg [rsp]", "ud2";
    swaps_gs: "swapgs", "ud2";
    sets_fs_base: "wrfsbase rax", "ud2";
    sysenters: "mov rcx, rsp", "lea rdx, [rip]", "sysenter", "ud2";
    sysrets: "lea rcx, [rip]", "mov r11d, 0x202", "sysretq", "ud2";
    returns_to_kernel:
        "push 0x10", "push rsp", "push 0x202", "push 0x08", "push 0x100000", "iretq", "ud2";
    jumps_to_kernel: "push 0x08", "push 0x100000", "retfq", "ud2";
    calls_task: "push 0x28", "push 0", "retfq", "ud2";
    raises_float:
        "fninit", "mov word ptr [rsp - 8], 0x300", "fldcw [rsp - 8]", "fld1", "fldz", "fdivp st(1), st", "fwait",
        "ud2";
    raises_vector:
        "mov dword ptr [rsp - 8], 0", "ldmxcsr [rsp - 8]", "xorps xmm1, xmm1", "mov eax, 0x3F800000",
        "movd xmm0, eax", "divss xmm0, xmm1", "ud2";
    sets_segments: "mov eax, 0x1B", "mov ds, eax", "mov fs, eax", "mov gs, eax", "ud2";
    loads_kernel_segment: "mov eax, 0x10", "mov ds, eax", "ud2";
    restores_nonsense:
        "mov rdi, {data}", "mov dword ptr [rdi + 24], -1", "fxrstor64 [rdi]", "ud2";

    /// Alignment check, which also suspends SMAP, the direction flag, and nested task.
    odd_flags:
        "mov ebx, 3", "pushfq", "or dword ptr [rsp], 0x44400", "popfq",
        "2:", "mov eax, 39", "syscall", "mov ecx, 3000000", "3:", "dec ecx", "jnz 3b", "dec ebx", "jnz 2b",
        "pushfq", "pop rdx", "and edx, 0x44400", "cmp edx, 0x44400", "jne 4f",
        "mov eax, 60", "syscall", "4:", "ud2";
    /// No stack at all.
    odd_stack:
        "mov ebx, 3", "mov rsp, 0xDEADDEADDEADDEAD",
        "2:", "mov eax, 39", "syscall", "mov ecx, 3000000", "3:", "dec ecx", "jnz 3b", "dec ebx", "jnz 2b",
        "mov eax, 60", "syscall", "ud2";
    /// Floating-point exceptions pending and unmasked.
    odd_float:
        "mov ebx, 3", "fninit", "mov word ptr [rsp - 8], 0x300", "fldcw [rsp - 8]", "fld1", "fldz",
        "fdivp st(1), st", "mov dword ptr [rsp - 8], 0x6000", "ldmxcsr [rsp - 8]",
        "2:", "mov eax, 39", "syscall", "mov ecx, 3000000", "3:", "dec ecx", "jnz 3b", "dec ebx", "jnz 2b",
        "mov eax, 60", "syscall", "ud2";
    /// Segment registers with whatever is allowed.
    odd_segments:
        "mov ebx, 3", "mov eax, 0x1B", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax",
        "2:", "mov eax, 39", "syscall", "mov ecx, 3000000", "3:", "dec ecx", "jnz 3b", "dec ebx", "jnz 2b",
        "mov eax, 60", "syscall", "ud2";
    /// A load of SS, which delays debug exceptions, right before the call.
    odd_shadow:
        "mov ebx, 3",
        "2:", "mov eax, 39", "mov ecx, ss", "mov ss, ecx", "syscall", "dec ebx", "jnz 2b",
        "mov eax, 60", "syscall", "ud2";
}

type Program = fn() -> &'static [u8];

/// Programs, and the exceptions that they may end in.
pub(super) const OFFENDERS: [(&str, Program, &[u8]); 43] = [
    ("reads the kernel", reads_kernel, &[14]),
    ("writes the kernel", writes_kernel, &[14]),
    ("runs the kernel", runs_kernel, &[14]),
    ("reads at zero", reads_null, &[14]),
    ("reads above", reads_high, &[14]),
    ("writes its code", writes_code, &[14]),
    ("runs its stack", runs_stack, &[14]),
    ("runs its data", runs_data, &[14]),
    ("overflows its stack", overflows, &[14]),
    ("jumps to no address", jumps_beyond, &[13, 14]),
    ("returns to no address", returns_beyond, &[13, 14]),
    ("pushes to no address", pushes_beyond, &[12, 13]),
    ("divides by zero", divides, &[0]),
    ("int 0x80", int80, &[13]),
    ("int3", int3, &[13]),
    ("raises the timer", int_timer, &[13]),
    ("raises a double fault", int_double_fault, &[13]),
    ("icebp", icebp, &[1, 6]),
    ("steps", single_steps, &[1]),
    ("halts", halts, &[13]),
    ("turns interrupts off", clears_interrupts, &[13]),
    ("reads a port", reads_port, &[13]),
    ("writes a port", writes_port, &[13]),
    ("raises its I/O level", writes_port_raised, &[13]),
    ("writes a model-specific register", writes_register, &[13]),
    ("reads a model-specific register", reads_register, &[13]),
    ("writes CR3", writes_cr3, &[13]),
    ("writes DR7", writes_dr7, &[13]),
    ("sets XCR0", sets_xcr0, &[6, 13]),
    ("loads an interrupt table", loads_tables, &[13]),
    ("forgets a page", forgets_page, &[13]),
    ("swaps GS", swaps_gs, &[13]),
    ("sets FS by itself", sets_fs_base, &[6]),
    ("sysenter", sysenters, &[6, 13]),
    ("sysret", sysrets, &[13]),
    // QEMU reads these off the stack as ring 0 does, which SMAP forbids.
    ("returns to ring 0", returns_to_kernel, &[13, 14]),
    ("jumps to ring 0", jumps_to_kernel, &[13, 14]),
    ("calls the task", calls_task, &[13, 14]),
    ("x87 exception", raises_float, &[16]),
    // QEMU raises none and goes on, to an invalid instruction.
    ("SSE exception", raises_vector, &[6, 19]),
    ("sets segments", sets_segments, &[6]),
    ("loads a segment of ring 0", loads_kernel_segment, &[13]),
    ("restores nonsense", restores_nonsense, &[6, 13]),
];

/// Programs that call 39 three times, then 60.
pub(super) const ODD: [(&str, Program); 5] = [
    ("odd flags", odd_flags),
    ("no stack", odd_stack),
    ("pending exceptions", odd_float),
    ("odd segments", odd_segments),
    ("a call in the shadow of mov ss", odd_shadow),
];
