//! Linux bzImage by the 64-bit boot protocol (Documentation/arch/x86/boot.rst).

use super::{LoadError, Module, memory_map, place};
use crate::memory::Layout;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::{BzImage, KernelLoader};
use std::fs::File;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// Protocol 2.12 is the first with a 64-bit entry.
const PROTOCOL: u16 = 0x020C;
/// `xloadflags`: the 64-bit entry at 0x200 exists.
const KERNEL_64: u16 = 1 << 0;
/// Offset of the 64-bit entry from the start of the protected-mode code.
const ENTRY_64: u64 = 0x200;
/// `type_of_loader`: none of the assigned ones.
const LOADER_OTHER: u8 = 0xFF;

pub(super) struct Image {
    pub(super) entry: u64,
    /// First byte that the kernel does not use while it unpacks itself.
    pub(super) end: u64,
    pub(super) initrd_max: u64,
    pub(super) cmdline_max: usize,
    header: setup_header,
}

pub(super) fn load(memory: &GuestMemoryMmap, ceiling: u64, file: &mut File) -> Result<Image, LoadError> {
    let header = read_header(file)?;
    let (version, flags) = (header.version, header.xloadflags);
    if version < PROTOCOL || flags & KERNEL_64 == 0 {
        return Err(LoadError::BadBzImage(format!("no 64-bit entry (boot protocol {version:#x})")));
    }
    let too_big = LoadError::TooBig { what: "the kernel", have_mib: ceiling >> 20 };
    let (base, unpacked) = (header.pref_address, u64::from(header.init_size));
    let Some(end) = base.checked_add(unpacked).filter(|e| *e <= ceiling && base >= place::IMAGE) else {
        return Err(too_big);
    };
    let loaded = BzImage::load(memory, Some(GuestAddress(base)), file, None);
    let loaded = loaded.map_err(|e| LoadError::BadBzImage(e.to_string()))?;
    if loaded.kernel_end > end {
        return Err(LoadError::BadBzImage("it is larger than it says".into()));
    }
    Ok(Image {
        entry: base + ENTRY_64,
        end,
        initrd_max: header.initrd_addr_max.into(),
        cmdline_max: usize::try_from(header.cmdline_size).unwrap_or(0).min(0xFFFF),
        header: loaded.setup_header.unwrap_or(header),
    })
}

/// Reads the header alone, before anything is copied: the library wants the load address first.
fn read_header(file: &mut File) -> Result<setup_header, LoadError> {
    use std::io::{Read, Seek, SeekFrom};
    use vm_memory::ByteValued;
    let read = |error| LoadError::Read { what: "the kernel's header", error };
    let mut header = setup_header::default();
    file.seek(SeekFrom::Start(0x1F1)).map_err(read)?;
    file.read_exact(header.as_mut_slice()).map_err(read)?;
    if header.header == u32::from_le_bytes(*b"HdrS") { Ok(header) } else { Err(LoadError::UnknownFormat) }
}

pub(super) fn write_params(
    memory: &GuestMemoryMmap,
    layout: Layout,
    image: &Image,
    initrd: Option<Module>,
) -> Result<(), LoadError> {
    let mut params = boot_params { hdr: image.header, acpi_rsdp_addr: place::ACPI, ..Default::default() };
    params.hdr.type_of_loader = LOADER_OTHER;
    params.hdr.cmd_line_ptr = narrow(place::CMDLINE);
    if let Some(initrd) = initrd {
        params.hdr.ramdisk_image = narrow(initrd.base);
        params.hdr.ramdisk_size = narrow(initrd.len);
    }
    let map = memory_map(layout);
    for (entry, (addr, size, kind)) in params.e820_table.iter_mut().zip(&map) {
        *entry = boot_e820_entry { addr: *addr, size: *size, r#type: *kind as u32 };
    }
    params.e820_entries = u8::try_from(map.len()).unwrap_or(0);
    let params = BootParams::new(&params, GuestAddress(place::ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams(&params, memory).map_err(|e| LoadError::BadBzImage(e.to_string()))
}

/// Addresses and lengths here are below 4 GiB by the checks above.
fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(0)
}
