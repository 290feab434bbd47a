//! The leak suite of torvm, in a private Tor network.

use super::programs;
use super::stubborn::stubborn;
use super::tally::{Tally, counted};
use crate::machine::Accel;
use crate::tor_network::{Options, TorNetwork};
use crate::{binaries, progress, torvm, workspace};
use anyhow::Result;

/// For people.
const NAME: &str = "leak suite";

/// Builds torvm, starts a network, and runs the suite in it.
///
/// # Errors
/// When something does not build, or the network does not come up.
pub(super) fn run() -> Result<Tally> {
    let programs = programs::for_tor()?;
    let (kernel, gateway) = (binaries::torvm()?, binaries::gateway()?);
    let network = TorNetwork::start(&Options::default())?;
    let bundle = workspace::target().join("gateway/leaks.bundle");
    binaries::bundle(&kernel, &gateway, &torvm::configuration(Some(network.directory()))?, &bundle)?;
    let mut tally = Tally::default();
    for program in &programs {
        progress::note(NAME);
        tally.add(stubborn(NAME, Accel::Tcg, || {
            let mut command = network.command(program);
            command.env("BULKHEAD_TORVM", &kernel).env("BULKHEAD_TORVM_BUNDLE", &bundle);
            counted(command.args(["--nocapture", "--test-threads=1"]), NAME)
        })?);
    }
    Ok(tally)
}
