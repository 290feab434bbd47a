//! Changes one field of a domain file and leaves the rest, comments included, as the user wrote it.

use crate::name::Bdf;
use crate::problem::Problem;
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
    let fail = |why: String| {
        Problem::new(file.display().to_string(), why, "edit the file by hand, or make its directory writable")
    };
    let text = std::fs::read_to_string(file).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let changed = changed(&text, change).map_err(fail)?;
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
    fn what_is_no_list_is_left_alone() {
        let bdf = "01:00.0".parse().unwrap();
        assert!(changed("devices = 1", Change::Add(bdf, Reset::NotStrict)).is_err());
        assert!(changed("devices = [", Change::Add(bdf, Reset::NotStrict)).is_err());
    }
}
