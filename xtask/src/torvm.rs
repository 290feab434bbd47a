//! `cargo xtask torvm`: the Tor gateway domain as two files, for a machine without dom0.

use crate::{binaries, initramfs, kernel, tor_network, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of the Tor gateway domain.
#[derive(clap::Args)]
pub(crate) struct TorvmArgs {
    /// Configuration of the gateway program [default: torvm's own, with the private Tor network that this runs beside]
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// Where the bundle goes [default: target/gateway/torvm.bundle]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Writes an initramfs, too, that runs the program on Debian's kernel
    #[arg(long, value_name = "FILE")]
    linux: Option<PathBuf>,
}

/// Builds kernel, program and bundle, and prints three paths: kernel, bundle, program; with `--linux` a fourth, Debian's
/// kernel.
///
/// # Errors
/// When something does not build.
pub(crate) fn run(args: &TorvmArgs) -> Result<ExitCode> {
    let configuration = match &args.configuration {
        Some(file) => fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => configuration(std::env::var_os(tor_network::VARIABLE).map(PathBuf::from).as_deref())?,
    };
    let kernel = binaries::torvm()?;
    let gateway = binaries::gateway()?;
    let bundle = args.bundle.clone().unwrap_or_else(|| workspace::target().join("gateway/torvm.bundle"));
    if let Some(directory) = bundle.parent() {
        fs::create_dir_all(directory)?;
    }
    binaries::bundle(&kernel, &gateway, &configuration, &bundle)?;
    println!("{}\n{}\n{}", kernel.display(), bundle.display(), gateway.display());
    if let Some(to) = &args.linux {
        let debian = kernel::debian()?;
        initramfs::gateway(&debian, &gateway, &configuration, to)?;
        println!("{}", debian.vmlinux()?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The gateway program's configuration, for the private network whose files are in `network` where there is one.
///
/// # Errors
/// When the network's part cannot be read, or the whole is no TOML.
pub(crate) fn configuration(network: Option<&Path>) -> Result<String> {
    let mut text = binaries::GATEWAY_CONFIGURATION.to_owned();
    if let Some(directory) = network {
        let path = directory.join("network.toml");
        text.push('\n');
        text.push_str(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    if let Err(error) = text.parse::<toml::Table>() {
        bail!("the gateway's configuration: {error}");
    }
    Ok(text)
}
