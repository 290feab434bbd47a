//! Linux itself, in a child process with nothing open but its standard streams.

use crate::kernel::{Case, Kernel, Machine, Record};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::path::PathBuf;

/// Where the child writes what it saw; above every descriptor that a case uses.
const REPORT: i32 = 900;
/// Seconds after which the child is ended.
const PATIENCE: u32 = 60;

/// Time for the loopback interface; it needs none unless the machine is busy.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(2);

struct Linux {
    directory: PathBuf,
}

impl Machine for Linux {
    fn call(&mut self, number: i64, a: [u64; 6]) -> i64 {
        // SAFETY: the case hands over addresses that it mapped itself, or such as nothing is mapped at, which Linux
        // refuses; no case unmaps what is not its own.
        let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
        if result == -1 {
            -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
        } else {
            result
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        // SAFETY: the case owns this memory and nothing else refers to it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(at), bytes.len()) }
    }

    fn get(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(pointer(at).cast_const(), out.as_mut_ptr(), len) }
        out
    }

    fn directory(&self) -> String {
        self.directory.to_str().expect("plain").to_owned()
    }

    fn far(&self) -> [u8; 4] {
        [127, 0, 0, 1]
    }

    fn port(&self, number: u16) -> u16 {
        // Below those that Linux gives out itself, and apart from those of another run.
        let run = u16::try_from(std::process::id() % 900).expect("small");
        10_000 + 20 * run + number
    }

    fn settle(&mut self) {
        std::thread::sleep(SETTLE);
    }
}

fn pointer(at: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(usize::try_from(at).expect("64 bits"))
}

/// Runs a case in a child; returns what it saw.
pub(crate) fn run(case: Case) -> Vec<String> {
    let (mut ends, mut out) = ([0; 2], String::new());
    let directory = std::env::temp_dir().join(format!("agree-{}-{:p}", std::process::id(), case));
    std::fs::create_dir(&directory).expect("a directory");
    // SAFETY: the array has room for both.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the child calls nothing that needs another thread of this process, and ends in `child`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no child");
    if pid == 0 {
        child(case, directory, ends[1]);
    }
    // SAFETY: the descriptors are this function's own.
    let mut report = unsafe {
        libc::close(ends[1]);
        File::from_raw_fd(ends[0])
    };
    report.read_to_string(&mut out).expect("text");
    let mut status = 0;
    // SAFETY: the child is this function's own.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    std::fs::remove_dir_all(&directory).expect("removable");
    assert_eq!(status, 0, "the case failed against Linux (status {status:#x}):\n{out}");
    out.lines().map(str::to_owned).collect()
}

/// The child: leaves by `_exit`.
fn child(case: Case, directory: PathBuf, report: i32) -> ! {
    // SAFETY: the child has one thread, and these are its own descriptors.
    let mut report = unsafe {
        libc::alarm(PATIENCE);
        libc::dup2(report, REPORT);
        libc::close_range(3, 899, 0);
        libc::close_range(901, u32::MAX, 0);
        File::from_raw_fd(REPORT)
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut record = Record::default();
        case(&mut Kernel::new(&mut Linux { directory }), &mut record);
        record.lines().join("\n")
    }));
    let status = match outcome {
        Ok(text) => i32::from(report.write_all(text.as_bytes()).is_err()),
        Err(_) => 1,
    };
    // SAFETY: ends the process without running what belongs to the parent.
    unsafe { libc::_exit(status) }
}
