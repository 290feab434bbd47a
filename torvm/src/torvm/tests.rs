use super::*;
use crate::control_plane::relay::frame;
use crate::life::HANG_US;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use control::codec::{self, MAX_LEN};
use control::message::{Client, FromDomain, InForce, Program, ToTor};
use control::tor::{GatewayCommand, GatewayReport, Isolation, Status};
use core::cell::Cell;
use link::host::{CountBell, pair};
use link::{Geometry, Link, Meta};

/// A program that is a list of traps, and a network that notes what it is told.
#[derive(Default)]
struct Fake {
    script: VecDeque<Trap>,
    running: bool,
    refuses: Option<&'static str>,
    starts: u32,
    ends: u32,
    configuration: Vec<u8>,
    commands: Vec<u8>,
    says: Vec<u8>,
    answers: Vec<i64>,
    asked: u32,
    network: FakeNetwork,
}

#[derive(Default)]
struct FakeNetwork {
    uplink: Option<Client>,
    clients: Vec<(u8, Client)>,
    forgotten: Vec<u8>,
    polled: u32,
    due: Option<u64>,
}

/// Calls that the fake knows: 1 returns, 2 waits until the time in its first argument, 3 exits.
const fn call(number: u64, argument: u64) -> Trap {
    Trap::Call(Call { number, arguments: [argument, 0, 0, 0, 0, 0] })
}

impl Guest for Fake {
    type Network = FakeNetwork;

    fn network(&mut self) -> &mut FakeNetwork {
        &mut self.network
    }

    fn configure(&mut self, text: &[u8], _: Now) -> Result<(), Why> {
        if text == b"bad" {
            return Err("no room".try_into().unwrap());
        }
        self.configuration = text.to_vec();
        Ok(())
    }

    fn start(&mut self, _: Now) -> Result<(), Why> {
        assert!(!self.running, "two programs at once");
        if let Some(why) = self.refuses {
            return Err(why.try_into().unwrap());
        }
        self.starts += 1;
        self.running = true;
        Ok(())
    }

    fn end(&mut self) {
        assert!(self.running);
        self.running = false;
        self.ends += 1;
        self.script.clear();
        self.says.clear();
    }

    fn run(&mut self) -> Trap {
        assert!(self.running, "what does not run is not run");
        self.script.pop_front().unwrap_or(call(2, 0))
    }

    fn call(&mut self, call: &Call, now: Now) -> Outcome {
        self.asked += 1;
        let [argument, ..] = call.arguments;
        match call.number {
            1 => Outcome::Return(argument.cast_signed()),
            2 if argument != 0 && now.us >= argument => Outcome::Return(0),
            2 => Outcome::Wait { until_us: (argument != 0).then_some(argument) },
            3 => Outcome::Exit(3),
            // The wall clock in seconds.
            _ => Outcome::Return((now.wall_ns / 1_000_000_000).cast_signed()),
        }
    }

    fn answer(&mut self, value: i64) {
        self.answers.push(value);
    }

    fn control_send(&mut self, bytes: &[u8]) -> bool {
        self.commands.extend_from_slice(bytes);
        true
    }

    fn control_receive(&mut self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.says.len());
        out[..n].copy_from_slice(&self.says[..n]);
        self.says.drain(..n);
        n
    }

    fn counters(&self, tell: &mut dyn FnMut(&str, u64)) {
        (0..70).for_each(|n| tell("something", n));
    }
}

impl Network for FakeNetwork {
    type Port = ();

    fn set_uplink(&mut self, client: &Client) -> bool {
        self.uplink = Some(client.clone());
        client.mtu >= 1280
    }

    fn set_client(&mut self, port: u8, client: &Client) -> bool {
        self.clients.push((port, client.clone()));
        true
    }

    fn forget_client(&mut self, port: u8) {
        self.forgotten.push(port);
    }

    fn attach(&mut self, _: u8, (): ()) {}

    fn detach(&mut self, _: u8) {}

    fn poll(&mut self, _: Now) -> bool {
        self.polled += 1;
        false
    }

    fn poll_at(&mut self, _: Now) -> Option<u64> {
        self.due
    }

    fn arm(&mut self) -> bool {
        true
    }
}

/// A torvm, and the end of its link that dom0 has.
struct World {
    torvm: Torvm<Fake, CountBell>,
    dom0: Link<CountBell>,
    us: Cell<u64>,
}

