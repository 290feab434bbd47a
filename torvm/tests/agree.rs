//! The layer answers as Linux does: the same cases run against both, and what the calls said must be the same.
//!
//! A case writes down what it sees; the two records are compared. Linux runs in a child process of its own.

#[path = "agree/descriptors.rs"]
mod descriptors;
#[path = "agree/events.rs"]
mod events;
#[path = "agree/files.rs"]
mod files;
#[path = "agree/kernel.rs"]
mod kernel;
#[path = "agree/linux.rs"]
mod linux;
#[path = "agree/memory.rs"]
mod memory;
#[path = "agree/ours.rs"]
mod ours;
#[path = "agree/process.rs"]
mod process;
#[path = "agree/sockets.rs"]
mod sockets;

use kernel::{Case, Kernel, Record};

/// Runs a case against both.
fn agree(case: Case) {
    let theirs = linux::run(case);
    let mut ours = ours::Ours::new();
    let mut record = Record::default();
    case(&mut Kernel::new(&mut ours), &mut record);
    let ours = record.lines();
    assert!(theirs.len() >= 3, "Linux says too little: {theirs:#?}");
    for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(ours, theirs, "line {index} (left: the layer, right: Linux)");
    }
    assert_eq!(ours.len(), theirs.len(), "one says more");
}

macro_rules! cases {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        $(mod $module {
            $(#[test] fn $name() { crate::agree(crate::$module::$name); })*
        })*
    };
}

mod both {
    cases! {
        files: opening, reading_and_writing, positions, sparse, renaming, removing, directories, listing, telling,
            names, permissions, vectors, devices, times;
        descriptors: lowest, duplicating, flags, locks, closing_all;
        events: counters, semaphores, edges, levels, oneshot, duplicates, closed, refused, many, polling, pairs,
            timeouts;
        memory: mapping, protecting, files_mapped, remapping, heap, advising, bad_pointers;
        sockets: connecting, refusing, talking, at_once, at_once_in_pieces, much, half_closing, closing, resetting, waiting, oddities;
        process: identity, signals, clocks, limits, random, futex;
    }
}
