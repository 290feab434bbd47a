//! A ruleset's tables, chains, sets and rules, found in its JSON.

use crate::import::ImportError;
use serde_json::Value;
use std::collections::BTreeMap;

/// Objects at most.
const MAX_OBJECTS: usize = 200_000;

/// A chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain<'j> {
    /// For a base chain.
    pub(super) hook: Option<&'j str>,
    pub(super) kind: Option<&'j str>,
    pub(super) accepts_rest: bool,
    pub(super) rules: Vec<&'j Value>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<'j> {
    pub(super) family: &'j str,
    pub(super) name: &'j str,
    pub(super) chains: BTreeMap<&'j str, Chain<'j>>,
    /// Elements by the set's name.
    pub(super) sets: BTreeMap<&'j str, Vec<&'j Value>>,
}

/// Finds the tables, whether listed (`nft -j list ruleset`) or as commands (`add`).
pub(super) fn tables(document: &Value) -> Result<Vec<Table<'_>>, ImportError> {
    let objects = document.get("nftables").and_then(Value::as_array);
    let objects =
        objects.ok_or_else(|| ImportError("no list `nftables`: this is no JSON of nft".to_owned()))?;
    if objects.len() > MAX_OBJECTS {
        return Err(ImportError(format!("more than {MAX_OBJECTS} objects")));
    }
    let mut tables: Vec<Table<'_>> = Vec::new();
    for object in objects {
        let Some((kind, body)) = object_of(object) else { continue };
        let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let table = word(if kind == "table" { "name" } else { "table" });
        let family = word("family");
        let place = tables.iter().position(|known| known.name == table && known.family == family);
        let place = place.unwrap_or_else(|| {
            tables.push(Table { family, name: table, ..Table::default() });
            tables.len() - 1
        });
        tables[place].add(kind, body, word(if kind == "rule" { "chain" } else { "name" }));
    }
    tables.retain(|table| !table.chains.is_empty());
    Ok(tables)
}

/// The kind and the body of an object; of a command `add` what is added.
fn object_of(object: &Value) -> Option<(&str, &Value)> {
    let (kind, body) = object.as_object()?.iter().next()?;
    match kind.as_str() {
        "add" | "create" => {
            let (kind, body) = body.as_object()?.iter().next()?;
            Some((kind, body))
        }
        "table" | "chain" | "rule" | "set" | "map" | "element" => Some((kind, body)),
        _ => None,
    }
}

impl<'j> Table<'j> {
    fn add(&mut self, kind: &str, body: &'j Value, name: &'j str) {
        let word = |name: &str| body.get(name).and_then(Value::as_str);
        let elements = || match body.get("elem") {
            Some(Value::Array(elements)) => elements.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        match kind {
            "chain" => {
                let chain = self.chains.entry(name).or_default();
                (chain.hook, chain.kind) = (word("hook"), word("type"));
                chain.accepts_rest = chain.hook.is_some() && word("policy") != Some("drop");
            }
            "rule" => self.chains.entry(name).or_default().rules.push(body),
            "set" | "element" => self.sets.entry(name).or_default().extend(elements()),
            _ => {}
        }
    }
}
