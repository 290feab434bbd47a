//! The program dies, torvm dies, or the program never lives.

use super::load::Load;
use super::machine::{Image, Machine, Start, Store};
use super::world::World;
use std::path::Path;
use std::process::Command;
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

/// The program faults at random moments while an AppVM sends everything: while it boots, while it finds its way, while
/// it carries streams. Nothing else leaves meanwhile, and afterwards pages come again.
pub(crate) fn program(world: &mut World) {
    world.online();
    let times = if world.long { 200 } else { 12 };
    let load = Load::start(&world.appvms[0], &world.network);
    let mut dice = Dice::new();
    let mut killed = 0;
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(dice.throw(3_000)));
        killed += usize::from(world.running().debugger.fault(Duration::from_secs(30)));
    }
    assert!(killed * 10 >= times * 9, "only {killed} of {times} times the program was found at work");
    let forbidden = load.forbidden.load(Ordering::SeqCst);
    drop(load);
    let report = world.judge();
    world.wait_for_page(Duration::from_secs(180));
    world.judge();
    eprintln!("killed {killed} times; {forbidden} packets that may not leave; {report:?}");
    assert!(forbidden > 100, "the load went on: {forbidden}");
}

/// torvm is gone without a word, again and again, while an AppVM sends everything; it comes back with its disk.
pub(crate) fn power(world: &mut World) {
    world.online();
    let load = Load::start(&world.appvms[0], &world.network);
    let mut guards = Vec::new();
    for _ in 0..if world.long { 20 } else { 2 } {
        world.wait_for_page(Duration::from_secs(120));
        let report = world.end();
        guards.push(report.relays());
        world.start();
    }
    drop(load);
    world.online();
    world.judge();
    eprintln!("{guards:?}");
}

/// A configuration that the program refuses: it ends at once, is started again, and nothing at all leaves.
pub(crate) fn no_program(world: &mut World) {
    world.machine = None;
    let directory = tempfile::tempdir().unwrap();
    for (name, configuration) in [("words", "this is no configuration\n"), ("nothing", "")] {
        let image = bundle(&world.image, directory.path(), configuration);
        let store = Store::new();
        let clients = world.clients();
        let machine = Machine::start(&image, &store, &clients, &Start::default());
        let load = Load::start(&world.appvms[0], &world.network);
        std::thread::sleep(Duration::from_secs(10));
        let sent = load.forbidden.load(Ordering::SeqCst);
        assert!(sent > 0, "the load sends");
        drop(load);
        let report = machine.end(&world.network, &clients);
        assert_eq!((report.connections, report.relay_frames()), (0, 0), "{name}: {report:?}");
    }
}

/// torvm's bundle with another configuration, by the program that makes them all.
fn bundle(image: &Image, directory: &Path, configuration: &str) -> Image {
    let [file, bundle] = ["configuration", "bundle"].map(|name| directory.join(name));
    std::fs::write(&file, configuration).unwrap();
    let xtask = std::env::var_os("BULKHEAD_XTASK").expect("BULKHEAD_XTASK is set");
    let mut command = Command::new(xtask);
    command.args(["torvm", "--configuration"]).arg(&file).arg("--bundle").arg(&bundle);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    image.with(bundle)
}
