//! What lives on from one end of torvm to the next: the guards.

use super::cuts::Looked;
use super::guards::Guards;
use super::world::World;

/// The guards so far.
pub(crate) struct Survivors {
    guards: Option<Guards>,
    looked: Looked,
}

impl Survivors {
    /// Those that the store has now.
    pub(crate) fn of(world: &World) -> Self {
        Self { guards: Guards::stored(&world.store), looked: Looked::default() }
    }

    /// Cuts torvm's power, and looks: at the uplink, at the web server's log, at the guards, and at every other disk
    /// that a power cut could have left.
    pub(crate) fn end(&mut self, world: &mut World, what: &str) {
        let ended = world.end();
        self.looked.flushes += ended.looked.flushes;
        self.looked.disks += ended.looked.disks;
        let now = Guards::stored(&world.store);
        if let Some(before) = &self.guards {
            let now = now.as_ref().unwrap_or_else(|| panic!("the guards are lost: {before:#?}"));
            assert!(now.follow(before), "other guards:\n{before:#?}\n{now:#?}");
        }
        self.guards = now;
        let Looked { flushes, disks } = ended.looked;
        eprintln!(
            "{what}: {} connections to {:?}; {flushes} flushes of the disk, {disks} power cuts; {} guards",
            ended.report.connections,
            ended.report.relays(),
            self.guards.as_ref().map_or(0, |guards| guards.sample.len()),
        );
    }

    /// How many of them are known to have been used.
    pub(crate) fn confirmed(&self) -> usize {
        self.guards.as_ref().map_or(0, |guards| guards.confirmed.len())
    }

    /// At the end: there were guards, and they were written while it was looked.
    pub(crate) fn judge(&self) {
        let guards = self.guards.as_ref().expect("guards are stored");
        // How many they are depends on which relays the network's consensus calls guards; as a rule two or three.
        assert!(!guards.sample.is_empty(), "guards are stored");
        assert!(self.looked.disks > 20, "the disk was written: {:?}", self.looked);
        eprintln!(
            "{} guards, {} of them confirmed; {} flushes, {} disks that a power cut could have left",
            guards.sample.len(),
            guards.confirmed.len(),
            self.looked.flushes,
            self.looked.disks
        );
    }
}
