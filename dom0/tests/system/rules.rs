//! Firewall rules, from a file to a program that a firewallvm has acknowledged.

use crate::machine::{Machine, PATIENCE};
use crate::{down, up};
use dom0::enclosed;
use dom0::protocol::{Agreement, Answer, Outcome, Phase, Request, RuleHits, RulesState, Users};
use dom0::rules::decisions::Line;
use dom0::settings::Times;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Seconds after which rules expire that are in force before.
const SOON: u64 = 6;

/// What came of an edit: the generation in force and notes, or why nothing was installed.
pub(crate) type Installed = Result<(Option<u32>, Vec<String>), String>;

impl Machine {
    fn rules_file(&self, name: &str) -> PathBuf {
        self.path("rules").join(format!("{name}.rules"))
    }

    pub(crate) fn write_rules(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path("rules")).unwrap();
        std::fs::write(self.rules_file(name), text).unwrap();
    }

    pub(crate) fn rules(&self, name: &str) -> (RulesState, String) {
        let request = Request::RulesRead { domain: name.parse().unwrap() };
        match self.answer_to_text(request, None) {
            (_, Answer::Done(Outcome::Rules(state)), Some(text)) => {
                (state, enclosed::take_first(&[text]).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn install_over(&self, name: &str, read: &RulesState, text: &str) -> Option<Installed> {
        let request = Request::RulesInstall { domain: name.parse().unwrap(), expected: read.version.clone() };
        match self.answer_to_text(request, Some(text)) {
            (_, Answer::Done(Outcome::Installed { generation, notes }), _) => Some(Ok((generation, notes))),
            (_, Answer::Done(Outcome::Changed), _) => None,
            (_, Answer::Failed(problems), _) => Some(Err(problems.to_string())),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn install(&self, name: &str, text: &str) -> Installed {
        self.install_over(name, &self.rules(name).0, text).unwrap()
    }

    pub(crate) fn wait_for_rules(&self, name: &str, wanted: impl Fn(&RulesState) -> bool) -> RulesState {
        let start = Instant::now();
        loop {
            let (state, _) = self.rules(name);
            if wanted(&state) {
                return state;
            }
            assert!(start.elapsed() < PATIENCE, "{state:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn with_work() -> Self {
        Self::with_work_and_times(|_| ())
    }

    fn with_work_and_times(change: impl FnOnce(&mut Times)) -> Self {
        let machine = Self::with_times(change);
        machine.ask(up(&["work"])).unwrap();
        machine.wait_for_rules("work", |s| s.in_force.is_some());
        machine
    }
}

#[test]
fn client_without_a_file_may_go_out_and_is_told_so_with_its_introduction() {
    let machine = Machine::with_work();
    machine.log_has("fw", "port 3 generation 1: 1 rules");
    let (state, text) = machine.rules("work");
    assert_eq!((state.in_force, text.as_str()), (Some((1, Agreement::Same)), "accept\n"));
    assert!(!machine.path("rules").exists(), "nothing is written before it is asked for");
}

#[test]
fn edit_is_saved_and_acknowledged() {
    let machine = Machine::with_work();
    let (generation, notes) = machine.install("work", "drop\naccept\n").unwrap();
    assert_eq!((generation, notes), (Some(2), vec![]));
    machine.log_has("fw", "port 3 generation 2: 2 rules");
    assert_eq!(std::fs::read_to_string(machine.rules_file("work")).unwrap(), "drop\naccept\n");
    assert_eq!(machine.install("work", "drop\naccept\n").unwrap().0, Some(3), "the same once more is sent");
}

#[test]
fn ten_thousand_rules_get_through() {
    let machine = Machine::with_work();
    let text = "drop\n".repeat(10_000);
    assert_eq!(machine.install("work", &text).unwrap().0, Some(2));
    machine.log_has("fw", "port 3 generation 2: 10000 rules");
    let request = Request::RulesCounters { domain: "work".parse().unwrap() };
    let (_, answer, fd) = machine.answer_to_text(request, None);
    assert_eq!(answer, Answer::Done(Outcome::Stream));
    let hits: RuleHits = serde_json::from_str(&enclosed::take_first(&[fd.unwrap()]).unwrap()).unwrap();
    assert_eq!((hits.generation, hits.rules.len(), hits.no_rule), (2, 10_000, 5));
    assert_eq!((hits.rules[9_999].hits, hits.rules[9_999].line), (10_000, 10_000));
}

#[test]
fn what_does_not_compile_changes_nothing() {
    let machine = Machine::with_work();
    machine.install("work", "drop\n").unwrap();
    let why = machine.install("work", "drop\nacept\n").unwrap_err();
    assert!(why.contains("work.rules:2"), "{why}");
    assert_eq!(machine.rules("work").1, "drop\n");
    assert_eq!(machine.rules("work").0.in_force, Some((2, Agreement::Same)));
}

#[test]
fn refused_rules_leave_those_before() {
    let machine = Machine::with_work();
    machine.install("work", "drop\n").unwrap();
    machine.type_into("fw", "refuse-rules\n");
    machine.log_has("fw", "mood refuse-rules");
    let why = machine.install("work", "accept\ndrop\n").unwrap_err();
    assert!(why.contains("refused") && why.contains("no memory") && !why.contains('\x1b'), "{why}");
    let (state, text) = machine.rules("work");
    assert_eq!((state.in_force, text.as_str()), (Some((2, Agreement::Same)), "drop\n"));
    machine.type_into("fw", "take-rules\n");
    machine.log_has("fw", "mood take-rules");
    machine.install("work", "accept\ndrop\n").unwrap();
}

#[test]
fn silence_is_told_and_the_next_firewall_gets_what_was_saved() {
    let machine = Machine::with_work_and_times(|times| times.rules = Duration::from_secs(3));
    machine.type_into("fw", "ignore-rules\n");
    machine.log_has("fw", "mood ignore-rules");
    let why = machine.install("work", "drop\ndrop\n").unwrap_err();
    assert!(why.contains("saved") && why.contains("not acknowledged"), "{why}");
    let state = machine.rules("work").0;
    assert_eq!(state.in_force, Some((1, Agreement::Different)));
    for told in [state.problem, machine.status("work").rules] {
        assert!(told.as_ref().is_some_and(|t| t.contains("not acknowledged set 2")), "{told:?}");
    }
    machine.kill("fw");
    let state = machine.wait_for_rules("work", |s| s.in_force.is_some_and(|(g, _)| g == 3));
    assert_eq!((state.in_force, state.problem), (Some((3, Agreement::Same)), None));
    machine.log_has("fw", "port 3 generation 3: 2 rules");
}

#[test]
fn firewall_that_is_replaced_and_refuses_an_edit_gets_the_rules_before() {
    let machine = Machine::with_work();
    machine.install("work", "drop\n").unwrap();
    machine.type_into("fw", "ignore-rules\n");
    machine.log_has("fw", "mood ignore-rules");
    machine.behaves("fw", "ok refuse-first");
    let why = std::thread::scope(|scope| {
        let edit = scope.spawn(|| machine.install("work", "drop\ndrop\n").unwrap_err());
        machine.log_has("fw", "generation 3: 2 rules");
        machine.kill("fw");
        edit.join().unwrap()
    });
    assert!(why.contains("no memory yet"), "{why}");
    let state = machine.wait_for_rules("work", |s| s.in_force.is_some());
    assert_eq!((state.in_force, state.problem), (Some((5, Agreement::Same)), None));
    assert_eq!(machine.rules("work").1, "drop\n");
    machine.log_has("fw", "generation 5: 1 rules");
}

#[test]
fn replaced_firewall_gets_every_clients_rules_again() {
    let machine = Machine::with_chain();
    machine.write_rules("work", "drop\ndrop\n");
    machine.write_rules("personal", "drop\ndrop\ndrop\n");
    machine.ask(up(&["work", "personal"])).unwrap();
    machine.log_has("fw", ": 2 rules");
    machine.log_has("fw", ": 3 rules");
    machine.kill("fw");
    machine.log_has_times("fw", ": 2 rules", 2);
    machine.log_has_times("fw", ": 3 rules", 2);
    for name in ["work", "personal"] {
        machine.wait_for_rules(name, |s| matches!(s.in_force, Some((3 | 4, Agreement::Same))));
    }
}

#[test]
fn domain_whose_first_rules_are_broken_passes_nothing() {
    let machine = Machine::with_chain();
    machine.write_rules("work", "alow everything\n");
    machine.ask(up(&["work"])).unwrap();
    machine.log_has("fw", "port 3 generation 1: 0 rules");
    let said = machine.wait_for("work", |s| s.rules.is_some()).rules.unwrap();
    assert!(said.starts_with("everything is dropped: ") && said.contains("work.rules:1"), "{said}");
    let (state, text) = machine.rules("work");
    assert_eq!(state.problem, Some(said));
    assert_eq!(text, "alow everything\n");
    machine.install("work", "accept\n").unwrap();
    assert_eq!(machine.status("work").rules, None);
    machine.log_has("fw", "port 3 generation 2: 1 rules");
}

#[test]
fn file_broken_by_hand_leaves_the_rules_before() {
    let machine = Machine::with_work();
    machine.install("work", "drop\ndrop\n").unwrap();
    machine.write_rules("work", "nonsense\n");
    assert_eq!(machine.rules("work").0.in_force, Some((2, Agreement::Different)));
    machine.kill("fw");
    machine.log_has("fw", "port 3 generation 3: 2 rules");
    let said = machine.wait_for("work", |s| s.rules.is_some()).rules.unwrap();
    assert!(said.starts_with("the rules before are kept: "), "{said}");
}

#[test]
fn expired_rules_leave_force_and_file() {
    let machine = Machine::with_work();
    let end = dom0::rules::now() + SOON;
    machine.install("work", &format!("# for a while\naccept expire={end}\ndrop\n")).unwrap();
    machine.log_has("fw", "port 3 generation 2: 2 rules");
    machine.log_has("fw", "port 3 generation 3: 1 rules");
    assert!(dom0::rules::now() >= end, "not before its time");
    let state = machine.wait_for_rules("work", |s| s.in_force.is_some_and(|(g, _)| g == 3));
    assert_eq!(state.in_force, Some((3, Agreement::Same)));
    assert_eq!(std::fs::read_to_string(machine.rules_file("work")).unwrap(), "# for a while\ndrop\n");
}

#[test]
fn expiry_leaves_a_file_alone_that_was_edited_by_hand() {
    let machine = Machine::with_work();
    let end = dom0::rules::now() + SOON;
    machine.install("work", &format!("accept expire={end}\ndrop\n")).unwrap();
    machine.write_rules("work", "half a thought\n");
    machine.log_has("fw", "port 3 generation 3: 1 rules");
    let state = machine.wait_for_rules("work", |s| s.in_force.is_some_and(|(g, _)| g == 3));
    assert_eq!(state.in_force, Some((3, Agreement::Different)));
    assert_eq!(machine.rules("work").1, "half a thought\n");
}

#[test]
fn expiry_needs_no_readable_file() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::with_work();
    let end = dom0::rules::now() + SOON;
    machine.install("work", &format!("accept expire={end}\ndrop\nreject\n")).unwrap();
    std::fs::set_permissions(machine.path("rules"), PermissionsExt::from_mode(0o777)).unwrap();
    machine.log_has("fw", "port 3 generation 3: 2 rules");
    assert_eq!(machine.status("work").rules, None);
}

#[test]
fn port_of_the_uplink_has_one_owner() {
    let machine = Machine::with_chain();
    machine.ask(up(&["work", "personal"])).unwrap();
    machine.install("work", "accept\naction=forward proto=tcp dstports=8080\n").unwrap();
    let why =
        machine.install("personal", "accept\naction=forward proto=tcp dstports=8000-9000\n").unwrap_err();
    assert!(
        why.contains("personal.rules:2") && why.contains("work.rules:2") && why.contains("8080"),
        "{why}"
    );
    assert_eq!(machine.rules("personal").1, "accept\n");
    machine.install("personal", "action=forward proto=udp dstports=8080\n").unwrap();
}

#[test]
fn one_sided_permissions_are_pointed_out() {
    let machine = Machine::with_chain();
    let (_, notes) = machine.install("work", "accept dstdomain=personal proto=tcp dstports=22\n").unwrap();
    assert!(notes[0].contains("personal has no matching srcdomain=work rule"), "{notes:?}");
    let (_, notes) = machine.install("personal", "accept srcdomain=work proto=tcp dstports=22\n").unwrap();
    assert!(!notes.iter().any(|n| n.contains("matching")), "{notes:?}");
    let (_, notes) = machine.install("personal", "accept srcdomain=wrok\n").unwrap();
    assert!(notes[0].contains("there is no domain \"wrok\""), "{notes:?}");
}

#[test]
fn two_edits_at_once_do_not_overwrite_each_other() {
    let machine = Machine::with_work();
    let (mine, _) = machine.rules("work");
    machine.install("work", "drop\n").unwrap();
    assert_eq!(machine.install_over("work", &mine, "accept\naccept\n"), None);
    assert_eq!(machine.rules("work").1, "drop\n");
}

#[test]
fn without_a_firewall_rules_are_saved_for_later() {
    let machine = Machine::with_chain();
    let (generation, notes) = machine.install("work", "drop\ndrop\n").unwrap();
    assert_eq!(generation, None);
    assert_eq!(notes, ["saved; takes effect when fw starts"]);
    assert!(machine.install("vault", "drop\n").unwrap().1[0].contains("vault gets a netvm"));
    machine.ask(up(&["work"])).unwrap();
    machine.log_has("fw", "port 3 generation 1: 2 rules");
    machine.ask(down(&["work"], Users::Refuse)).unwrap();
    let (generation, notes) = machine.install("work", "accept\n").unwrap();
    assert_eq!((generation, notes), (None, vec!["saved; takes effect when work starts".to_owned()]));
    assert_eq!(machine.phase("fw"), Phase::Running);
}

#[test]
fn only_appvms_have_rules() {
    let machine = Machine::with_chain();
    let ask = |name: &str| machine.ask(Request::RulesRead { domain: name.parse().unwrap() }).unwrap_err();
    assert!(ask("fw").contains("only AppVMs have firewall rules"));
    assert!(ask("nobody").contains("no such domain"));
}

#[test]
fn logged_decisions_are_written_with_the_rules_text() {
    let machine = Machine::with_work();
    machine.install("work", "# out\n  drop\n").unwrap();
    machine.type_into("fw", "decide\n");
    let request = || Request::RulesLog { domain: "work".parse().unwrap() };
    let start = Instant::now();
    let text = loop {
        let (_, _, fd) = machine.answer_to_text(request(), None);
        let text = std::io::read_to_string(std::fs::File::from(fd.unwrap())).unwrap();
        if text.ends_with('\n') {
            break text;
        }
        assert!(start.elapsed() < PATIENCE, "no decision");
    };
    let line: Line = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((line.generation, line.rule, line.text.as_deref()), (2, 0, Some("drop")));
    assert_eq!((line.fate.as_str(), line.destination_port), ("dropped", Some(443)));
}
