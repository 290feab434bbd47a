//! `hvm_start_info` version 1 with memory map, modules and command line (Xen `start_info.h`).

use super::{LoadError, Module, memory_map, place};
use crate::memory::Layout;
use linux_loader::loader::elf::start_info::XEN_HVM_START_MAGIC_VALUE;
use vm_memory::GuestMemoryMmap;

/// Writes the record and everything it points to. Absent modules are left out, so a unikernel's boot record
/// is module 0.
pub(super) fn write(
    memory: &GuestMemoryMmap,
    layout: Layout,
    modules: &[Option<Module>],
) -> Result<(), LoadError> {
    let modules: Vec<_> = modules.iter().flatten().collect();
    let mut list = Vec::new();
    for module in &modules {
        for word in [module.base, module.len, 0, 0] {
            list.extend(word.to_le_bytes());
        }
    }
    let map = memory_map(layout);
    let mut entries = Vec::new();
    for (base, len, kind) in &map {
        entries.extend(base.to_le_bytes());
        entries.extend(len.to_le_bytes());
        entries.extend((*kind as u32).to_le_bytes());
        entries.extend(0_u32.to_le_bytes());
    }
    super::write(memory, "the module list", place::MODULES, &list)?;
    super::write(memory, "the memory map", place::MEMORY_MAP, &entries)?;
    super::write(memory, "the start info", place::START_INFO, &start_info(modules.len(), map.len()))
}

fn start_info(modules: usize, entries: usize) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    let mut info = Vec::new();
    info.extend(XEN_HVM_START_MAGIC_VALUE.to_le_bytes());
    info.extend(1_u32.to_le_bytes()); // version
    info.extend(0_u32.to_le_bytes()); // flags
    info.extend(count(modules));
    for address in [place::MODULES, place::CMDLINE, place::ACPI, place::MEMORY_MAP] {
        info.extend(address.to_le_bytes());
    }
    info.extend(count(entries));
    info.extend(0_u32.to_le_bytes());
    info
}
