//! What an image must define exactly once: boot code, memory functions, allocator, panic handler.
//!
//! All of it comes from [`entry!`](crate::entry), used in the image's `main.rs`, and none from this
//! library: so host programs (tests above all) can link the library without a clash of symbols.

/// Makes a bare-metal image out of `main`, a `fn(rt::Machine) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        $crate::boot_code!();
        $crate::memory_functions!("");

        #[global_allocator]
        static HEAP: $crate::heap::Heap = $crate::heap::Heap::new();

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::panic::report(info)
        }

        /// Called by the boot code, in long mode, on the main stack.
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_start(start_info: u64, layout: &'static $crate::boot::ImageLayout) -> ! {
            let main: fn($crate::Machine) -> ! = $main;
            // SAFETY: called once, by the boot code above, with what the PVH loader put in EBX and with
            // the table that the linker filled.
            unsafe { $crate::boot::start(start_info, layout, &HEAP, main) }
        }

        $crate::interrupt_lock!();

        $crate::__private::embassy_time_driver::time_driver_impl!(
            static TIME: $crate::TimeDriver = $crate::TimeDriver
        );

        /// Called by the executor when a task becomes ready.
        #[unsafe(export_name = "__pender")]
        fn pender(_: *mut ()) {
            $crate::interrupts::wake();
        }
    };
}

/// The implementation of `critical-section` for one processor: interrupts off.
#[doc(hidden)]
#[macro_export]
macro_rules! interrupt_lock {
    () => {
        struct InterruptsOff;
        $crate::__private::critical_section::set_impl!(InterruptsOff);
        // SAFETY: the machine has one processor; with interrupts off nothing else runs on it.
        unsafe impl $crate::__private::critical_section::Impl for InterruptsOff {
            unsafe fn acquire() -> bool {
                $crate::interrupts::disable()
            }
            unsafe fn release(were_on: bool) {
                $crate::interrupts::restore(were_on)
            }
        }
    };
}

/// PVH entry: from 32-bit flat mode to long mode with the first GiB mapped one to one.
#[doc(hidden)]
#[macro_export]
macro_rules! boot_code {
    () => {
        core::arch::global_asm!(
            // ELF note XEN_ELFNOTE_PHYS32_ENTRY (18): where a PVH loader jumps to.
            ".section .note.Xen, \"a\", @note",
            ".balign 4",
            ".long 4, 8, 18",
            ".asciz \"Xen\"",
            ".quad bulkhead_entry",
            ".section .text.boot, \"ax\", @progbits",
            ".code32",
            ".global bulkhead_entry",
            "bulkhead_entry:",
            "cli",
            "cld",
            "mov edi, offset __bss_start",
            "mov ecx, offset __bss_end",
            "sub ecx, edi",
            "shr ecx, 2",
            "xor eax, eax",
            "rep stosd",
            // One table of 2 MiB pages covers the first GiB.
            "mov eax, offset bulkhead_boot_pdpt + 3",
            "mov dword ptr [bulkhead_boot_pml4], eax",
            "mov eax, offset bulkhead_boot_pd + 3",
            "mov dword ptr [bulkhead_boot_pdpt], eax",
            "mov edi, offset bulkhead_boot_pd",
            "mov eax, 0x83",
            "mov ecx, 512",
            "2:",
            "mov dword ptr [edi], eax",
            "add eax, 0x200000",
            "add edi, 8",
            "dec ecx",
            "jnz 2b",
            // CR4: PAE, OSFXSR, OSXMMEXCPT.
            "mov eax, cr4",
            "or eax, 0x620",
            "mov cr4, eax",
            "mov eax, offset bulkhead_boot_pml4",
            "mov cr3, eax",
            // EFER: LME, NXE.
            "mov ecx, 0xC0000080",
            "rdmsr",
            "or eax, 0x900",
            "wrmsr",
            // CR0: PG, WP, NE, MP, PE; not EM, TS, NW, CD.
            "mov eax, cr0",
            "and eax, 0x9FFFFFF3",
            "or eax, 0x80010023",
            "mov cr0, eax",
            "lgdt [bulkhead_boot_gdt_pointer]",
            "mov esp, offset __main_stack_top",
            "push 8",
            "mov eax, offset bulkhead_entry64",
            "push eax",
            "retf",
            ".code64",
            "bulkhead_entry64:",
            "xor eax, eax",
            "mov ds, ax",
            "mov es, ax",
            "mov fs, ax",
            "mov gs, ax",
            "mov ss, ax",
            "mov esp, offset __main_stack_top",
            "fninit",
            "mov edi, ebx",
            "mov esi, offset bulkhead_image_layout",
            "xor ebp, ebp",
            "call bulkhead_start",
            "ud2",
            ".section .rodata.boot, \"a\", @progbits",
            ".balign 8",
            "bulkhead_boot_gdt:",
            ".quad 0, 0x00AF9B000000FFFF",
            "bulkhead_boot_gdt_pointer:",
            ".short 15",
            ".long bulkhead_boot_gdt",
            ".balign 8",
            "bulkhead_image_layout:",
            ".quad __text_start, __text_end, __rodata_end, __data_end, __image_end",
            ".quad __main_stack_top, __interrupt_stack_top, __exception_stack_top, __fault_stack_top",
            ".quad __main_stack_size, __side_stack_size",
            ".section .bss.boot, \"aw\", @nobits",
            ".balign 4096",
            "bulkhead_boot_pml4: .skip 4096",
            "bulkhead_boot_pdpt: .skip 4096",
            "bulkhead_boot_pd: .skip 4096",
            ".text",
        );
    };
}
