//! Where things are and how long to wait for them; fixed at start.

use crate::plan::Places;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Paths and times of one daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of domain files.
    pub config_dir: PathBuf,
    /// Directory of the AppVMs' firewall rules.
    pub rules_dir: PathBuf,
    /// Directory of the socket and of what is forgotten at reboot.
    pub runtime_dir: PathBuf,
    /// Directory of the domains' logs.
    pub log_dir: PathBuf,
    /// Directory of what lasts: what torvms keep.
    pub state_dir: PathBuf,
    /// Directory of our images and of `bulkhead-vmm`.
    pub lib_dir: PathBuf,
    /// Where `sys`, `proc` and `dev` are found.
    pub root: PathBuf,
    /// How long things may take.
    pub times: Times,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A VMM answers a request within this.
    pub answer: Duration,
    /// A domain is ready within this after its start.
    pub ready: Duration,
    /// An AppVM powers off within this after the button was pressed.
    pub power_off: Duration,
    /// A driver domain ends within this after it was asked to.
    pub stop: Duration,
    /// A driver domain is asked for a sign of life this often.
    pub ping: Duration,
    /// It is replaced when it has given none for this long.
    pub silence: Duration,
    /// A torvm is told the time this often.
    pub clock: Duration,
    /// A torvm that shows no new consensus is asked for it this often.
    pub documents: Duration,
    /// A firewallvm puts rules in force within this.
    pub rules: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            answer: s(20),
            ready: s(60),
            power_off: s(30),
            stop: s(3),
            ping: s(2),
            silence: s(20),
            clock: s(180),
            documents: s(600),
            rules: s(10),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let lib = std::env::var_os("BULKHEAD_LIB").map_or_else(|| "/usr/lib/bulkhead".into(), PathBuf::from);
        Self {
            config_dir: "/etc/bulkhead/domains".into(),
            rules_dir: "/etc/bulkhead/rules".into(),
            runtime_dir: "/run/bulkhead".into(),
            log_dir: "/var/log/bulkhead".into(),
            state_dir: "/var/lib/bulkhead".into(),
            lib_dir: lib,
            root: "/".into(),
            times: Times::default(),
        }
    }
}

impl Settings {
    /// Where the planner finds things.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        Places { lib: &self.lib_dir, state: &self.state_dir }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.runtime_dir)
    }
}

/// The daemon's socket in a runtime directory.
#[must_use]
pub fn socket_in(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("bulkheadd.sock")
}
