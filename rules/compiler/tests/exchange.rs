//! Golden files: what rules are in nftables' words, and what other firewalls' rules are in ours. With `BLESS=1` in the
//! environment they are written anew.

use rules_compiler::{
    compile, import_nft_json, import_qubes_xml,
    nft::export::{Place, export},
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn golden(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(directory);
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| path.extension().is_some_and(|e| extensions.contains(&e.to_str().unwrap()));
    let mut files: Vec<_> = files.filter(wanted).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn is_as_written(path: &Path, now: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, now).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "{}: not as written any more; it is now\n{now}", path.display());
}

fn place() -> Place {
    Place {
        name: "work".to_owned(),
        addresses: vec!["10.137.0.6".parse().unwrap(), "fd09:24ef:4179:1::6".parse().unwrap()],
        interface: None,
        uplink: Some("eth0".to_owned()),
        inside: vec!["10.137.0.0/16".parse().unwrap(), "fd09:24ef:4179::/48".parse().unwrap()],
        name_servers: ["10.139.1.1", "10.139.1.2", "fd09:24ef:4179::53"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
    }
}

#[test]
fn exports_are_as_written_and_nft_takes_them() {
    for path in golden("export", &["rules"]) {
        let compiled = compile(&fs::read_to_string(&path).unwrap(), 0).unwrap();
        let json = export(&compiled.policy, &place()).to_json().unwrap() + "\n";
        is_as_written(&path.with_extension("json"), &json);
        if let Some(said) = checked_by_nft(&json) {
            assert_eq!(said, "", "{}", path.display());
        }
    }
    assert!(checked_by_nft("{}").is_none_or(|said| !said.is_empty()), "it takes anything");
}

/// What `nft` objects to; `None` where it cannot be asked.
fn checked_by_nft(json: &str) -> Option<String> {
    let mut child = Command::new("unshare")
        .args(["--net", "nft", "-j", "-c", "-f", "/dev/stdin"])
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // Who is not root has no namespace, and nobody who reads.
    let _ = child.stdin.take()?.write_all(json.as_bytes());
    let done = child.wait_with_output().ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() {
        return Some(String::new());
    }
    if said.contains("unshare") {
        let _ = writeln!(std::io::stderr(), "SKIPPED: what nft says to exports: {}", said.trim());
        return None;
    }
    Some(said)
}

#[test]
fn imports_are_as_written_and_can_be_compiled() {
    for path in golden("import", &["xml", "json"]) {
        let text = fs::read_to_string(&path).unwrap();
        let is_xml = path.extension().is_some_and(|extension| extension == "xml");
        let imported = if is_xml { import_qubes_xml(&text) } else { import_nft_json(&text) }.unwrap();
        let mut said = imported.file.to_string();
        compile(&said, 0).unwrap_or_else(|wrong| panic!("{}: {wrong:?}\n{said}", path.display()));
        for unsaid in &imported.unsaid {
            said.push_str(&format!("# {unsaid}\n"));
        }
        is_as_written(&path.with_extension("rules"), &said);
    }
}
