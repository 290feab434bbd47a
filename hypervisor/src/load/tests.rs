use super::*;
use crate::memory;
use std::io::Write;

const RAM: u64 = 32 << 20;

/// A minimal executable: one segment at `base` with `code`, and the PVH note that points to it.
fn elf(base: u64, memsz: u64, code: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4_u32, 8, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(base.to_le_bytes());
    let (note_at, code_at) = (0x1000_u64, 0x2000_u64);
    let mut file = vec![0; 0x2000];
    file[..4].copy_from_slice(b"\x7fELF");
    file[4..7].copy_from_slice(&[2, 1, 1]);
    file[16..20].copy_from_slice(&[2, 0, 62, 0]);
    file[20] = 1;
    file[24..32].copy_from_slice(&base.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
    let mut header = |at: usize, kind: u32, words: [u64; 6]| {
        file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        for (i, word) in words.into_iter().enumerate() {
            file[at + 8 + 8 * i..at + 16 + 8 * i].copy_from_slice(&word.to_le_bytes());
        }
    };
    let len = code.len() as u64;
    header(64, 1, [code_at, base, base, len, memsz, 0x1000]);
    header(120, 4, [note_at, 0, 0, note.len() as u64, note.len() as u64, 4]);
    file[0x1000..0x1000 + note.len()].copy_from_slice(&note);
    file.extend(code);
    file
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn images(kernel: &[u8]) -> Images {
    Images { kernel: file(kernel), initrd: None, cmdline: "a=b".into(), facts: None }
}

fn try_load(images: &mut Images) -> (GuestMemoryMmap, Result<Entry, LoadError>) {
    let layout = Layout::new(RAM);
    let memory = memory::allocate(layout).unwrap();
    let entry = load(&memory, layout, images);
    (memory, entry)
}

#[test]
fn a_unikernel_finds_its_record_as_module_zero() {
    let mut images = images(&elf(0x20_0000, 0x1000, &[0xF4]));
    let dma_len = 4 << 20;
    images.facts = Some(Facts { name: "netvm".into(), tsc_khz: 2_000_000, dma_len, state_len: 0 });
    images.initrd = Some(file(b"ramdisk"));
    let (memory, entry) = try_load(&mut images);
    assert_eq!(entry.unwrap(), Entry::Pvh { rip: 0x20_0000 });
    let word = |at: u64| memory.read_obj::<u64>(GuestAddress(at)).unwrap();
    assert_eq!(word(place::START_INFO) & 0xFFFF_FFFF, 0x336E_C578);
    assert_eq!(word(place::START_INFO + 8) >> 32, 2, "modules");
    assert_eq!(word(place::MODULES), place::BOOT_INFO);
    assert_eq!(word(place::MODULES + 8), 168);
    let initrd = word(place::MODULES + 32);
    assert_eq!(initrd + 4096, RAM - dma_len, "the RAM disk is below the DMA arena");
    assert_eq!(word(place::BOOT_INFO), abi::boot_info::MAGIC);
    assert_eq!(word(place::BOOT_INFO + 32), RAM - dma_len);
    let mut seed = [0; 64];
    memory.read_slice(&mut seed, GuestAddress(place::BOOT_INFO + 72)).unwrap();
    assert_ne!(seed, [0; 64]);
    let mut text = [0; 4];
    memory.read_slice(&mut text, GuestAddress(place::CMDLINE)).unwrap();
    assert_eq!(&text, b"a=b\0");
}

#[test]
fn images_outside_of_memory_are_refused() {
    for (base, memsz) in [(0x1000, 0x1000), (RAM, 0x1000), (RAM - 0x1000, 0x2000), (u64::MAX - 0xFFF, 0x1000)]
    {
        let (_, entry) = try_load(&mut images(&elf(base, memsz, &[0xF4])));
        assert!(matches!(entry, Err(LoadError::BadElf(_) | LoadError::TooBig { .. })), "{base:#x} {entry:?}");
    }
}

#[test]
fn foreign_and_broken_files_are_named() {
    let good = elf(0x20_0000, 0x1000, &[0xF4]);
    let broken = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        try_load(&mut images(&bytes)).1.unwrap_err().to_string()
    };
    assert!(broken(4, 1).contains("32-bit"));
    assert!(broken(18, 183).contains("machine 183"));
    assert!(broken(16, 4).contains("type 4"));
    assert!(broken(56, 0).contains("program headers"));
    assert!(broken(0x100C, 99).contains("PVH"), "{}", broken(0x100C, 99));
    assert!(matches!(try_load(&mut images(b"#!/bin/sh\n")).1, Err(LoadError::Read { .. })));
    assert!(matches!(try_load(&mut images(&[0; 4096])).1, Err(LoadError::UnknownFormat)));
}

#[test]
fn a_long_or_cut_command_line_is_refused() {
    for cmdline in ["x".repeat(0x1_0000), "a\0b".into()] {
        let mut images = images(&elf(0x20_0000, 0x1000, &[0xF4]));
        images.cmdline = cmdline;
        assert!(matches!(try_load(&mut images).1, Err(LoadError::Cmdline { .. })));
    }
}

#[test]
fn a_ram_disk_that_does_not_fit_is_refused() {
    let mut images = images(&elf(0x20_0000, 0x1000, &[0xF4]));
    let disk = tempfile::tempfile().unwrap();
    disk.set_len(RAM).unwrap();
    images.initrd = Some(disk);
    assert!(matches!(try_load(&mut images).1, Err(LoadError::TooBig { .. })));
}

#[test]
fn the_memory_map_has_no_overlap() {
    for bytes in [2 << 20, 512 << 20, 8 << 30] {
        let map = memory_map(Layout::new(bytes));
        assert!(map.windows(2).all(|p| p[0].0 + p[0].1 <= p[1].0), "{map:x?}");
    }
}

proptest::proptest! {
    /// A byte changed anywhere in the headers gives an image or an error, never a panic.
    #[test]
    fn corrupt_headers_never_panic(at in 0_usize..0x1020, value: u8) {
        let mut bytes = elf(0x20_0000, 0x1000, &[0xF4]);
        bytes[at] = value;
        let _ = try_load(&mut images(&bytes));
    }
}
