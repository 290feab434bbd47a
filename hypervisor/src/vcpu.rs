//! Processor threads: run, hand the exit over, run again, until the machine ends.

use crate::exits::Exits;
use crate::stats::count;
use kvm_ioctls::VcpuFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use vmm_api::message::Ended;
use vmm_sys_util::signal::{Killable, SIGRTMIN};

/// How long processors are given to leave the guest.
const STOP: Duration = Duration::from_secs(2);

/// The running processors.
pub struct Processors {
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Processors {
    /// Starts one thread per processor. The first to end the machine says why on `ended`.
    ///
    /// # Errors
    /// When a thread or the signal handler cannot be had; started processors are stopped again.
    pub fn start(cpus: Vec<VcpuFd>, exits: &Arc<Exits>, ended: &Sender<Ended>) -> io::Result<Self> {
        // Any handler will do: a signal's only work is to interrupt KVM_RUN.
        let interrupted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGRTMIN(), interrupted)?;
        let mut processors = Self { threads: Vec::new(), stopping: Arc::new(AtomicBool::new(false)) };
        for (id, cpu) in cpus.into_iter().enumerate() {
            let (exits, ended) = (Arc::clone(exits), ended.clone());
            let stopping = Arc::clone(&processors.stopping);
            let body = move || {
                if let Some(reason) = run(cpu, &exits, &stopping) {
                    let _ = ended.send(reason);
                }
            };
            match thread::Builder::new().name(format!("vcpu{id}")).spawn(body) {
                Ok(thread) => processors.threads.push(thread),
                Err(error) => {
                    processors.stop();
                    return Err(error);
                }
            }
        }
        Ok(processors)
    }

    /// Makes every processor leave the guest for good. A signal just before `KVM_RUN` is lost, so it is
    /// repeated until the thread is gone.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + STOP;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                let _ = thread.kill(SIGRTMIN());
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn run(mut cpu: VcpuFd, exits: &Exits, stopping: &AtomicBool) -> Option<Ended> {
    while !stopping.load(Ordering::SeqCst) {
        match cpu.run() {
            Ok(exit) => {
                if let Some(reason) = exits.handle(exit) {
                    explain(&cpu, &reason);
                    return Some(reason);
                }
            }
            Err(error) if matches!(error.errno(), EINTR | EAGAIN) => count(&exits.stats.exit_signal),
            Err(error) => return Some(Ended::HostError(format!("KVM cannot run a processor: {error}"))),
        }
    }
    None
}

/// Logs where the processor was when it ended the machine against its will. (KVM on AMD resets a processor
/// that shut down: then the registers say only that.)
fn explain(cpu: &VcpuFd, reason: &Ended) {
    if !matches!(reason, Ended::TripleFault | Ended::HostError(_)) {
        return;
    }
    let (Ok(regs), Ok(special)) = (cpu.get_regs(), cpu.get_sregs()) else { return };
    tracing::warn!(
        rip = format_args!("{:#x}", regs.rip),
        rsp = format_args!("{:#x}", regs.rsp),
        cr0 = format_args!("{:#x}", special.cr0),
        cr2 = format_args!("{:#x}", special.cr2),
        cr3 = format_args!("{:#x}", special.cr3),
        efer = format_args!("{:#x}", special.efer),
        "{reason:?}"
    );
}

const EINTR: i32 = rustix::io::Errno::INTR.raw_os_error();
const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();
