//! Helpers that do what the real one would not: it is tested with this module in its own package.

use super::*;
use std::path::Path;

const VERIFIED: &str =
    "verified\nvalid-after 10\nfresh-until 20\nvalid-until 30\nrelay 192.0.2.1:443\nend 1\n";

/// A helper that is this shell script.
fn helper(script: &str) -> (tempfile::TempDir, Helper) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bulkhead-relays");
    executable(&program, &format!("#!/bin/sh\n{script}\n"));
    (directory, Helper { program, patience: Duration::from_secs(20) })
}

/// Has another process write it: what this one had open for writing would for a moment be open in each process that other
/// tests start meanwhile, and could not be executed.
fn executable(path: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

fn verify(script: &str) -> Result<Set, Failure> {
    let (_directory, helper) = helper(script);
    helper.verify(&Pair::default(), &[], 0)
}

fn broken(script: &str) -> String {
    match verify(script) {
        Err(Failure::Broken(why)) => why,
        other => panic!("{script}: {other:?}"),
    }
}

#[test]
fn request_and_answer_pass() {
    let script = format!(
        "[ \"$(head -c 17)\" = 'bulkhead-relays 1' ] || exit 9\n\
         cat > \"$(dirname \"$0\")/request\"; printf '{}'",
        VERIFIED.replace('\n', "\\n")
    );
    let (directory, helper) = helper(&script);
    let pair = Pair { certificates: b"abc".to_vec(), consensus: b"de\xFF".to_vec() };
    let set = helper.verify(&pair, &["AA".to_owned(), "BB".to_owned()], 77).unwrap();
    assert_eq!((set.valid_after, set.relays.len()), (10, 1));
    let request = std::fs::read(directory.path().join("request")).unwrap();
    let head = "\nnow 77\nauthority AA\nauthority BB\ncertificates 3\nconsensus 3\n\nabcde";
    assert_eq!(request, [head.as_bytes(), b"\xFF"].concat());
}

#[test]
fn refusals_are_told() {
    let why = verify("echo refused consensus-signatures; exit 3");
    assert_eq!(why, Err(Failure::Refused("consensus-signatures".to_owned())));
}

#[test]
fn exit_code_and_answer_must_agree() {
    let told = format!("printf '{}'", VERIFIED.replace('\n', "\\n"));
    assert!(verify(&told).is_ok());
    for end in ["exit 3", "exit 1", "exit 101", "kill -SYS $$", "kill -KILL $$"] {
        broken(&format!("{told}; {end}"));
    }
    assert!(broken(&format!("{told}; kill -SYS $$")).contains("signal 31"));
    broken("echo refused x");
    broken("exit 0");
    broken("echo bootstrap; echo relay 192.0.2.1:443; echo end 1");
    broken("printf '\\377'");
}

#[test]
fn what_it_says_besides_is_passed_on() {
    let said = broken("echo 'no jail: \u{1b}[31mwhy' >&2; exit 2");
    assert!(said.contains("no jail") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn it_cannot_hold_anybody_up() {
    for deed in [
        "exec sleep 60",
        "exec >&-; exec sleep 60",
        "while :; do :; done",
        "exec >&- 2>&-; while :; do :; done",
    ] {
        let (_directory, mut helper) = helper(deed);
        helper.patience = Duration::from_millis(300);
        let begun = Instant::now();
        let ended = helper.verify(&Pair::default(), &[], 0);
        assert_eq!(ended, Err(Failure::Broken("did not answer in time".to_owned())), "{deed}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{deed}");
    }
}

#[test]
fn it_cannot_fill_memory() {
    assert_eq!(broken("exec cat /dev/zero"), "answered too much");
    assert_eq!(broken("while :; do echo relay 192.0.2.1:443; done"), "answered too much");
    // On standard error nobody listens: it waits there until its time is over.
    let (_directory, mut helper) = helper("exec cat /dev/zero >&2");
    helper.patience = Duration::from_millis(300);
    assert!(helper.verify(&Pair::default(), &[], 0).is_err());
}

#[test]
fn missing_program_is_a_reason() {
    let helper = Helper { program: "/nonexistent/bulkhead-relays".into(), patience: Duration::from_secs(1) };
    assert!(matches!(helper.bootstrap(), Err(Failure::Broken(why)) if why.starts_with("cannot be started")));
}