impl World {
    fn new() -> Self {
        let setup = Setup { manager: Manager::Dom0, now: Now { us: 0, wall_ns: 5_000_000_000 } };
        let mut torvm = Torvm::new(Fake::default(), setup);
        let (dom0, theirs) = pair(Geometry::DEFAULT, 1).unwrap();
        torvm.attach_dom0(theirs);
        Self { torvm, dom0, us: Cell::new(1) }
    }

    /// With a program that runs.
    fn running() -> Self {
        let mut world = Self::new();
        world.say(&ToTor::Uplink(client("tor")));
        world.configure(1, "text");
        world.settle();
        let told = world.told();
        assert!(
            matches!(
                told.as_slice(),
                [FromDomain::Hello { .. }, FromDomain::Program(Program::Started { run: 1 })]
            ),
            "{told:?}"
        );
        world
    }

    fn say(&mut self, message: &ToTor) {
        let mut buffer = [0; MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).unwrap();
        self.dom0.send(&Meta::MESSAGE, &[bytes]).unwrap();
        self.dom0.publish();
    }

    fn configure(&mut self, generation: u32, text: &str) {
        ToTor::configuration(generation, text, InForce::Now).for_each(|piece| self.say(&piece));
    }

    fn poll(&mut self) -> Next {
        let us = &self.us;
        self.torvm.poll(|| us.replace(us.get() + 1))
    }

    /// Polls until there is nothing more to do; how long until there is.
    fn settle(&mut self) -> Option<u64> {
        for _ in 0..1000 {
            match self.poll() {
                Next::Busy => {}
                Next::Idle { until_us } => return until_us,
                Next::Stop => panic!("stopped"),
            }
        }
        panic!("never idle");
    }

    /// What dom0 was told.
    fn told(&mut self) -> Vec<FromDomain> {
        let (mut all, mut buffer) = (Vec::new(), [0; MAX_LEN]);
        while let Some((_, len)) = self.dom0.recv(&mut buffer).unwrap() {
            all.push(codec::decode(&buffer[..len]).unwrap());
        }
        self.dom0.release();
        self.dom0.publish();
        all
    }

    fn fake(&mut self) -> &mut Fake {
        &mut self.torvm.guest
    }
}

fn client(name: &str) -> Client {
    Client {
        name: name.try_into().unwrap(),
        mac: [2, 98, 107, 0, 0, 1],
        v4: [10, 137, 0, 6].into(),
        v4_gateway: [10, 137, 0, 5].into(),
        v4_prefix: 30,
        v6_prefix: None,
        mtu: 1500,
    }
}

