//! `bulkhead rules` as a user meets it.

use crate::machine::executable;
use crate::programs::{Daemon, text};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

impl Daemon {
    fn rules(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("rules/work.rules")).unwrap()
    }

    fn write_rules(&self, text: &str) {
        let directory = self.directory.path().join("rules");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("work.rules"), text).unwrap();
    }

    /// What a command that fails says.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// `rules edit work` with an editor that is this script; temporary files in a directory of their own.
    fn edit(&self, script: &str, answers: Stdio) -> Output {
        let editor = self.directory.path().join("editor");
        executable(&editor, &format!("#!/bin/sh\n{script}\n"));
        std::fs::create_dir_all(self.copies()).unwrap();
        let mut command = self.command(&["rules", "edit", "work"]);
        command.env("VISUAL", "").env("EDITOR", format!("{} --wait", editor.display()));
        command.env("TMPDIR", self.copies()).stdin(answers).output().unwrap()
    }

    fn copies(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }
}

#[test]
fn rules_are_added_listed_and_deleted() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let said = daemon.says(&["rules", "add", "--before", "0", "work", "drop", "proto=tcp", "dstports=443"]);
    assert_eq!(said, "work: rules in force (set 2)\n");
    assert_eq!(daemon.rules(), "drop proto=tcp dstports=443\naccept\n");
    daemon.says(&["rules", "add", "work", "reject 192.0.2.0/24 udp 53 comment=no more"]);
    let list = daemon.says(&["rules", "list", "work"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NO", "ACTION", "HOST", "PROTOCOL", "PORT(S)", "HITS", "COMMENT"], "{list}");
    assert_eq!(lines[1], ["0", "drop", "-", "tcp", "443", "1", "-"], "{list}");
    assert_eq!(lines[3], ["2", "reject", "192.0.2.0/24", "udp", "53", "3", "no", "more"], "{list}");
    assert!(list.ends_with("in force (set 3)\n"), "{list}");
    daemon.says(&["rules", "del", "work", "action=drop", "dstports=443-443", "proto=tcp"]);
    daemon.says(&["rules", "del", "work", "1"]);
    assert_eq!(daemon.rules(), "accept\n");
    let said = daemon.refuses(&["rules", "del", "work", "7"]);
    assert!(said.contains("there is no rule 7") && said.contains("remedy: "), "{said}");
}

#[test]
fn raw_output_can_be_fed_back() {
    let daemon = Daemon::start();
    let rule = "accept example.org tcp 443 limit=10/second log=yes comment=a b";
    daemon.says(&["rules", "add", "work", rule]);
    let raw = daemon.says(&["rules", "list", "work", "--raw"]);
    assert_eq!(raw.lines().count(), 2, "{raw}");
    let last = raw.lines().last().unwrap();
    daemon.says(&["rules", "del", "work", last]);
    daemon.says(&["rules", "add", "work", last]);
    assert_eq!(daemon.says(&["rules", "list", "work", "--raw"]), raw);
    let json: serde_json::Value =
        serde_json::from_str(&daemon.says(&["rules", "list", "work", "--json"])).unwrap();
    assert_eq!((&json["rules"][1]["rule"], &json["rules"][1]["comment"]), (&last.into(), &"a b".into()));
}

#[test]
fn wrong_rule_is_shown_in_place_and_installs_nothing() {
    let daemon = Daemon::start();
    let said = daemon.refuses(&["rules", "add", "work", "drop", "proto=tpc"]);
    assert!(said.contains("tpc") && said.contains("^"), "{said}");
    assert!(!daemon.directory.path().join("rules").exists());
    let said = daemon.refuses(&["rules", "add", "fw", "drop"]);
    assert!(said.contains("only AppVMs have firewall rules"), "{said}");
    let said = daemon.refuses(&["rules", "add", "work", "accept expire=+never"]);
    assert!(said.contains("remedy: write `expire=+300`"), "{said}");
}

#[test]
fn relative_time_is_written_as_a_time() {
    let daemon = Daemon::start();
    let before = dom0::rules::now();
    daemon.says(&["rules", "add", "work", "accept expire=+300"]);
    let rules = daemon.rules();
    let end: u64 = rules.trim().rsplit('=').next().unwrap().parse().unwrap();
    assert!((before + 300..before + 330).contains(&end), "{rules}");
    assert!(daemon.says(&["rules", "list", "work"]).contains("EXPIRE"));
}

#[test]
fn reset_leaves_one_rule_that_accepts() {
    let daemon = Daemon::start();
    daemon.write_rules("this is no rule\n");
    let said = daemon.refuses(&["rules", "list", "work"]);
    assert!(said.contains("work.rules has 3 errors"), "{said}");
    daemon.says(&["rules", "reset", "work"]);
    assert_eq!(daemon.rules(), "accept\n");
}

#[test]
fn editor_changes_rules() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let output = daemon.edit("test \"$1\" = --wait && echo drop >> \"$2\"", Stdio::null());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(daemon.rules(), "accept\ndrop\n");
    assert!(text(&output.stdout).contains("rules in force (set 2)"));
    let output = daemon.edit("true", Stdio::null());
    assert_eq!(text(&output.stdout), "work: nothing changed\n");
    assert_eq!(std::fs::read_dir(daemon.copies()).unwrap().count(), 0, "no copy is left");
}

