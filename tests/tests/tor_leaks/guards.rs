//! The guards that torvm's disk remembers, read as torvm reads them.

use super::disk_log::{Sectors, Written};
use super::machine::Store;
use serde_json::Value;
use torvm::store::{Found, Store as Slots};

/// Bytes of a stored file's record before its path: kind, permissions, time, length of path, length of bytes.
const HEAD: usize = 19;
const NAME: &str = "/guards.json";

/// Who the guards are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guards {
    /// Those that were ever chosen from, in order.
    pub(crate) sample: Vec<String>,
    /// Those that circuits were built through, in order of preference.
    pub(crate) confirmed: Vec<String>,
}

impl Guards {
    /// Those that a store has now; `None` when it has none.
    pub(crate) fn stored(store: &Store) -> Option<Self> {
        let bytes = std::fs::read(store.disk()).unwrap();
        Self::on(Written { before: &bytes, newer: &Sectors::new() })
    }

    /// Those that a disk has; `None` when it has none.
    pub(crate) fn on(disk: Written<'_>) -> Option<Self> {
        let (found, bytes) = Slots::new(Some(disk)).load();
        assert!(matches!(found, Found::Newest | Found::Blank), "the store: {found:?}");
        Self::among(&bytes)
    }

    /// Those that a store has while a torvm may be writing to it; `None` when it has none, or that cannot be told.
    pub(crate) fn so_far(store: &Store) -> Option<Self> {
        let bytes = std::fs::read(store.disk()).unwrap();
        let disk = Written { before: &bytes, newer: &Sectors::new() };
        Self::among(&Slots::new(Some(disk)).load().1)
    }

    /// Those among stored files.
    fn among(bytes: &[u8]) -> Option<Self> {
        let text = file(bytes, NAME)?;
        let all: Value = serde_json::from_slice(text).expect("the program's own file");
        let set = &all["default"];
        let identities = |list: &Value, pointer: &str| -> Vec<String> {
            let list = list.as_array().expect("a list of guards");
            list.iter().map(|guard| guard.pointer(pointer).expect("an identity").to_string()).collect()
        };
        Some(Self { sample: identities(&set["guards"], "/id"), confirmed: identities(&set["confirmed"], "") })
    }

    /// Whether these guards go on with those of before: nobody lost, nobody overtaken.
    pub(crate) fn follow(&self, before: &Self) -> bool {
        self.sample.starts_with(&before.sample) && self.confirmed.starts_with(&before.confirmed)
    }
}

/// The content of the stored file whose path ends so.
fn file<'b>(mut records: &'b [u8], name: &str) -> Option<&'b [u8]> {
    while let Some(head) = records.first_chunk::<HEAD>() {
        let path = usize::from(u16::from_le_bytes([head[13], head[14]]));
        let length = u32::from_le_bytes([head[15], head[16], head[17], head[18]]) as usize;
        let (path, rest) = records[HEAD..].split_at(path);
        let (content, behind) = rest.split_at(length);
        if path.ends_with(name.as_bytes()) {
            return Some(content);
        }
        records = behind;
    }
    None
}
