//! ARCHITECTURE.md tells the truth: every path that it or SPEC.md names exists, the dependency law holds, and `unsafe`
//! stands only in the files that it lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_path_buf()
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// The text between the heading `## title` and the next heading of the same level.
fn section<'t>(text: &'t str, title: &str) -> &'t str {
    let start = text.find(&format!("## {title}")).unwrap_or_else(|| panic!("no section '{title}'"));
    let body = &text[start + 3..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

/// Everything in back-quotes, code fences left out.
fn quoted(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            out.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    out
}

fn looks_like_path(text: &str) -> bool {
    text.contains('/')
        && !text.starts_with('/')
        && !text.contains("://")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

#[test]
fn every_named_path_exists() {
    let paths: BTreeSet<_> = quoted(&architecture()).into_iter().filter(|t| looks_like_path(t)).collect();
    assert!(paths.len() >= 30, "only {} paths found: the document or this test is broken", paths.len());
    let spec = fs::read_to_string(root().join("SPEC.md")).expect("SPEC.md");
    let paths: BTreeSet<_> =
        paths.into_iter().chain(quoted(&spec).into_iter().filter(|t| looks_like_path(t))).collect();
    let missing: Vec<_> = paths.iter().filter(|p| !root().join(p).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md or SPEC.md names paths that do not exist: {missing:#?}");
}

/// The rows of the table in section "Dependency law": crate → crates of ours that it may depend on.
fn law() -> BTreeMap<String, BTreeSet<String>> {
    section(&architecture(), "Dependency law")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = line.split('|').skip(1);
            let name = quoted(cells.next().unwrap_or_default()).remove(0);
            (name, quoted(cells.next().unwrap_or_default()).into_iter().collect())
        })
        .collect()
}

/// Our crates by package name, each with those of ours among its ordinary dependencies.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let manifest: toml::Table = read_toml(&root().join("Cargo.toml"));
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let manifests: Vec<toml::Table> = members
        .iter()
        .map(|m| read_toml(&root().join(m.as_str().expect("a member is a string")).join("Cargo.toml")))
        .collect();
    let name = |m: &toml::Table| m["package"]["name"].as_str().expect("a name").to_owned();
    let ours: BTreeSet<String> = manifests.iter().map(name).collect();
    manifests
        .iter()
        .map(|m| {
            let deps = m.get("dependencies").and_then(toml::Value::as_table);
            let deps = deps.into_iter().flat_map(toml::Table::keys).cloned().collect::<BTreeSet<_>>();
            (name(m), deps.intersection(&ours).cloned().collect())
        })
        .collect()
}

fn read_toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_dependency_law_holds() {
    let law = law();
    for (name, deps) in packages() {
        let allowed = law.get(&name).unwrap_or_else(|| panic!("crate '{name}' is not in the dependency law"));
        let broken: Vec<_> = deps.difference(allowed).collect();
        assert!(broken.is_empty(), "'{name}' may not depend on {broken:?}");
    }
}

#[test]
fn a_domains_library_does_not_use_the_runtime() {
    for domain in ["netvm", "firewallvm", "torvm"] {
        let sources = rust_files(&root().join(domain).join("src"));
        assert!(!sources.is_empty());
        // `main.rs` and its modules under `image` are the bare-metal binary.
        let image =
            |f: &&PathBuf| f.components().any(|c| c.as_os_str().to_string_lossy().starts_with("image"));
        for file in sources.iter().filter(|f| !f.ends_with("main.rs") && !image(f)) {
            let text = strip(&fs::read_to_string(file).expect("readable"));
            assert!(!words(&text).any(|w| w == "rt"), "{} uses the runtime", file.display());
        }
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            out.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
    out
}

/// Drops line comments and the contents of string literals, which may span lines.
fn strip(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
                out.push('\n');
            }
            '"' if out.ends_with("r#") => skip_raw_string(&mut chars),
            '"' if previous != '\'' && previous != '\\' => skip_string(&mut chars),
            _ => out.push(c),
        }
        previous = c;
    }
    out
}

/// Skips to the end of a string literal whose opening quote was read.
fn skip_string(chars: &mut impl Iterator<Item = char>) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// Skips to the end of a raw string literal with one hash sign.
fn skip_raw_string(chars: &mut impl Iterator<Item = char>) {
    let mut previous = ' ';
    for c in chars {
        if previous == '"' && c == '#' {
            return;
        }
        previous = c;
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    let text = architecture();
    let listed: BTreeSet<String> =
        quoted(section(&text, "Where `unsafe` stands")).into_iter().filter(|t| t.ends_with(".rs")).collect();
    let mut found = BTreeSet::new();
    for file in rust_files(&root()) {
        let source = strip(&fs::read_to_string(&file).expect("readable"));
        if words(&source).any(|w| w == "unsafe") {
            found.insert(file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned());
        }
    }
    let unlisted: Vec<_> = found.difference(&listed).collect();
    assert!(unlisted.is_empty(), "`unsafe` in files that ARCHITECTURE.md does not list: {unlisted:#?}");
    let idle: Vec<_> = listed.difference(&found).collect();
    assert!(idle.is_empty(), "listed for `unsafe`, yet without any: {idle:#?}");
}

#[test]
fn the_detector_detects() {
    let found = |source: &str| words(&strip(source)).any(|w| w == "unsafe");
    assert!(found("let x = unsafe { y() };"));
    assert!(found("#[unsafe(no_mangle)]"));
    assert!(!found("// unsafe\nlet s = \"unsafe\"; // more unsafe"));
    assert!(!found("#![forbid(unsafe_code)]"));
    assert!(looks_like_path("netvm/src/main.rs") && !looks_like_path("a b/c") && !looks_like_path("/etc/x"));
}
