//! The jail bites: what is forbidden in it kills the process, and most of that fails already without the list of calls.

#[path = "support/program.rs"]
#[expect(dead_code, reason = "shared")]
mod program;

use program::{Ran, run};
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const DEEDS: [&str; 9] =
    ["open", "create", "list", "listen", "udp", "exec", "thread", "memory", "executable"];
/// Signal of a forbidden system call.
const SIGSYS: i32 = 31;

/// Cargo builds examples together with tests and does not say where.
fn jailed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/jailed")
}

fn deed(layers: &str, deed: &str) -> Ran {
    run(&jailed(), &[layers, deed], b"")
}

#[test]
fn everything_works_outside() {
    for what in DEEDS {
        let ran = deed("none", what);
        assert_eq!(ran.ended, Ok(0), "{what}: {ran:?}");
    }
}

#[test]
fn nothing_works_inside() {
    assert_eq!(deed("all", "nothing").ended, Ok(0));
    for what in DEEDS {
        let ran = deed("all", what);
        // Too much memory is no forbidden call; there is none.
        let expected = if what == "memory" { Ok(1) } else { Err(SIGSYS) };
        assert!(ran.ended == expected && ran.answer.is_empty(), "{what}: {ran:?}");
    }
}

#[test]
fn other_layers_hold_by_themselves() {
    assert_eq!(deed("without-filter", "nothing").ended, Ok(0));
    // An UDP socket fails for want of descriptors.
    for what in DEEDS.iter().filter(|what| **what != "executable") {
        let ran = deed("without-filter", what);
        assert_ne!(ran.ended, Ok(0), "{what}: {ran:?}");
    }
}

#[test]
fn privileges_limits_and_descriptors_are_gone() {
    // The shell leaves it a descriptor, as a careless parent might.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "exec 7</dev/null; exec \"$0\" all wait"])
        .arg(jailed())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = format!("/proc/{}", child.id());
    let of = |file: &str| fs::read_to_string(format!("{process}/{file}")).unwrap_or_default();
    while !of("status").contains("Seccomp:\t2") {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was in the jail");
        std::thread::yield_now();
    }
    let (status, limits) = (of("status"), of("limits"));
    let is_root = rustix::process::geteuid().is_root();
    let owner =
        if is_root { "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n" } else { "" };
    for line in [
        owner,
        "Threads:\t1\n",
        "CapPrm:\t0000000000000000\n",
        "CapEff:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
    ] {
        assert!(status.contains(line), "{line:?} is not in {status}");
    }
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = [
        ("Max address space", "536870912"),
        ("Max cpu time", "20"),
        ("Max file size", "0"),
        ("Max open files", "3"),
        ("Max processes", "0"),
        ("Max core file size", "0"),
    ];
    for (name, most) in expected {
        assert_eq!(limit(name), [most, most], "{name}");
    }
    if is_root {
        let open = fs::read_dir(format!("{process}/fd")).unwrap();
        let mut open: Vec<_> = open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        open.sort();
        assert_eq!(open, ["0", "1", "2"]);
    }
    drop(child.stdin.take());
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
}
