//! Waits until the private network carries something.

use super::inside;
use super::nodes::{Kind, Network, Node, ONION_LOG};
use crate::namespace::{Ending, Namespace};
use crate::progress::Task;
use anyhow::{Result, bail};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time after the first consensus's within which it is published.
const PUBLISHED: Duration = Duration::from_secs(5);

/// Time for the first page, and then for the first onion page.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for the first consensus, and checks that it is of its time and has all relays.
///
/// # Errors
/// When a node ends, there is no consensus in time, or it is another: the next would take minutes.
pub(super) fn consensus(network: &Network<'_>, nodes: &mut [Ending], relays: &[Node]) -> Result<()> {
    let path = network.directory.join("authority0/cached-microdesc-consensus");
    let latest = UNIX_EPOCH + Duration::from_secs(network.first) + PUBLISHED;
    let mut text = String::new();
    loop {
        text.clear();
        let read = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
        if read.is_ok() && text.contains("\ndirectory-signature ") {
            break;
        }
        if SystemTime::now() > latest {
            bail!("authorities did not agree in time\n{}", all_last_lines(network.directory));
        }
        look_after(network.directory, nodes)?;
    }
    let listed = text.lines().filter(|line| line.starts_with("r ")).count();
    let expected = relays.iter().filter(|node| node.kind != Kind::Bridge).count();
    if listed != expected {
        bail!(
            "the first consensus has {listed} of {expected} relays: this machine was too busy when it was made"
        );
    }
    Ok(())
}

/// Waits until the C client fetches a page, and then one of the onion service.
///
/// # Errors
/// When a node ends, or it takes too long.
pub(super) fn pages(
    namespace: &Namespace,
    directory: &Path,
    task: &Task,
    nodes: &mut [Ending],
) -> Result<()> {
    until(directory, nodes, || {
        task.detail(&last_line(directory, "client0"));
        inside::fetched(namespace, inside::NAME, inside::PAGE)
    })?;
    until(directory, nodes, || {
        task.detail(&last_line(directory, "onion0"));
        uploaded(directory)
    })?;
    until(directory, nodes, || {
        task.detail("onion page");
        onion(directory).is_some_and(|name| inside::fetched(namespace, &name, inside::ONION_PAGE))
    })
}

/// Whether every upload of the service's descriptors that was begun is done. A client that asks earlier remembers for
/// minutes which directories had nothing.
fn uploaded(directory: &Path) -> bool {
    let log = fs::read_to_string(directory.join("onion0").join(ONION_LOG)).unwrap_or_default();
    let begun = log.matches("upload_descriptor_to_hsdir()").count();
    let done = log.matches("Uploaded hidden service descriptor (status 200").count();
    done > 0 && done >= begun
}

/// The onion service's name, once it has one.
pub(super) fn onion(directory: &Path) -> Option<String> {
    let name = fs::read_to_string(directory.join("onion0/service/hostname")).ok()?;
    Some(name.trim().to_owned())
}

fn until(directory: &Path, nodes: &mut [Ending], mut works: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !works() {
        look_after(directory, nodes)?;
        if begun.elapsed() > PATIENCE {
            bail!("the private Tor network does not work\n{}", all_last_lines(directory));
        }
    }
    Ok(())
}

/// Waits a moment, and complains when a node has ended.
fn look_after(directory: &Path, nodes: &mut [Ending]) -> Result<()> {
    thread::sleep(Duration::from_millis(300));
    for node in nodes {
        if let Some(status) = node.0.try_wait()? {
            bail!("a node ended ({status})\n{}", all_last_lines(directory));
        }
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
