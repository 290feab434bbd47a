//! The system calls that remain. Any other kills the process, so that it cannot be taken for an answer.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Standard input, output and error output.
const STDIN: u64 = 0;
const STDOUT: u64 = 1;
const STDERR: u64 = 2;

/// Leaves what computing, reading the request and telling the answer needs.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    let allowed = [
        // The request, the answer, what a panic says.
        (libc::SYS_read, vec![argument(0, Is::Eq, STDIN)?]),
        (libc::SYS_write, vec![argument(0, Is::Eq, STDOUT)?, argument(0, Is::Eq, STDERR)?]),
        // Memory, none of it executable.
        (libc::SYS_mmap, vec![not_executable()?]),
        (libc::SYS_munmap, vec![]),
        (libc::SYS_mremap, vec![]),
        (libc::SYS_brk, vec![]),
        // Keys of hash maps.
        (libc::SYS_getrandom, vec![]),
        // Locks of the standard library.
        (libc::SYS_futex, vec![]),
        // The end: the standard library gives its signal stack back.
        (libc::SYS_sigaltstack, vec![]),
        (libc::SYS_exit_group, vec![]),
    ];
    let rules = allowed.into_iter().collect();
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)
}

fn argument(place: u8, is: Is, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![Condition::new(place, Length::Dword, is, value)?])
}

fn not_executable() -> Result<SeccompRule, seccompiler::BackendError> {
    argument(2, Is::MaskedEq(libc::PROT_EXEC.unsigned_abs().into()), 0)
}