#[test]
fn what_the_editor_left_is_kept_when_it_does_not_compile() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let output = daemon.edit("echo 'dorp everything' > \"$2\"", Stdio::null());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("dorp"), "{said}");
    let kept = said.lines().find_map(|l| l.trim().strip_prefix("your text is kept in ")).unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "dorp everything\n");
    assert_eq!(std::fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!daemon.directory.path().join("rules/work.rules").exists(), "nothing was installed");
    let output = daemon.edit("exit 3", Stdio::null());
    assert!(text(&output.stderr).contains("nothing was installed"), "{}", text(&output.stderr));
}

#[test]
fn edit_does_not_overwrite_what_changed_meanwhile() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let bulkhead = env!("CARGO_BIN_EXE_bulkhead");
    let run = daemon.directory.path().join("run");
    let script = format!(
        "{bulkhead} --runtime-dir {} rules add work reject >/dev/null && echo drop >> \"$2\"",
        run.display()
    );
    let output = daemon.edit(&script, Stdio::null());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("somebody else changed the rules") && said.contains("kept in"), "{said}");
    assert_eq!(daemon.rules(), "accept\nreject\n");
}

#[test]
fn additions_at_once_all_count() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let ports = ["1", "2", "3", "4", "5"];
    let children: Vec<_> = ports
        .iter()
        .map(|port| {
            let mut command = daemon.command(&["rules", "add", "work", "drop", "proto=udp"]);
            command
                .arg(format!("dstports={port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(daemon.rules().lines().count(), 1 + ports.len(), "{}", daemon.rules());
}

#[test]
fn check_and_test_need_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("work.rules"), "drop proto=tcp dstports=443\naccept\n").unwrap();
    std::fs::write(directory.path().join("bad.txt"), "accept\nacept\n").unwrap();
    let run = |arguments: &[&str], input: &str| bulkhead(directory.path(), arguments, input);
    let (code, out, _) = run(&["rules", "check"], "");
    assert_eq!((code, out.ends_with("work.rules: 2 rules, nothing wrong\n")), (Some(0), true), "{out}");
    let (code, _, said) = run(&["rules", "check", "./bad.txt"], "");
    assert!(code == Some(1) && said.contains("bad.txt:2") && said.contains("help"), "{said}");
    let (code, out, _) = run(&["rules", "check", "-"], "drop\n");
    assert_eq!((code, out.as_str()), (Some(0), "standard input: 1 rule, nothing wrong\n"));
    let (code, _, said) = run(&["rules", "check", "-"], "\u{1b}[2J\n");
    assert!(code == Some(1) && !said.contains('\u{1b}'), "{said:?}");
    let (_, out, _) = run(&["rules", "test", "work", "tcp", "192.0.2.1:443"], "");
    assert!(out.starts_with("drop: rule 0 (line 1)"), "{out}");
    let (_, out, _) = run(&["rules", "test", "work", "udp 192.0.2.1:443"], "");
    assert!(
        out.starts_with("accept: rule 1") && out.contains("not rule 0 (line 1): udp is not tcp"),
        "{out}"
    );
    let (_, out, _) = run(&["rules", "test", "personal", "tcp", "192.0.2.1:443"], "");
    assert!(out.starts_with("accept: rule 0"), "a domain without a file: {out}");
    let (code, _, said) = run(&["rules", "test", "work", "tcp"], "");
    assert!(code == Some(1) && said.contains("packet is incomplete"), "{said}");
}

#[test]
fn only_domains_with_rules_are_checked_and_one_bad_file_hides_no_other() {
    let daemon = Daemon::start();
    for verb in [&["check"][..], &["export"], &["test"]] {
        for (name, why) in [("nosuch", "no such domain"), ("fw", "only AppVMs have firewall rules")] {
            let mut arguments = [&["rules"], verb, &[name]].concat();
            arguments.extend((verb == ["test"]).then_some("tcp 192.0.2.1:443"));
            let said = daemon.refuses(&arguments);
            assert!(said.contains(why) && said.contains("remedy: "), "{arguments:?}: {said}");
        }
    }
    assert!(daemon.says(&["rules", "check", "work"]).contains("no file, so it is `accept`"));
    daemon.write_rules("accept tcp 443\naccept tcp 443\n");
    let rules = daemon.directory.path().join("rules");
    std::os::unix::fs::symlink("work.rules", rules.join("personal.rules")).unwrap();
    let output = daemon.run(&["rules", "check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("personal.rules: is a symbolic link"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("work.rules: 2 rules, 1 warning\n"), "{}", text(&output.stdout));
    let said = daemon.refuses(&["rules", "export", "work", "--nft", "--interface", "a\n\u{1b}b"]);
    assert!(said.contains("is no name of an interface") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn packet_to_another_domain_is_tested_at_both_ends() {
    let daemon = Daemon::start();
    daemon.write_rules("accept dstdomain=personal tcp 22\n");
    let test = ["rules", "test", "work", "tcp domain:personal:22"];
    let said = daemon.says(&test);
    let ends: Vec<&str> = said.lines().filter(|l| !l.starts_with(' ')).collect();
    assert!(
        matches!(ends[..], [mine, _, theirs] if mine.starts_with("accept: rule 0") && theirs.starts_with("drop")),
        "{said}"
    );
    let theirs = daemon.directory.path().join("rules/personal.rules");
    std::fs::write(theirs, "accept\naccept srcdomain=work tcp 22\n").unwrap();
    assert!(daemon.says(&test).contains("\naccept: rule 1 (line 2)"), "{}", daemon.says(&test));
    let back = daemon.says(&["rules", "test", "personal", "in tcp domain:work to 22"]);
    assert_eq!(back.matches("accept: rule ").count(), 2, "{back}");
    daemon.write_rules("accept dstdomain=elsewhere\n");
    let said = daemon.refuses(&["rules", "test", "work", "tcp domain:elsewhere:22"]);
    assert!(said.contains("elsewhere: there is no such domain"), "{said}");
}

#[test]
fn what_is_installed_is_so_even_if_nobody_hears_it() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut add = daemon.command(&["rules", "add", "work", "accept", "dstdomain=nobody"]);
    assert!(add.stdout(full()).stderr(full()).status().unwrap().success());
    assert_eq!(daemon.rules(), "accept\naccept dstdomain=nobody\n");
}

fn bulkhead(directory: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    use std::io::Write;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(directory).args(["--runtime-dir", "run", "--rules-dir", "rules"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn decisions_are_followed() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    daemon.says(&["rules", "add", "--before", "0", "work", "drop log=yes"]);
    let mut follower = daemon
        .command(&["rules", "log", "-f", "work"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut console =
        daemon.command(&["console", "fw"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut console.stdin.take().unwrap(), b"decide\n\x1d").unwrap();
    console.wait().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(follower.stdout.take().unwrap()), &mut line)
        .unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert!(
        line.ends_with("dropped tcp 10.137.0.14:40000 -> 192.0.2.1:443 by rule 0 (drop log=yes)\n"),
        "{line}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&daemon.says(&["rules", "log", "work", "--json", "-n", "1"])).unwrap();
    assert_eq!(json["fate"], "dropped");
    let counters = daemon.says(&["rules", "counters", "work"]);
    assert!(counters.contains("drop log=yes") && counters.contains("no rule: dropped"), "{counters}");
}

#[test]
fn rules_are_exported() {
    let daemon = Daemon::start();
    daemon.write_rules("# mine\ndrop 192.0.2.1 tcp 443\n");
    assert_eq!(
        daemon.says(&["rules", "export", "work"]),
        "action=drop dsthost=192.0.2.1 proto=tcp dstports=443\n"
    );
    let nft: serde_json::Value =
        serde_json::from_str(&daemon.says(&["rules", "export", "work", "--nft"])).unwrap();
    assert!(nft["nftables"].as_array().is_some_and(|list| list.len() > 3), "{nft}");
    let json: serde_json::Value =
        serde_json::from_str(&daemon.says(&["rules", "export", "work", "--json"])).unwrap();
    assert_eq!(json["rules"][0]["line"], 2);
}

#[test]
fn rules_of_qubes_are_imported() {
    let daemon = Daemon::start();
    daemon.says(&["up", "work"]);
    let xml = daemon.directory.path().join("firewall.xml");
    let write = |rules: &str| {
        std::fs::write(&xml, format!("<firewall version=\"2\"><rules>{rules}</rules></firewall>"))
    };
    let rule = |properties: &[(&str, &str)]| {
        let properties: String =
            properties.iter().map(|(k, v)| format!("<property name=\"{k}\">{v}</property>")).collect();
        format!("<rule><properties>{properties}</properties></rule>")
    };
    let good = rule(&[("action", "accept"), ("specialtarget", "dns")])
        + &rule(&[("action", "drop"), ("proto", "tcp"), ("dstports", "25-25"), ("comment", "no mail")]);
    write(&good).unwrap();
    let import = |more: &[&str]| {
        let mut arguments = vec!["rules", "import", "work", "--qubes", xml.to_str().unwrap()];
        arguments.extend(more);
        daemon.run(&arguments)
    };
    let dry = import(&["--dry-run"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert!(text(&dry.stdout).contains("specialtarget=dns"), "{}", text(&dry.stdout));
    assert!(!daemon.directory.path().join("rules/work.rules").exists());
    let done = import(&[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        daemon.rules().contains("action=drop proto=tcp dstports=25 comment=no mail"),
        "{}",
        daemon.rules()
    );
    let before = daemon.rules();
    write(&(good + &rule(&[("action", "accept"), ("dpi", "strange")]))).unwrap();
    let partial = import(&[]);
    assert_eq!(partial.status.code(), Some(1));
    assert!(text(&partial.stderr).contains("--partial"), "{}", text(&partial.stderr));
    assert_eq!(daemon.rules(), before);
    assert!(import(&["--partial"]).status.success());
    std::fs::write(&xml, "not XML").unwrap();
    assert!(text(&import(&[]).stderr).contains("cannot be imported"));
}
