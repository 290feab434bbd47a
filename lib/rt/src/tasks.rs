//! The embassy executor, for the control plane: DHCP, messages from dom0, timers.

use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use embassy_executor::{Spawner, raw::Executor};
use static_cell::StaticCell;

static EXECUTOR: AtomicPtr<Executor> = AtomicPtr::new(core::ptr::null_mut());

/// Makes the executor. Called once, at boot; a second call panics.
pub(crate) fn start() {
    static CELL: StaticCell<Executor> = StaticCell::new();
    EXECUTOR.store(CELL.init(Executor::new(core::ptr::null_mut())), Ordering::Release);
}

fn executor() -> Option<&'static Executor> {
    // SAFETY: null, or the executor that `start` made for ever and that is only shared from then on. There
    // is one thread, and interrupt handlers do not come here.
    unsafe { EXECUTOR.load(Ordering::Acquire).as_ref() }
}

/// What tasks are spawned with; `None` before boot made the executor.
pub(crate) fn spawner() -> Option<Spawner> {
    executor().map(Executor::spawner)
}

/// The right to run tasks; there is one.
#[derive(Debug)]
pub(crate) struct Runner(());

impl Runner {
    /// Takes the right; `None` when it is taken.
    pub(crate) fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        (!TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    /// Runs every task that is ready, once.
    pub(crate) fn poll(&mut self) {
        if let Some(executor) = executor() {
            // SAFETY: `&mut` of the one `Runner`: never re-entered, not even by a task.
            unsafe { executor.poll() }
        }
    }
}
