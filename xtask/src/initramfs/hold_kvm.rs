//! A program that keeps one empty KVM machine for as long as the lab runs.
//!
//! With the first machine and after the last, KVM patches a branch in the outer kernel's scheduler (the static
//! key of preemption notifiers). QEMU's multi-threaded TCG now and then keeps the breakpoint that stands there
//! for a moment while the kernel patches: both processors then trap at `__schedule` for ever, seen as soft
//! lockups right after a guest has ended. With one machine always there the branch stays as it is.

/// Where the program is loaded.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: usize = 64 + 56;

/// open("/dev/kvm", O_RDWR); ioctl(it, KVM_CREATE_VM, 0); pause for ever.
const CODE: &[u8] = &[
    0xb8, 2, 0, 0, 0, // mov eax, 2 (open)
    0x48, 0x8d, 0x3d, 0x22, 0, 0, 0, // lea rdi, [path]
    0xbe, 2, 0, 0, 0, // mov esi, 2
    0x31, 0xd2, // xor edx, edx
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0xbe, 0x01, 0xae, 0, 0, // mov esi, 0xae01
    0x31, 0xd2, // xor edx, edx
    0xb8, 16, 0, 0, 0, // mov eax, 16 (ioctl)
    0x0f, 0x05, // syscall
    0xb8, 34, 0, 0, 0, // mov eax, 34 (pause)
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp to the pause
];
const PATH: &[u8] = b"/dev/kvm\0";

/// The program as a static ELF file.
pub(super) fn program() -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let length = (HEADERS + CODE.len() + PATH.len()) as u64;
    let halves = |elf: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let words = |elf: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let longs = |elf: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    // Executable for x86-64, version 1; entry; program headers at 64; no sections.
    halves(&mut elf, &[2, 62]);
    words(&mut elf, &[1]);
    longs(&mut elf, &[BASE + HEADERS as u64, 64, 0]);
    words(&mut elf, &[0]);
    halves(&mut elf, &[64, 56, 1, 0, 0, 0]);
    // One segment: the whole file, to be read and executed.
    words(&mut elf, &[1, 5]);
    longs(&mut elf, &[0, BASE, BASE, length, length, 0x1000]);
    elf.extend(CODE);
    elf.extend(PATH);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn program_runs_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hold-kvm");
        // By another process: what this one had open for writing would for a moment be open in each process that other
        // tests start meanwhile, and could not be executed.
        let mut writer = Command::new("sh");
        writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(&path).stdin(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(&program()).unwrap();
        assert!(writer.wait().unwrap().success());
        // Without a /dev/kvm it has nothing to hold, and waits all the same.
        let mut child = Command::new(&path).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
