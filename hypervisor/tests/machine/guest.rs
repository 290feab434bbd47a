//! A tiny assembler for probes: 32-bit protected mode, paging off, as the PVH entry leaves it.

use abi::memory_map::EXIT_PORT;

/// Load address of every probe.
const BASE: u32 = 0x20_0000;

/// A probe being written.
#[derive(Clone)]
pub(crate) struct Guest {
    code: Vec<u8>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self { code: Vec::new() }
    }

    fn emit(mut self, parts: &[&[u8]]) -> Self {
        parts.iter().for_each(|part| self.code.extend_from_slice(part));
        self
    }

    /// `mov dx, port`
    fn dx(self, port: u16) -> Self {
        self.emit(&[&[0x66, 0xBA], &port.to_le_bytes()])
    }

    /// Writes 32 bits to a port.
    pub(crate) fn out32(self, port: u16, value: u32) -> Self {
        self.dx(port).emit(&[&[0xB8], &value.to_le_bytes(), &[0xEF]])
    }

    /// Writes 8 bits to a port.
    pub(crate) fn out8(self, port: u16, value: u8) -> Self {
        self.dx(port).emit(&[&[0xB0, value, 0xEE]])
    }

    /// EAX := port.
    pub(crate) fn in32(self, port: u16) -> Self {
        self.dx(port).emit(&[&[0xED]])
    }

    /// EAX := memory.
    pub(crate) fn load(self, address: u32) -> Self {
        self.emit(&[&[0xA1], &address.to_le_bytes()])
    }

    /// EAX := the 32 bits `offset` bytes into the start info (EBX).
    pub(crate) fn chase_start_info(self, offset: u8) -> Self {
        self.emit(&[&[0x8B, 0x43, offset]])
    }

    /// EAX := the 32 bits `offset` bytes after where EAX points.
    pub(crate) fn load_at_eax(self, offset: u8) -> Self {
        self.emit(&[&[0x8B, 0x40, offset]])
    }

    /// Memory := value.
    pub(crate) fn store(self, address: u32, value: u32) -> Self {
        self.emit(&[&[0xC7, 0x05], &address.to_le_bytes(), &value.to_le_bytes()])
    }

    /// Looks at memory until it has the value.
    pub(crate) fn wait_for(self, address: u32, value: u32) -> Self {
        // mov eax, [address]; cmp eax, value; jne back
        self.load(address).emit(&[&[0x3D], &value.to_le_bytes(), &[0x75, 0xF4]])
    }

    /// Exits with `code` unless EAX has the value.
    pub(crate) fn expect(self, value: u32, code: u32) -> Self {
        let exit = Self::new().out32(EXIT_PORT, code).code;
        let over = u8::try_from(exit.len()).unwrap();
        self.emit(&[&[0x3D], &value.to_le_bytes(), &[0x74, over], &exit])
    }

    /// Exits with `code` unless AL has the value.
    pub(crate) fn expect_al(self, value: u8, code: u32) -> Self {
        let exit = Self::new().out32(EXIT_PORT, code).code;
        let over = u8::try_from(exit.len()).unwrap();
        self.emit(&[&[0x3C, value, 0x74, over], &exit])
    }

    /// Writes a configuration register of a slot.
    pub(crate) fn config_write(self, slot: u32, register: u32, value: u32) -> Self {
        self.out32(0xCF8, 1 << 31 | slot << 11 | register).out32(0xCFC, value)
    }

    /// EAX := configuration register of a slot.
    pub(crate) fn config_read(self, slot: u32, register: u32) -> Self {
        self.out32(0xCF8, 1 << 31 | slot << 11 | register).in32(0xCFC)
    }

    /// Writes text to the serial port.
    pub(crate) fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |guest, byte| guest.out8(0x3F8, byte))
    }

    /// Ends the machine.
    pub(crate) fn exit(self, code: u32) -> Self {
        self.out32(EXIT_PORT, code).spin()
    }

    /// Does nothing for ever.
    pub(crate) fn spin(self) -> Self {
        self.emit(&[&[0xF3, 0x90, 0xEB, 0xFC]])
    }

    /// Loads an empty interrupt table and raises an exception.
    pub(crate) fn triple_fault(self) -> Self {
        // push 0; push 0; lidt [esp]; ud2. The stack is any free memory.
        self.emit(&[&[0xBC, 0x00, 0x00, 0x08, 0x00, 0x6A, 0, 0x6A, 0, 0x0F, 0x01, 0x1C, 0x24, 0x0F, 0x0B]])
    }

    /// The probe as an ELF executable with a PVH note.
    pub(crate) fn elf(&self) -> Vec<u8> {
        let (note_at, code_at) = (0x1000_u64, 0x2000_u64);
        let mut file = vec![0; 0x2000];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..20].copy_from_slice(&[2, 0, 62, 0]);
        file[20] = 1;
        file[24..28].copy_from_slice(&BASE.to_le_bytes());
        file[32] = 64;
        file[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
        let mut header = |at: usize, kind: u8, words: [u64; 6]| {
            file[at] = kind;
            for (place, word) in file[at + 8..at + 56].chunks_exact_mut(8).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        };
        let len = self.code.len() as u64;
        header(64, 1, [code_at, BASE.into(), BASE.into(), len, len, 0x1000]);
        header(120, 4, [note_at, 0, 0, 24, 24, 4]);
        let note: Vec<u8> = [4, 8, 18, u32::from_le_bytes(*b"Xen\0"), BASE, 0]
            .iter()
            .flat_map(|word: &u32| word.to_le_bytes())
            .collect();
        file[0x1000..0x1018].copy_from_slice(&note);
        file.extend(&self.code);
        file
    }
}
