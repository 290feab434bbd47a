//! The program with as many relays as the public network has, and with one consensus after the other.

use super::invented::Network;
use super::program::Program;
use super::{ONE, configuration, redirect};
use control::tor::DocumentKind;
use std::path::Path;
use std::time::Duration;

/// Relays beside those that exist.
const INVENTED: usize = 9_000;
/// Consensuses; every one has other descriptors of all invented relays, which is more than a real one would.
const CONSENSUSES: u64 = 3;
/// What torvm gives the program, but for what its image takes.
const ROOM_KIB: u64 = (57 - 10) << 10;

pub(crate) fn inside(directory: &Path) {
    redirect();
    let home = tempfile::tempdir().expect("a directory");
    let mut network = Network::take_over(directory);
    network.serve(INVENTED, 0);
    let config = configuration(home.path(), directory, "");
    let text = std::fs::read_to_string(&config).expect("written");
    std::fs::write(&config, network.with_fallbacks(&text)).expect("written");
    let mut program = Program::start(&config);
    for round in 1..=CONSENSUSES {
        // It is handed over when it is in use; descriptors of relays that no circuit goes by may still come.
        let (_, consensus) = program.document(DocumentKind::Consensus);
        let relays = consensus.lines().filter(|line| line.starts_with("r ")).count();
        assert!(relays > INVENTED, "{relays} relays");
        let page = ONE.socks_page("page.test", 80, None).expect("a page");
        assert!(page.contains("Tor"), "{page}");
        settle(&program);
        let kept = std::fs::read_dir(home.path().join("cache/dir_blobs")).expect("a cache").count();
        let [heap, most] = ["RssAnon:", "VmHWM:"].map(|name| program.memory(name));
        println!(
            "consensus {round}: {relays} relays, {} bytes, {kept} kept; heap and stack {heap} KiB, \
             at most {most} KiB with the program's file",
            consensus.len()
        );
        assert_eq!(kept, 1, "those before it are gone");
        assert!(heap < ROOM_KIB, "{heap} KiB");
        if round < CONSENSUSES {
            network.serve(INVENTED, round);
        }
    }
}

/// Waits until the program takes no more memory.
fn settle(program: &Program) {
    let mut before = 0;
    loop {
        let now = program.memory("RssAnon:");
        if now == before {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_secs(4));
    }
}
