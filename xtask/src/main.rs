//! `cargo xtask`: the lab machine and the two commands of the README.

mod appvm;
mod binaries;
mod cache;
mod capture;
mod cpio;
mod demo;
mod host;
mod initramfs;
mod job;
mod kernel;
mod lab;
mod machine;
mod modules;
mod namespace;
mod packages;
mod page;
mod progress;
mod rootfs;
mod suites;
mod terminal;
mod test;
mod tor_network;
mod torvm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, boots and tests Bulkhead.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows an AppVM fetching a page through firewallvm, netvm and an assigned network card.
    Demo(demo::DemoArgs),
    /// Runs every test, or some parts of them.
    Test(test::TestArgs),
    /// Runs public suites for packet filters against the firewall between tap devices.
    Suites(suites::SuitesArgs),
    /// Runs a command, or a shell, in an emulated machine with AMD-V, VT-d, an e1000e and a USB controller.
    Lab(lab::LabArgs),
    /// Brings up a private Tor network from Debian's tor and runs a command, or a shell, beside it.
    TorNetwork(tor_network::TorNetworkArgs),
    /// Builds the Tor gateway domain and prints three paths: its kernel, its bundle, which is given as initrd, and
    /// the gateway program.
    Torvm(torvm::TorvmArgs),
    /// What runs inside that network's namespace.
    #[command(hide = true)]
    TorInside(tor_network::InsideArgs),
    /// Builds what a Linux domain boots (kernel, initramfs, root file system) and prints the paths.
    Appvm(appvm::AppVmArgs),
    /// Builds everything that the demo's dom0 needs and prints two paths: the directory that the lab shares, and
    /// the root file system of the AppVMs.
    Stage,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Suites(args) => suites::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::TorNetwork(args) => tor_network::run(&args),
        Command::TorInside(args) => tor_network::inside(&args),
        Command::Torvm(args) => torvm::run(&args),
        Command::Appvm(args) => appvm::run(&args),
        Command::Stage => demo::staged().map(|(directory, rootfs)| {
            println!("{}\n{}", directory.display(), rootfs.display());
            ExitCode::SUCCESS
        }),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            progress::error(&error);
            ExitCode::FAILURE
        }
    }
}
