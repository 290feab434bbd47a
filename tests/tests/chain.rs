//! The whole chain in the lab: a network card behind VFIO, netvm, firewallvm, two Debian AppVMs. One start-up,
//! then one promise after the other; a step that fails does not hide those after it.

mod chain {
    pub(crate) mod cable;
    pub(crate) mod isolation;
    pub(crate) mod load;
    pub(crate) mod online;
    pub(crate) mod restarts;
    pub(crate) mod rules;
    pub(crate) mod system;
}

use chain::system::Chain;
use chain::{cable, isolation, load, online, restarts, rules};
use tests::lab::Stage;
use tests::promises::Promises;

/// What is promised, and what fails when it is not kept.
type Step = (&'static str, fn(&Chain));

/// In this order: what tears something down comes late.
const STEPS: &[Step] = &[
    ("AppVMs get addresses without configuration", online::addresses),
    ("AppVMs fetch a page from outside", online::pages),
    ("a name server is asked through the virtual one", online::names),
    ("dom0 has no interface but lo", online::dom0_is_offline),
    ("nobody gets in from outside", isolation::outsiders_get_nothing),
    ("AppVMs do not reach each other", isolation::appvms_do_not_reach_each_other),
    ("a rule cuts an established transfer at once", rules::rule_cuts_a_transfer),
    ("a forwarded port reaches the AppVM", rules::forwarded_port_reaches_the_appvm),
    ("domains meet only when both say so", rules::domains_meet_when_both_say_so),
    ("packets cost no exits, bells are saved", load::packets_cost_no_exits),
    ("a connection outlives netvm", restarts::connection_outlives_netvm),
    ("clients outlive firewallvm", restarts::clients_outlive_firewallvm),
    ("on the cable only the card speaks for us", cable::only_the_card_speaks),
    ("a triple fault is told", restarts::triple_fault_is_told),
    ("reboot and power-off are told apart", restarts::reboot_and_power_off_are_told_apart),
    ("nothing stays behind", restarts::nothing_stays_behind),
];

#[test]
fn chain_keeps_its_promises() {
    let Some(stage) = Stage::find() else { return };
    let chain = Chain::up(&stage);
    let mut promises = Promises::default();
    for (name, step) in STEPS {
        promises.check(name, || step(&chain));
    }
    promises.all_kept();
}
