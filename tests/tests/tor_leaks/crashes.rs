//! The program dies, torvm dies, or the program never lives.

use super::debugger::Held;
use super::dice::Dice;
use super::guards::Guards;
use super::kernel;
use super::load::Load;
use super::machine::{Machine, Start, Store};
use super::survivors::Survivors;
use super::world::{PATIENCE, World};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tests::lab::until;

/// Kills of the program between two power cuts: the layer waits longer before each restart.
const KILLS: usize = 4;

/// The program faults at random moments while an AppVM sends everything: while it starts, while it finds its way, while
/// it carries streams; and then torvm is gone without a word. Nothing else leaves meanwhile, pages come again, and the
/// guards are the same ones.
pub(crate) fn program(world: &mut World) {
    world.online();
    until(PATIENCE, "guards that were used are stored", || {
        Guards::so_far(&world.store).filter(|guards| !guards.confirmed.is_empty())
    });
    world.end();
    let rounds = if world.long { 50 } else { 3 };
    let mut dice = Dice::new();
    let mut survivors = Survivors::of(world);
    let (mut killed, mut forbidden) = (0, 0);
    for round in 0..rounds {
        world.online();
        let load = Load::start(&world.appvms[0], &world.network);
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(dice.throw(3_000)));
            killed += usize::from(world.running().debugger.fault(PATIENCE));
        }
        forbidden += load.forbidden.load(Ordering::SeqCst);
        drop(load);
        survivors.end(world, &format!("round {round}: kill {killed} of {}", rounds * KILLS));
    }
    assert_eq!(killed, rounds * KILLS, "the program was found at work");
    assert!(forbidden > 100, "the load went on: {forbidden}");
    eprintln!("killed {killed} times; {forbidden} packets that may not leave");
    survivors.judge();
    assert!(survivors.confirmed() > 0, "guards that were used are remembered");
}

/// Kinds of calls in which the program dies.
const CALLS: &[(&str, &[i64])] = &[
    ("opening a connection", &[libc::SYS_socket, libc::SYS_connect, libc::SYS_getsockopt]),
    ("sending", &[libc::SYS_sendto]),
    ("renaming a file", &[libc::SYS_rename]),
    ("receiving", &[libc::SYS_recvfrom]),
    ("taking a client", &[libc::SYS_accept4]),
    ("closing", &[libc::SYS_close, libc::SYS_shutdown]),
    ("writing a file", &[libc::SYS_openat, libc::SYS_write]),
    ("changing its memory", &[libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_brk]),
    ("waiting", &[libc::SYS_epoll_wait, libc::SYS_epoll_ctl]),
];

/// The program dies in the middle of its calls: the kernel carries out what it was asked for, for as long as that
/// takes, and finds that the program does not go on. Then torvm itself dies in the middle of a call, after some of the
/// call's instructions: by a fault of its own, or by a power cut.
pub(crate) fn calls(world: &mut World) {
    let rounds = if world.long { 25 } else { 2 };
    let mut dice = Dice::new();
    let mut survivors = Survivors::of(world);
    let mut kinds = CALLS.iter().cycle();
    for round in 0..rounds {
        world.online();
        let load = Load::start(&world.appvms[0], &world.network);
        for kill in 1..=KILLS {
            let (kind, wanted) = kinds.next().expect("a cycle");
            std::thread::sleep(Duration::from_millis(dice.throw(2_000)));
            let number = hold(world, wanted).map(|held| (held.call, held.die_at_return()).0);
            let number = number.unwrap_or_else(|| panic!("no call: {kind}"));
            until(PATIENCE, "the program is dead", || (deaths(world) == kill).then_some(()));
            eprintln!("death {} of {}: {kind} (call {number})", round * KILLS + kill, rounds * KILLS);
        }
        // The last death of all, among files as often as not.
        let wanted = if round % 2 == 0 { &[libc::SYS_rename, libc::SYS_close][..] } else { &[] };
        let how = last_words(world, wanted, &mut dice, round);
        world.running().cut_power();
        drop(load);
        survivors.end(world, &format!("round {round}: {how}"));
    }
    survivors.judge();
}

