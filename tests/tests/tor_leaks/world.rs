//! What the steps share.

use super::appvm::AppVm;
use super::load::{download, get};
use super::machine::{Ended, Image, Machine, Start, Store};
use super::network::Network;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::leaks::Report;

/// Longest way to what must come, emulated on a busy machine: a page after power-on, an answer through Tor.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A private Tor network, two AppVMs, and a torvm between them.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) image: Image,
    pub(crate) store: Store,
    pub(crate) appvms: [AppVm; 2],
    pub(crate) machine: Option<Machine>,
    /// Whether there is time for more of everything.
    pub(crate) long: bool,
    /// Who had been at the web server before.
    earlier: usize,
}

impl World {
    pub(crate) fn new(network: Network) -> Self {
        let long = std::env::var("BULKHEAD_LEAKS").is_ok_and(|value| value == "long");
        let (image, store) = (Image::find(), Store::new());
        let appvms = [0, 1].map(AppVm::new);
        let earlier = network.visits().len();
        Self { network, image, store, appvms, machine: None, long, earlier }
    }

    /// The AppVMs, as others want them.
    pub(crate) fn clients(&self) -> [&AppVm; 2] {
        [&self.appvms[0], &self.appvms[1]]
    }

    /// Boots torvm if it does not run.
    pub(crate) fn start(&mut self) {
        if self.machine.is_none() {
            let clients = [&self.appvms[0], &self.appvms[1]];
            self.machine = Some(Machine::start(&self.image, &self.store, &clients, &Start::default()));
        }
    }

    /// Boots torvm if it does not run, and waits until it is online.
    pub(crate) fn online(&mut self) {
        self.start();
        self.wait_for_page(PATIENCE);
    }

    /// Waits until the first AppVM fetches a page through Tor.
    pub(crate) fn wait_for_page(&self, limit: Duration) {
        let begun = Instant::now();
        let web = (self.network.web, 80).into();
        let arrived = self.appvms[0].inside(|| {
            while begun.elapsed() < limit {
                let page = get(web, "");
                if page.is_some_and(|page| page == self.network.page.as_bytes()) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(300));
            }
            false
        });
        assert!(arrived, "no page within {} s", limit.as_secs());
    }

    pub(crate) fn running(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("torvm runs")
    }

    /// Judges the uplink of the running torvm since its start, and who came to the web server.
    pub(crate) fn judge(&self) -> Report {
        let machine = self.machine.as_ref().expect("torvm runs");
        let report = machine.judge(&self.network, &self.clients());
        self.judge_visits();
        report
    }

    /// Cuts torvm's power; judges all of its uplink.
    pub(crate) fn end(&mut self) -> Ended {
        let machine = self.machine.take().expect("torvm runs");
        let ended = machine.end(&self.network, &self.clients());
        self.judge_visits();
        ended
    }

    /// Makes the program fault while it is at work: an AppVM gives it some.
    pub(crate) fn kill_program(&mut self) {
        let web = (self.network.web, 80).into();
        let stop = AtomicBool::new(false);
        let (machine, appvm) = (self.machine.as_mut().expect("torvm runs"), &self.appvms[0]);
        let killed = std::thread::scope(|scope| {
            scope.spawn(|| {
                appvm.inside(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let _ = download(web, 200_000);
                    }
                });
            });
            let killed = machine.debugger.fault(PATIENCE);
            stop.store(true, Ordering::SeqCst);
            killed
        });
        assert!(killed, "the program was at work");
    }

    /// After a step that failed: the next one starts anew.
    pub(crate) fn give_up(&mut self) {
        if let Some(machine) = self.machine.take() {
            let said = machine.console();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("torvm said last:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }

    /// Nobody comes to the web server but exits.
    fn judge_visits(&self) {
        let visits = self.network.visits();
        let onion = |visit: &&super::network::Visit| visit.peer.ip().is_loopback();
        let strangers: Vec<_> = visits
            .iter()
            .skip(self.earlier)
            .filter(|visit| !self.network.exits.contains(&visit.peer.ip()) && !onion(visit))
            .collect();
        assert!(strangers.is_empty(), "not through an exit: {strangers:?}");
    }
}
