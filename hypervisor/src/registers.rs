//! Registers of the first processor at each of the two entries.

use crate::load::{Entry, place};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// `MTRRdefType`: enabled, default write-back. Without it Linux takes all memory for uncached.
const MTRR_DEF_TYPE: u32 = 0x2FF;
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;

/// Why the processor was not set up.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// KVM refused.
    #[error("KVM refused the processor's {what}: {error}")]
    Kvm {
        /// Which registers.
        what: &'static str,
        /// What KVM says.
        error: kvm_ioctls::Error,
    },
    /// Page tables could not be written.
    #[error("cannot write boot page tables: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> RegisterError {
    move |error| RegisterError::Kvm { what, error }
}

/// Prepares the first processor to begin at `entry`. The others wait for INIT and SIPI in the kernel.
///
/// # Errors
/// [`RegisterError`].
pub fn set_up(cpu: &VcpuFd, memory: &GuestMemoryMmap, entry: Entry) -> Result<(), RegisterError> {
    let mut special = cpu.get_sregs().map_err(kvm("special registers"))?;
    let mut regs = kvm_regs { rflags: 2, ..Default::default() };
    match entry {
        Entry::Pvh { rip } => {
            (regs.rip, regs.rbx) = (rip, place::START_INFO);
            protected_mode(&mut special);
        }
        Entry::Linux64 { rip } => {
            (regs.rip, regs.rsi, regs.rsp) = (rip, place::ZERO_PAGE, place::ZERO_PAGE);
            page_tables(memory)?;
            descriptor_table(memory)?;
            long_mode(&mut special);
        }
    }
    cpu.set_sregs(&special).map_err(kvm("special registers"))?;
    cpu.set_regs(&regs).map_err(kvm("general registers"))
}

/// Sets the boot MSRs of any processor.
///
/// # Errors
/// [`RegisterError`].
pub fn set_msrs(cpu: &VcpuFd) -> Result<(), RegisterError> {
    let entry = kvm_msr_entry { index: MTRR_DEF_TYPE, data: MTRR_WRITE_BACK, ..Default::default() };
    let refused = || kvm_ioctls::Error::new(rustix::io::Errno::INVAL.raw_os_error());
    let msrs = Msrs::from_entries(&[entry]).map_err(|_| kvm("MSRs")(refused()))?;
    match cpu.set_msrs(&msrs).map_err(kvm("MSRs"))? {
        1 => Ok(()),
        _ => Err(kvm("memory type MSR")(refused())),
    }
}

fn segment(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment { base: 0, limit: u32::MAX, selector, type_, present: 1, s: 1, g: 1, ..Default::default() }
}

fn task_segment() -> kvm_segment {
    kvm_segment { limit: 0x67, type_: 0xB, present: 1, ..Default::default() }
}

fn data_segments(special: &mut kvm_sregs, data: kvm_segment) {
    (special.ds, special.es, special.ss) = (data, data, data);
    (special.fs, special.gs) = (data, data);
    special.tr = task_segment();
}

/// PVH: flat 32-bit protected mode, paging off, interrupts off.
fn protected_mode(special: &mut kvm_sregs) {
    special.cs = kvm_segment { db: 1, ..segment(0x08, 0xB) };
    data_segments(special, kvm_segment { db: 1, ..segment(0x10, 0x3) });
    (special.cr0, special.cr3, special.cr4, special.efer) = (CR0_PE | CR0_ET, 0, 0, 0);
}

/// Linux 64-bit protocol: long mode, identity mapping, `__BOOT_CS` = 0x10, `__BOOT_DS` = 0x18.
fn long_mode(special: &mut kvm_sregs) {
    special.cs = kvm_segment { l: 1, ..segment(0x10, 0xB) };
    data_segments(special, kvm_segment { db: 1, ..segment(0x18, 0x3) });
    (special.gdt.base, special.gdt.limit) = (place::GDT, 4 * 8 - 1);
    (special.idt.base, special.idt.limit) = (0, 0);
    special.cr3 = place::PAGE_TABLES;
    special.cr4 = CR4_PAE;
    special.efer = EFER_LME | EFER_LMA;
    special.cr0 = CR0_PE | CR0_ET | CR0_PG;
}

/// Identity map of the first 4 GiB with 2 MiB pages.
fn page_tables(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    const PRESENT: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let (pml4, pdpt) = (place::PAGE_TABLES, place::PAGE_TABLES + 0x1000);
    memory.write_obj(pdpt | PRESENT, GuestAddress(pml4))?;
    for gib in 0..4_u64 {
        let directory = pdpt + 0x1000 * (gib + 1);
        memory.write_obj(directory | PRESENT, GuestAddress(pdpt + 8 * gib))?;
        for page in 0..512_u64 {
            let frame = gib << 30 | page << 21;
            memory.write_obj(frame | LARGE | PRESENT, GuestAddress(directory + 8 * page))?;
        }
    }
    Ok(())
}

/// Two empty descriptors, 64-bit code, data.
fn descriptor_table(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    for (i, descriptor) in (0_u64..).zip([0, 0, 0x00AF_9B00_0000_FFFF_u64, 0x00CF_9300_0000_FFFF]) {
        memory.write_obj(descriptor, GuestAddress(place::GDT + 8 * i))?;
    }
    Ok(())
}
