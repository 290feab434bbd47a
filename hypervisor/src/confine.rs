//! Second to last step: give up what is not needed any more. Every file is open, every device attached.

use anyhow::{Context, Result};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

/// No new privileges by exec, no core dump or tracing that would show guest memory.
///
/// # Errors
/// When the kernel refuses.
pub fn confine() -> Result<()> {
    set_no_new_privs(true).context("no_new_privs")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps")
}
