//! Where everything is read: a process that can compute, and talk over the descriptors it already has.
//!
//! Each layer would do alone for most of it; together they fail only together. In order, from weak to strong: other
//! descriptors closed, no privileges and no way to get any, no file system and no network (landlock, as far as the
//! kernel has it), limits, and at last a list of system calls beyond which the kernel kills the process.

mod calls;
mod descriptors;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Who this runs as when it was started by root: nobody.
const NOBODY: u32 = 65_534;
/// Limits: address space and processor time leave ten times what the public network's consensus needs.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::As, 512 << 20),
    (Resource::Cpu, 20),
    (Resource::Fsize, 0),
    (Resource::Nofile, 3),
    (Resource::Nproc, 0),
    (Resource::Core, 0),
];

/// A part of the jail that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {why}")]
pub struct NoJail {
    part: &'static str,
    why: String,
}

/// Enters the jail for good. The process must have one thread.
///
/// # Errors
/// [`NoJail`]; what was entered until then stays.
pub fn enter() -> Result<(), NoJail> {
    enter_without_filter()?;
    calls::restrict().map_err(part("system calls"))
}

/// All of the jail but the list of system calls: for tests of what the rest of it holds back.
///
/// # Errors
/// [`NoJail`].
#[doc(hidden)]
pub fn enter_without_filter() -> Result<(), NoJail> {
    descriptors::close_others().map_err(part("descriptors"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(part("core dumps"))?;
    drop_root()?;
    set_no_new_privs(true).map_err(part("no_new_privs"))?;
    landlock().map_err(part("landlock"))?;
    limit()
}

fn part<E: std::fmt::Display>(part: &'static str) -> impl Fn(E) -> NoJail {
    move |why| NoJail { part, why: why.to_string() }
}

fn limit() -> Result<(), NoJail> {
    for (resource, most) in LIMITS {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(part("limits"))?;
    }
    Ok(())
}

/// The process has one thread, so that the thread's identity is the process's.
fn drop_root() -> Result<(), NoJail> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_thread_groups(&[]).map_err(part("groups"))?;
    set_thread_res_gid(group, group, group).map_err(part("group"))?;
    set_thread_res_uid(user, user, user).map_err(part("user"))
}

/// Nothing of any file system and no TCP port; whatever of it the kernel knows.
fn landlock() -> Result<(), landlock::RulesetError> {
    let all = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(all))?
        .handle_access(AccessNet::from_all(all))?
        .scope(Scope::from_all(all))?
        .create()?
        .restrict_self()?;
    Ok(())
}
