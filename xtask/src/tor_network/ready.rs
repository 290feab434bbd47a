//! Waits until the private network carries something.

use super::inside;
use crate::namespace::{Ending, Namespace};
use crate::progress::Task;
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Time for the first page, and then for the first onion page.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until the C client fetches a page, and then one of the onion service.
///
/// # Errors
/// When a node ends, or it takes too long.
pub(super) fn wait(namespace: &Namespace, directory: &Path, task: &Task, nodes: &mut [Ending]) -> Result<()> {
    until(directory, task, nodes, || inside::fetched(namespace, inside::NAME, inside::PAGE))?;
    until(directory, task, nodes, || match onion(directory) {
        Some(name) => inside::fetched(namespace, &name, inside::ONION_PAGE),
        None => false,
    })
}

/// The onion service's name, once it has one.
pub(super) fn onion(directory: &Path) -> Option<String> {
    let name = fs::read_to_string(directory.join("onion0/service/hostname")).ok()?;
    Some(name.trim().to_owned())
}

fn until(directory: &Path, task: &Task, nodes: &mut [Ending], mut works: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !works() {
        task.detail(&last_line(directory, "client0"));
        for node in nodes.iter_mut() {
            if let Some(status) = node.0.try_wait()? {
                bail!("a node ended ({status})\n{}", all_last_lines(directory));
            }
        }
        if begun.elapsed() > PATIENCE {
            bail!("the private Tor network does not work\n{}", all_last_lines(directory));
        }
        thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// The last line of a node's log, without the time.
fn last_line(directory: &Path, node: &str) -> String {
    let read = |file: &str| fs::read_to_string(directory.join(node).join(file)).unwrap_or_default();
    let text = read("notice.log") + &read("output.log");
    let line = text.lines().last().unwrap_or_default();
    line.split_once("] ").map_or(line, |(_, said)| said).to_owned()
}

fn all_last_lines(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let nodes = entries.filter(|entry| entry.path().join("torrc").exists());
    let names = nodes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let lines: Vec<_> = names.map(|name| format!("{name}: {}", last_line(directory, &name))).collect();
    lines.join("\n")
}