/// A report as the program sends it.
fn said(report: &GatewayReport) -> Vec<u8> {
    let mut buffer = [0; MAX_LEN];
    let bytes = codec::encode(report, &mut buffer).unwrap();
    [&u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn ended(told: &[FromDomain]) -> &str {
    let how = told.iter().find_map(|m| match m {
        FromDomain::Program(Program::Ended { how, .. }) => Some(how.as_str()),
        _ => None,
    });
    how.unwrap_or_else(|| panic!("{told:?}"))
}

#[test]
fn nothing_runs_before_dom0_has_said_everything() {
    let mut world = World::new();
    assert_eq!(world.settle(), None);
    world.configure(1, "text");
    assert_eq!((world.settle(), world.fake().starts), (None, 0), "no uplink");
    world.say(&ToTor::Uplink(Client { mtu: 600, ..client("tor") }));
    assert_eq!((world.settle(), world.fake().starts), (None, 0), "an uplink that was refused");
    world.say(&ToTor::Uplink(client("tor")));
    world.settle();
    assert_eq!((world.fake().starts, world.fake().configuration.as_slice()), (1, &b"text"[..]));
}

#[test]
fn alone_it_starts_at_once() {
    let setup = Setup { manager: Manager::Nobody, now: Now::default() };
    let mut torvm: Torvm<Fake, CountBell> = Torvm::new(Fake::default(), setup);
    assert_eq!(torvm.poll(|| 1), Next::Busy);
    assert_eq!(torvm.guest().starts, 1);
}

#[test]
fn pings_clients_and_counters() {
    let mut world = World::running();
    world.say(&ToTor::Ping { nonce: 7 });
    world.say(&ToTor::Client { port: 2, client: client("anon") });
    world.say(&ToTor::ForgetClient { port: 2 });
    world.say(&ToTor::GetCounters);
    world.settle();
    let told = world.told();
    assert_eq!(told.first(), Some(&FromDomain::Pong { nonce: 7 }));
    let pages = told.iter().filter_map(|m| match m {
        FromDomain::Counters { counters, more } => Some((counters.len(), *more)),
        _ => None,
    });
    assert_eq!(pages.collect::<Vec<_>>(), [(32, true), (32, true), (12, false)]);
    assert_eq!(
        (world.fake().network.clients.len(), world.fake().network.forgotten.as_slice()),
        (1, &[2][..])
    );
    world.say(&ToTor::Stop);
    assert_eq!(world.poll(), Next::Stop);
    assert!(!world.fake().running);
}

#[test]
fn messages_that_are_none_are_counted() {
    let mut world = World::running();
    world.dom0.send(&Meta::MESSAGE, &[&[0xff; 90]]).unwrap();
    world.dom0.publish();
    world.say(&ToTor::Configuration {
        generation: 9,
        from: InForce::Now,
        total: 10,
        offset: 5,
        bytes: heapless::Vec::new(),
    });
    world.say(&ToTor::GetCounters);
    world.settle();
    let told = world.told();
    let counters = told.iter().flat_map(|m| match m {
        FromDomain::Counters { counters, .. } => counters.as_slice(),
        _ => &[],
    });
    assert!(counters.into_iter().any(|(name, value)| name == "control malformed" && *value == 2), "{told:?}");
    assert!(world.fake().running);
}

#[test]
fn calls_are_answered_and_waited_for() {
    let mut world = World::running();
    let wake = world.us.get() + 5_000;
    world.fake().script.extend([call(1, 42), Trap::Interrupt, call(2, wake), call(1, 43)]);
    // The call that the program waits in has no end.
    world.fake().asked = 0;
    world.torvm.waiting = None;
    assert_eq!(world.settle(), Some(wake));
    assert_eq!(world.fake().answers, [42]);
    assert_eq!(world.settle(), Some(wake), "asked again, still waiting");
    world.us.set(wake);
    world.settle();
    assert_eq!(world.fake().answers, [42, 0, 43]);
}

#[test]
fn earliest_of_program_and_network_counts() {
    let mut world = World::running();
    let now = world.us.get();
    world.fake().network.due = Some(now + 3_000);
    assert_eq!(world.settle(), Some(now + 3_000));
    world.fake().network.due = None;
    world.fake().script.push_back(Trap::Fault(Fault { vector: 14, error: 2, address: 0x10, at: 0x20 }));
    world.torvm.waiting = None;
    assert!(world.settle().is_some(), "the restart is due");
}

#[test]
fn programs_that_end_are_started_again_with_a_reason() {
    let mut world = World::running();
    for (trap, why) in [
        (
            Trap::Fault(Fault { vector: 14, error: 6, address: 0x10, at: 0x80 }),
            "it wrote to memory that it may not write: 0x10 at 0x80",
        ),
        (
            Trap::Fault(Fault { vector: 13, error: 0, address: 0, at: 0x80 }),
            "it did what only the kernel may do: vector 13, error 0x0, at 0x80",
        ),
        (call(3, 0), "it exited with status 3"),
    ] {
        world.torvm.waiting = None;
        world.fake().script.push_back(trap);
        let due = world.settle().unwrap();
        assert_eq!(ended(&world.told()), why);
        assert!(!world.fake().running);
        world.us.set(due);
        world.settle();
        let run = world.fake().starts;
        assert_eq!(world.told(), [FromDomain::Program(Program::Started { run })]);
    }
    assert_eq!(world.fake().starts, 4);
}

#[test]
fn program_that_hangs_is_ended() {
    let mut world = World::running();
    world.torvm.waiting = None;
    world.fake().script.extend([Trap::Interrupt; 20]);
    let (us, steps) = (&world.us, Cell::new(0));
    // Two and a half seconds pass whenever somebody looks at the clock.
    let clock = || {
        steps.set(steps.get() + 1);
        us.replace(us.get() + HANG_US / 12)
    };
    let mut turns = 0;
    while world.torvm.guest.running {
        let _ = world.torvm.poll(clock);
        turns += 1;
        assert!(turns < 40);
    }
    world.poll();
    assert_eq!(ended(&world.told()), "it made no call for 30 s");
}

#[test]
fn a_busy_program_lets_the_networks_have_their_turn() {
    let mut world = World::running();
    world.torvm.waiting = None;
    world.fake().script.extend(core::iter::repeat_n(call(1, 0), 100_000));
    let polled = world.fake().network.polled;
    for _ in 0..10 {
        assert_eq!(world.poll(), Next::Busy);
    }
    assert_eq!(world.fake().network.polled, polled + 20);
    assert!(world.fake().answers.len() < 10 * 1025);
}

#[test]
fn what_a_slice_sends_leaves_together() {
    // The networks make long frames of what lies in a connection when they are polled.
    let mut world = World::running();
    world.torvm.waiting = None;
    world.fake().script.extend([call(1, 0); 300]);
    let before = world.fake().network.polled;
    world.poll();
    assert_eq!(world.fake().answers.len(), 300, "all in one slice");
    assert_eq!(world.fake().network.polled, before + 2, "before the slice, and behind it");
}

#[test]
fn new_configuration_restarts_and_the_same_again_does_not() {
    let mut world = World::running();
    world.configure(1, "text");
    world.settle();
    assert_eq!((world.fake().starts, world.told().len()), (1, 0));
    world.configure(2, "other");
    world.settle();
    assert_eq!((world.fake().starts, world.fake().ends), (2, 1));
    assert_eq!(world.fake().configuration, b"other");
    assert_eq!(world.told(), [FromDomain::Program(Program::Started { run: 2 })], "the latest news");
    world.say(&ToTor::RestartProgram);
    world.settle();
    assert_eq!(world.fake().starts, 3);
    world.configure(3, "bad");
    world.settle();
    assert!(!world.fake().running, "what was replaced does not go on");
    assert!(matches!(world.told().last(), Some(FromDomain::Program(Program::Refused { .. }))));
}

#[test]
fn configuration_for_the_next_start_ends_nothing_and_is_there_at_that_start() {
    let mut world = World::running();
    ToTor::configuration(2, "other", InForce::NextStart).for_each(|piece| world.say(&piece));
    world.settle();
    assert_eq!((world.fake().starts, world.fake().ends), (1, 0));
    assert_eq!(world.fake().configuration, b"other");
    world.say(&ToTor::RestartProgram);
    world.settle();
    assert_eq!((world.fake().starts, world.fake().configuration.as_slice()), (2, &b"other"[..]));
    world.configure(3, "other");
    world.settle();
    assert_eq!(world.fake().starts, 2, "it was started with it");
}

/// dom0 says again what counts when its link was made anew. What it said to the program before may have been lost with
/// the link, or the program's answer.
#[test]
fn a_program_that_has_not_said_that_it_took_over_what_counts_does_not_go_on() {
    let rules = |by_destination_port| Isolation { by_destination_port, ..Isolation::default() };
    let set = |wanted| ToTor::Gateway(GatewayCommand::SetIsolation(rules(wanted)));
    for (told, said_back, starts) in [
        (None, None, 2),
        (Some(true), None, 2),
        (Some(true), Some(false), 2),
        (None, Some(true), 2),
        (Some(true), Some(true), 1),
    ] {
        let mut world = World::running();
        ToTor::configuration(2, "other", InForce::NextStart).for_each(|piece| world.say(&piece));
        told.iter().for_each(|wanted| world.say(&set(*wanted)));
        world.settle();
        world.fake().says = said_back.map_or(Vec::new(), |rule| said(&GatewayReport::Isolation(rules(rule))));
        world.settle();
        // A piece of the same for the next start ends nothing.
        ToTor::configuration(2, "other", InForce::NextStart).for_each(|piece| world.say(&piece));
        world.settle();
        assert_eq!(world.fake().starts, 1);
        world.configure(3, "other");
        world.settle();
        assert_eq!(world.fake().starts, starts, "{told:?}, {said_back:?}");
        world.configure(3, "other");
        world.settle();
        assert_eq!(world.fake().starts, starts, "once is enough");
    }
}

#[test]
fn of_two_changes_each_has_to_be_taken_over() {
    let rules = |port: u16| Isolation {
        port_classes: core::iter::once(core::iter::once(port).collect()).collect(),
        ..Isolation::default()
    };
    let mut world = World::running();
    for port in [22, 25] {
        let text = alloc::format!("for {port}");
        ToTor::configuration(2, &text, InForce::NextStart).for_each(|piece| world.say(&piece));
        world.say(&ToTor::Gateway(GatewayCommand::SetIsolation(rules(port))));
    }
    world.settle();
    world.fake().says = said(&GatewayReport::Isolation(rules(22)));
    world.settle();
    world.configure(3, "for 25");
    world.settle();
    assert_eq!(world.fake().starts, 2);
}

#[test]
fn refused_program_is_tried_again_and_told_once() {
    let mut world = World::new();
    world.fake().refuses = Some("not enough memory");
    world.say(&ToTor::Uplink(client("tor")));
    world.configure(1, "text");
    for _ in 0..3 {
        let due = world.settle().unwrap();
        world.us.set(due);
    }
    let told = world.told();
    assert!(
        matches!(&told[..], [FromDomain::Hello { .. }, FromDomain::Program(Program::Refused { .. })]),
        "{told:?}"
    );
    world.fake().refuses = None;
    world.settle();
    assert!(world.fake().running);
}

#[test]
fn commands_and_reports_pass_decoded() {
    let mut world = World::running();
    world.say(&ToTor::Gateway(GatewayCommand::GetStatus));
    let status = GatewayReport::Status(Status { percent: 100, ready: true, ..Status::default() });
    world.fake().says = said(&status);
    world.settle();
    assert_eq!(world.told(), [FromDomain::Gateway(status)]);
    assert_eq!(world.fake().commands, frame(&GatewayCommand::GetStatus, <[u8]>::to_vec).unwrap());
    world.fake().says = alloc::vec![0xff; 40];
    world.settle();
    assert_eq!(ended(&world.told()), "it said something on its control stream that is no message");
    world.say(&ToTor::Gateway(GatewayCommand::GetStatus));
    world.settle();
    assert_eq!(world.torvm.messages.commands_lost, 1, "no program to take it");
}

/// A world whose program has said more than the link takes; how many reports that is.
fn flooded() -> (World, usize) {
    let mut world = World::running();
    let report = GatewayReport::Document {
        kind: control::tor::DocumentKind::Consensus,
        generation: 1,
        total: 16 << 20,
        offset: 0,
        bytes: [7; 3840].into_iter().collect(),
    };
    let one = said(&report);
    let many = 4 << 20;
    world.fake().says = one.iter().copied().cycle().take(many / one.len() * one.len()).collect();
    let all = world.fake().says.len() / one.len();
    world.settle();
    assert!(!world.fake().says.is_empty(), "the link is full");
    (world, all)
}

#[test]
fn program_waits_while_dom0_does_not_read() {
    let (mut world, all) = flooded();
    let mut got = 0;
    while got < all {
        let some = world.told().len();
        assert!(some > 0, "{got} of {all}");
        got += some;
        world.settle();
    }
    assert_eq!((got, world.torvm.messages.reports_lost), (all, 0));
}

#[test]
fn dom0_is_answered_however_much_the_program_says() {
    let (mut world, _) = flooded();
    (0..200).for_each(|nonce| world.say(&ToTor::Ping { nonce }));
    world.say(&ToTor::GetCounters);
    world.settle();
    let told = world.told();
    assert_eq!(told.iter().filter(|message| matches!(message, FromDomain::Pong { .. })).count(), 200);
    assert!(told.iter().any(|message| matches!(message, FromDomain::Counters { more: false, .. })));
}

#[test]
fn dom0_that_comes_back_is_told_how_things_are() {
    let mut world = World::running();
    world.torvm.detach_dom0();
    world.fake().says = said(&GatewayReport::Status(Status::default()));
    world.settle();
    assert_eq!(world.torvm.messages.reports_lost, 1);
    let (dom0, theirs) = pair(Geometry::DEFAULT, 2).unwrap();
    world.torvm.attach_dom0(theirs);
    world.dom0 = dom0;
    world.settle();
    let told = world.told();
    assert!(
        matches!(&told[..], [FromDomain::Hello { .. }, FromDomain::Program(Program::Started { run: 1 })]),
        "{told:?}"
    );
    assert_eq!(world.fake().starts, 1);
}

#[test]
fn clock_is_the_boot_records_and_then_dom0s() {
    let mut world = World::running();
    world.torvm.waiting = None;
    world.fake().script.push_back(call(9, 0));
    world.settle();
    assert_eq!(world.fake().answers, [5]);
    world.say(&ToTor::Clock { unix_us: 1_700_000_000_000_000 });
    world.poll();
    world.torvm.waiting = None;
    world.fake().script.push_back(call(9, 0));
    world.settle();
    assert_eq!(world.fake().answers, [5, 1_700_000_000]);
}
