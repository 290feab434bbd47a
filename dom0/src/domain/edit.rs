//! Changes a field of a domain file and leaves the rest, comments included, as the user wrote it.

use crate::domain::tor::Isolation;
use crate::name::{Bdf, Name};
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, Value};

/// What to do to a domain's list of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds the device.
    Add(Bdf, Reset),
    /// Removes the device, however its address is written.
    Remove(Bdf),
}

/// What the file says about devices that cannot be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// What it says already.
    AsItIs,
    /// That the user accepts one.
    NotStrict,
}

/// Changes the list `devices` in the file: written beside it, flushed, then renamed over it, so that a crash
/// leaves the old file or the new one.
///
/// # Errors
/// When the file cannot be read, understood or written; it is unchanged then.
pub fn devices(file: &Path, change: Change) -> Result<(), Problem> {
    edit(file, |text| changed(text, change))
}

/// Changes `netvm` in the file, or takes it out; written as by [`devices`].
///
/// # Errors
/// As [`devices`].
pub fn netvm(file: &Path, upstream: Option<&Name>) -> Result<(), Problem> {
    edit(file, |text| rerouted(text, upstream))
}

fn rerouted(text: &str, upstream: Option<&Name>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.message().to_owned())?;
    let Some(upstream) = upstream else { return Ok(without(text, document)) };
    match document.get_mut("netvm").and_then(Item::as_value_mut) {
        Some(value) => {
            // Spaces and the comment behind it stay.
            let decor = value.decor().clone();
            *value = Value::from(upstream.as_str());
            *value.decor_mut() = decor;
        }
        None => drop(document.insert("netvm", toml_edit::value(upstream.as_str()))),
    }
    Ok(document.to_string())
}

/// The text without `netvm`; comments above it and behind it stay where the line is an ordinary one.
fn without(text: &str, mut document: DocumentMut) -> String {
    let mut wanted = document.clone();
    wanted.remove("netvm");
    let is_it =
        |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim().trim_matches('"') == "netvm");
    let mut left = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once('#') {
            _ if !is_it(line) => left.push_str(line),
            Some((_, comment)) => left.extend(["#", comment]),
            None => {}
        }
    }
    let same = |left: &DocumentMut| {
        let plain = |d: &DocumentMut| toml::from_str::<toml::Table>(&d.to_string()).ok();
        plain(left).is_some() && plain(left) == plain(&wanted)
    };
    if left.parse().is_ok_and(|left| same(&left)) {
        return left;
    }
    document.remove("netvm");
    document.to_string()
}

/// What to do to a torvm's table `[tor]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TorChange {
    /// Adds a bridge line.
    AddBridge(String),
    /// Removes a bridge line: one that is written the same, but for spaces.
    RemoveBridge(String),
    /// Replaces what streams are kept apart by.
    Isolation(Isolation),
}

/// Why a bridge is not added.
const ALREADY: &str = "has this bridge already";
/// Why a bridge is not removed.
const NO_SUCH: &str = "has no such bridge";

/// Changes a torvm's table `[tor]` in the file; written as by [`devices`].
///
/// # Errors
/// As [`devices`]; also when a bridge is there already, or is not there.
pub fn tor(file: &Path, change: &TorChange) -> Result<(), Problem> {
    edit(file, |text| tor_changed(text, change))
}

/// Replaces the whole text of a file.
///
/// # Errors
/// As [`devices`].
pub fn whole(file: &Path, text: &str) -> Result<(), Problem> {
    edit(file, |_| Ok(text.to_owned()))
}