/// How often the program went where it may not.
fn deaths(world: &World) -> usize {
    let console = world.machine.as_ref().expect("torvm runs").console();
    console.lines().filter(|line| line.contains("program ended: it executed what is no code: 0x8")).count()
}

/// Stops torvm where one of these calls, or any if there are none, arrives.
fn hold<'w>(world: &'w mut World, wanted: &[i64]) -> Option<Held<'w>> {
    let arrival = kernel::arrival(&world.image.kernel);
    let wanted = |call| wanted.is_empty() || wanted.iter().any(|number| u64::try_from(*number) == Ok(call));
    world.running().debugger.hold(arrival, wanted, PATIENCE)
}

/// torvm dies in a call; how, in words.
fn last_words(world: &mut World, wanted: &[i64], dice: &mut Dice, round: usize) -> String {
    let mut held = hold(world, wanted).expect("a call");
    let call = held.call;
    // Now its first instructions, now all of a long one.
    let digits = u32::try_from(1 + dice.throw(4)).unwrap();
    let steps = dice.throw(10_u64.pow(digits));
    let walked = held.walk(steps);
    if round.is_multiple_of(2) {
        held.die_with_kernel();
        let noticed = || world.running().console().contains("PANIC").then_some(());
        until(PATIENCE, "the kernel notices", noticed);
        format!("the kernel faulted {walked} instructions into call {call}")
    } else {
        held.stay();
        format!("power cut {walked} instructions into call {call}")
    }
}

/// Power cuts while torvm writes to its disk: when it writes for the first time, and when the program was killed and
/// begins anew.
pub(crate) fn cuts(world: &mut World) {
    world.store = Store::new();
    let rounds = if world.long { 50 } else { 3 };
    let mut dice = Dice::new();
    let mut survivors = Survivors::of(world);
    for round in 0..rounds {
        world.machine = None;
        if round % 2 == 0 {
            world.start();
        } else {
            world.online();
        }
        let load = Load::start(&world.appvms[0], &world.network);
        if round % 2 == 1 {
            assert!(world.running().debugger.fault(PATIENCE), "the program was found at work");
        }
        let writes = 1 + dice.throw(8);
        let seen = (0..writes).take_while(|_| writes_again(world.running())).count();
        std::thread::sleep(Duration::from_micros(dice.throw(500)));
        let machine = world.running();
        machine.cut_power();
        drop(load);
        assert!(seen > 0, "the disk is written");
        survivors.end(world, &format!("cut {} of {rounds}, at write {seen}", round + 1));
    }
    survivors.judge();
}

/// Waits until the disk is written.
fn writes_again(machine: &Machine) -> bool {
    let (begun, before) = (Instant::now(), machine.written());
    while begun.elapsed() < PATIENCE {
        if machine.written() != before {
            return true;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    false
}

/// A configuration that the program refuses, and a program that is none: it ends at once, is started again, and nothing
/// at all leaves.
pub(crate) fn no_program(world: &mut World) {
    world.machine = None;
    for (file, content) in
        [("etc/gateway.toml", "this is no configuration"), ("gateway", "this is no program")]
    {
        let image = world.image.with(file, content.as_bytes());
        let store = Store::new();
        let clients = world.clients();
        let machine = Machine::start(&image, &store, &clients, &Start::default());
        let load = Load::start(&world.appvms[0], &world.network);
        let sent = || load.forbidden.load(Ordering::SeqCst);
        until(PATIENCE, "the program is refused, or ends", || {
            let console = machine.console();
            let over = console.contains("program refused") || console.contains("program ended");
            (over && sent() > 0).then_some(())
        });
        std::thread::sleep(Duration::from_secs(6));
        let (sent, pages) = (load.forbidden.load(Ordering::SeqCst), load.pages.load(Ordering::SeqCst));
        drop(load);
        assert!(sent > 0 && pages == 0, "{file}: {sent} packets sent, {pages} pages");
        let report = machine.end(&world.network, &clients).report;
        assert_eq!((report.connections, report.relay_frames()), (0, 0), "{file}: {report:?}");
    }
}
