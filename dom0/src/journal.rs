//! What domains report, as JSON lines in a file for each: bounded in length and in rate.

use crate::console::Log;
use crate::name::Name;
use crate::problem::Problem;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Lines a second that a domain may fill a disk with, over a long time.
const RATE: u32 = 100;
/// Lines at once after a rest.
pub(crate) const BURST: u32 = 500;

/// The journals of one kind, each named after its domain.
#[derive(Debug)]
pub(crate) struct Journals {
    directory: PathBuf,
    path: fn(&Path, &Name) -> PathBuf,
    open: BTreeMap<Name, Page>,
}

#[derive(Debug)]
struct Page {
    log: Log,
    allowance: Allowance,
    suppressed: u32,
}

impl Journals {
    /// Keeps journals in this directory, each where `path` says.
    pub(crate) fn new(directory: &Path, path: fn(&Path, &Name) -> PathBuf) -> Self {
        Self { directory: directory.to_owned(), path, open: BTreeMap::new() }
    }

    /// Writes the line that is made of the time, in milliseconds since 1970, and of how many were not written since the
    /// last one. `missed`: how many the domain itself left out before it. `false`: there were too many of late, or it
    /// cannot be written.
    pub(crate) fn write<L: Serialize>(
        &mut self,
        name: &Name,
        missed: u32,
        line: impl FnOnce(u64, u32) -> L,
    ) -> bool {
        let Some(page) = self.page(name) else { return false };
        if !page.allowance.take(Instant::now()) {
            page.suppressed = page.suppressed.saturating_add(missed.saturating_add(1));
            return false;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let suppressed = missed.saturating_add(std::mem::take(&mut page.suppressed));
        match serde_json::to_string(&line(time_ms, suppressed)) {
            Ok(text) => {
                page.log.write(format!("{text}\n").as_bytes());
                true
            }
            Err(e) => {
                tracing::error!(%name, "line not written: {e}");
                false
            }
        }
    }

    fn page(&mut self, name: &Name) -> Option<&mut Page> {
        if !self.open.contains_key(name) {
            let path = (self.path)(&self.directory, name);
            let log = match Log::open(&path) {
                Ok(log) => log,
                Err(e) => {
                    tracing::error!("{}: {e}", path.display());
                    return None;
                }
            };
            let page = Page { log, allowance: Allowance::new(Instant::now()), suppressed: 0 };
            self.open.insert(name.clone(), page);
        }
        self.open.get_mut(name)
    }
}

/// Opens a journal for who reads or follows it; it is made if nothing was reported yet.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn to_read(path: &Path) -> Result<File, Problem> {
    let made = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path);
    made.and_then(|_| OpenOptions::new().read(true).open(path)).map_err(|e| {
        let remedy = "check the directory and its space";
        Problem::new(path.display().to_string(), format!("cannot be read: {e}"), remedy)
    })
}

/// A token bucket of [`BURST`] lines that fills at [`RATE`].
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: f64::from(BURST), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(RATE);
        self.left = (self.left + gained).min(f64::from(BURST));
        self.at = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}