fn tor_changed(text: &str, change: &TorChange) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.message().to_owned())?;
    let tor = document.entry("tor").or_insert(Item::Table(toml_edit::Table::new()));
    let tor = tor.as_table_like_mut().ok_or("`tor` is not a table")?;
    if let TorChange::Isolation(isolation) = change {
        let table = tor.entry("isolation").or_insert(Item::Table(toml_edit::Table::new()));
        isolate(table.as_table_like_mut().ok_or("`tor.isolation` is not a table")?, isolation);
        return Ok(document.to_string());
    }
    let list = tor.entry("bridges").or_insert(Item::Value(Value::Array(Array::new())));
    let list = list.as_array_mut().ok_or("`tor.bridges` is not a list")?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let is = |value: &Value, line: &str| value.as_str().is_some_and(|value| words(value) == words(line));
    match change {
        TorChange::AddBridge(line) if list.iter().any(|v| is(v, line)) => {
            return Err(ALREADY.to_owned());
        }
        TorChange::AddBridge(line) => list.push(line.as_str()),
        TorChange::RemoveBridge(line) if !list.iter().any(|v| is(v, line)) => {
            return Err(NO_SUCH.to_owned());
        }
        TorChange::RemoveBridge(line) => list.retain(|v| !is(v, line)),
        TorChange::Isolation(_) => {}
    }
    if list.is_empty() {
        tor.remove("bridges");
    }
    Ok(document.to_string())
}

fn isolate(table: &mut dyn toml_edit::TableLike, isolation: &Isolation) {
    let Isolation { destination_address, destination_port, socks_credentials, port_classes } = isolation;
    for (key, value) in [
        ("destination_address", destination_address),
        ("destination_port", destination_port),
        ("socks_credentials", socks_credentials),
    ] {
        table.insert(key, toml_edit::value(*value));
    }
    let class = |class: &Vec<u16>| Value::Array(class.iter().map(|port| i64::from(*port)).collect());
    let classes: Array = port_classes.iter().map(class).collect();
    table.insert("port_classes", toml_edit::value(classes));
}

/// Replaces a file by what `change` makes of its text.
fn edit(file: &Path, change: impl FnOnce(&str) -> Result<String, String>) -> Result<(), Problem> {
    let fail = |why: String| {
        let remedy = match why.as_str() {
            ALREADY => "`bulkhead tor bridges` lists them; there is nothing to do",
            NO_SUCH => "`bulkhead tor bridges` lists them; give the whole line",
            _ => "edit the file by hand, or make its directory writable",
        };
        Problem::new(file.display().to_string(), why, remedy)
    };
    let text = std::fs::read_to_string(file).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let changed = change(&text).map_err(fail)?;
    replace(file, &changed).map_err(|e| fail(format!("cannot be written: {e}")))
}

fn changed(text: &str, change: Change) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.message().to_owned())?;
    let item = document.entry("devices").or_insert(Item::Value(Value::Array(Array::new())));
    let list = item.as_array_mut().ok_or("`devices` is not a list")?;
    let is = |value: &Value, bdf: Bdf| value.as_str().and_then(|s| s.parse().ok()) == Some(bdf);
    match change {
        Change::Add(bdf, _) if !list.iter().any(|v| is(v, bdf)) => list.push(bdf.to_string()),
        Change::Add(..) => {}
        Change::Remove(bdf) => list.retain(|v| !is(v, bdf)),
    }
    if list.is_empty() {
        document.remove("devices");
        document.remove("strict_reset");
    }
    if matches!(change, Change::Add(_, Reset::NotStrict)) {
        document.insert("strict_reset", toml_edit::value(false));
    }
    Ok(document.to_string())
}

fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let mut new = std::fs::File::create(&beside)?;
    new.set_permissions(std::fs::metadata(file)?.permissions())?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_survive_and_the_address_may_be_written_short() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("net.toml");
        let text =
            "# my netvm\nkind = \"netvm\" # the card\ndevices = [\"01:00.0\"]\n\n[nic]\nipv6 = \"off\"\n";
        std::fs::write(&file, text).unwrap();
        let bdf = "0000:01:00.0".parse().unwrap();
        devices(&file, Change::Add(bdf, Reset::AsItIs)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        devices(&file, Change::Remove(bdf)).unwrap();
        let without = "# my netvm\nkind = \"netvm\" # the card\n\n[nic]\nipv6 = \"off\"\n";
        assert_eq!(std::fs::read_to_string(&file).unwrap(), without);
        devices(&file, Change::Add(bdf, Reset::AsItIs)).unwrap();
        let domain = crate::domain::file::read(&file).unwrap();
        assert_eq!(domain.devices[0].value, bdf);
    }

    #[test]
    fn netvm_changes_and_comments_stay() {
        let text = "# mine\nkind = \"appvm\"\n# by Tor\nnetvm = \"tor\" # not fw\nmemory = 64\n\n[[disks]]\nimage = \"/x\"\n";
        let fw: Name = "fw".parse().unwrap();
        let changed = rerouted(text, Some(&fw)).unwrap();
        assert_eq!(changed, text.replace("\"tor\"", "\"fw\""));
        let without = rerouted(text, None).unwrap();
        assert_eq!(without, text.replace("netvm = \"tor\" # not fw", "# not fw"));
        let again = rerouted(&without, Some(&fw)).unwrap();
        let table: toml::Table = toml::from_str(&again).unwrap();
        assert_eq!((table["netvm"].as_str(), table["memory"].as_integer()), (Some("fw"), Some(64)));
        assert!(again.contains("# by Tor\n# not fw\n"), "{again}");
        assert_eq!(rerouted("kind = \"appvm\"\n", None).unwrap(), "kind = \"appvm\"\n");
    }

    #[test]
    fn netvm_written_oddly_goes_all_the_same() {
        for odd in [
            "'netvm' = \"a#b\"\nkind = 1\n",
            "netvm = \"\"\"a\n\"\"\"\nkind = 1\n",
            "x = \"\"\"\nnetvm = 1\n\"\"\"\nnetvm = \"a\"\nkind = 1\n",
        ] {
            let left: toml::Table = toml::from_str(&rerouted(odd, None).unwrap()).unwrap();
            assert!(!left.contains_key("netvm") && left.contains_key("kind"), "{odd}");
        }
        assert!(rerouted("netvm = [", None).is_err());
    }

    #[test]
    fn bridges_and_isolation_change_and_comments_stay() {
        let text = "# the gateway\nkind = \"torvm\"\n\n[tor] # see tor.md\nvanguards = \"full\" # slow\n";
        let bridge = format!("192.0.2.7:443  {}", "A".repeat(40));
        let added = tor_changed(text, &TorChange::AddBridge(bridge.clone())).unwrap();
        assert!(
            added.starts_with(text.trim_end()) && added.contains("bridges = [\"192.0.2.7:443"),
            "{added}"
        );
        let again = tor_changed(&added, &TorChange::AddBridge(bridge.replace("  ", " ")));
        assert_eq!(again.unwrap_err(), ALREADY);
        assert_eq!(tor_changed(&added, &TorChange::RemoveBridge(bridge.clone())).unwrap(), text);
        assert_eq!(tor_changed(text, &TorChange::RemoveBridge(bridge)).unwrap_err(), NO_SUCH);
        let isolation = Isolation {
            destination_port: true,
            port_classes: vec![vec![22], vec![25, 587]],
            ..Isolation::default()
        };
        let isolated = tor_changed(&added, &TorChange::Isolation(isolation.clone())).unwrap();
        let read = crate::domain::file::parse(Path::new("tor.toml"), &isolated).unwrap();
        assert_eq!((read.tor.value.isolation, read.tor.value.bridges.len()), (isolation, 1));
        let fresh = tor_changed("kind = \"torvm\"\n", &TorChange::Isolation(Isolation::default())).unwrap();
        crate::domain::file::parse(Path::new("tor.toml"), &fresh).unwrap();
        assert!(tor_changed("tor = 1", &TorChange::AddBridge(String::new())).is_err());
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        let bdf = "01:00.0".parse().unwrap();
        assert!(changed("devices = 1", Change::Add(bdf, Reset::NotStrict)).is_err());
        assert!(changed("devices = [", Change::Add(bdf, Reset::NotStrict)).is_err());
    }
}
