//! The program dies, torvm dies, or the program never lives.

use super::guards::Guards;
use super::load::Load;
use super::machine::{Machine, Start, Store};
use super::world::World;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random numbers: each run other ones.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    /// Less than `limit`.
    fn throw(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Kills of the program between two power cuts: the layer waits longer before each restart.
const KILLS: usize = 4;

/// The program faults at random moments while an AppVM sends everything: while it starts, while it finds its way, while
/// it carries streams; and then torvm is gone without a word. Nothing else leaves meanwhile, pages come again, and the
/// guards are the same ones.
pub(crate) fn program(world: &mut World) {
    world.machine = None;
    world.store = Store::new();
    let rounds = if world.long { 50 } else { 3 };
    let mut dice = Dice::new();
    let (mut killed, mut forbidden) = (0, 0);
    let mut before: Option<Guards> = None;
    for round in 0..rounds {
        world.online();
        let load = Load::start(&world.appvms[0], &world.network);
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(dice.throw(3_000)));
            killed += usize::from(world.running().debugger.fault(Duration::from_secs(30)));
        }
        forbidden += load.forbidden.load(Ordering::SeqCst);
        drop(load);
        let report = world.end();
        let now = Guards::stored(&world.store).expect("guards are stored");
        eprintln!("round {round}: {} connections to {:?}", report.connections, report.relays());
        if let Some(before) = &before {
            assert!(now.follow(before), "other guards:\n{before:#?}\n{now:#?}");
        }
        before = Some(now);
    }
    let guards = before.expect("there was a round");
    // Whether one was ever used arti writes down once a minute, which none of these lives lasts; their order is kept.
    assert!(guards.sample.len() >= 2, "guards that could change places: {guards:?}");
    let times = rounds * KILLS;
    assert!(killed * 10 >= times * 9, "only {killed} of {times} times the program was found at work");
    assert!(forbidden > 100, "the load went on: {forbidden}");
    eprintln!(
        "killed {killed} times; {forbidden} packets that may not leave; {} guards",
        guards.sample.len()
    );
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
        std::thread::sleep(Duration::from_secs(6));
        let (sent, pages) = (load.forbidden.load(Ordering::SeqCst), load.pages.load(Ordering::SeqCst));
        drop(load);
        assert!(sent > 0 && pages == 0, "{file}: {sent} packets sent, {pages} pages");
        let report = machine.end(&world.network, &clients);
        assert_eq!((report.connections, report.relay_frames()), (0, 0), "{file}: {report:?}");
    }
}
