//! The leak suite of torvm, in a private Tor network: torvm alone under stock QEMU, then the whole chain in the lab.

use super::programs;
use super::stubborn::stubborn;
use super::tally::{Tally, counted};
use crate::machine::Accel;
use crate::tor_network::{Options, TorNetwork};
use crate::{binaries, demo, progress, torvm, workspace};
use anyhow::Result;

/// Builds torvm and what the chain's dom0 needs, starts a network, and runs the suite in it.
///
/// # Errors
/// When something does not build, or the network does not come up.
pub(super) fn run() -> Result<Tally> {
    let programs = programs::for_tor()?;
    let (kernel, gateway) = (binaries::torvm()?, binaries::gateway()?);
    let (stage, rootfs) = demo::staged_tor()?;
    let bundle = workspace::target().join("gateway/leaks.bundle");
    let start = || -> Result<TorNetwork> {
        let network = TorNetwork::start(&Options::default())?;
        binaries::bundle(&kernel, &gateway, &torvm::configuration(Some(network.directory()))?, &bundle)?;
        Ok(network)
    };
    let mut tally = Tally::default();
    let mut started = Some(start()?);
    for program in &programs {
        progress::note(&program.name);
        tally.add(stubborn(&program.name, Accel::Tcg, || {
            let network = started.take().map_or_else(start, Ok)?;
            let mut command = network.command(&program.executable);
            command.env("BULKHEAD_TORVM", &kernel).env("BULKHEAD_TORVM_BUNDLE", &bundle);
            command.env("BULKHEAD_STAGE", &stage).env("BULKHEAD_ROOTFS", &rootfs);
            command.env("BULKHEAD_XTASK", std::env::current_exe()?);
            let outcome = counted(command.args(["--nocapture", "--test-threads=1"]), &program.name)?;
            // What failed may be the network: the next attempt has another.
            started = (outcome.failed == 0).then_some(network);
            Ok(outcome)
        })?);
    }
    Ok(tally)
}
