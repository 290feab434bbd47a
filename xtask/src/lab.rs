//! `cargo xtask lab`: a command or a shell inside the lab machine.

use crate::job::{self, Job};
use crate::machine::{Accel, Disk, Iommu, Machine, USUAL_CPUS, USUAL_MIB, USUAL_NETWORK};
use crate::workspace;
use anyhow::{Context, Result};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Options of the lab machine.
#[derive(clap::Args)]
pub(crate) struct LabArgs {
    /// Directory seen as /host inside, where the command starts [default: cargo's target directory]
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Raw disk image, /dev/vda and so on inside; append ",ro" for a read-only disk
    #[arg(long = "disk", value_name = "FILE[,ro]")]
    disks: Vec<Disk>,
    /// What the NIC is connected to, as in QEMU's -netdev (without id)
    #[arg(long, value_name = "NETDEV", default_value = USUAL_NETWORK)]
    net: String,
    /// Writes what passes on the NIC's cable to a pcap file
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// RAM in MiB
    #[arg(long, value_name = "MIB", default_value_t = USUAL_MIB)]
    memory: u32,
    /// Number of processors
    #[arg(long, value_name = "N", default_value_t = USUAL_CPUS)]
    cpus: u8,
    /// How processors run
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
    /// Seconds until the machine is stopped, with exit status 124 [default: 600 with a command, else none]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// What protects memory from devices
    #[arg(long, value_enum, default_value_t = Iommu::Full)]
    iommu: Iommu,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Copies the outer kernel's console to this file
    #[arg(long, value_name = "FILE")]
    console_log: Option<PathBuf>,
    /// One more argument for QEMU; repeat for each word
    #[arg(long = "qemu", value_name = "ARG", allow_hyphen_values = true)]
    qemu: Vec<String>,
    /// Command to run inside; a shell when absent
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command; its exit status becomes ours.
///
/// # Errors
/// When the machine cannot be built or ends by itself.
pub(crate) fn run(args: &LabArgs) -> Result<ExitCode> {
    let run_dir = tempfile::Builder::new().prefix("bulkhead-lab.").tempdir()?;
    let share = args.share.clone().unwrap_or_else(workspace::target);
    let share = share.canonicalize().with_context(|| format!("cannot share {}", share.display()))?;
    let machine = Machine {
        memory_mib: args.memory,
        cpus: args.cpus,
        disks: args.disks.clone(),
        network: args.net.clone(),
        capture: args.capture.clone(),
        iommu: args.iommu,
        append: args.append.clone(),
        extra: args.qemu.clone(),
        ..Machine::usual(args.accel, share, run_dir.path().to_owned())?
    };
    let batch_limit = (!args.command.is_empty()).then_some(600);
    let job = Job {
        script: script(&args.command),
        on_terminal: args.command.is_empty() || std::io::stdin().is_terminal(),
        timeout: args.timeout.or(batch_limit).map(Duration::from_secs),
        out: Box::new(std::io::stdout()),
        err: Box::new(std::io::stderr()),
    };
    let status = job::run(&machine, job);
    if let Some(to) = &args.console_log {
        std::fs::copy(machine.console_log(), to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(ExitCode::from(status?))
}

/// The command as a shell script; every word quoted.
fn script(command: &[String]) -> String {
    if command.is_empty() {
        return "exec sh -i\n".to_owned();
    }
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// A word that the shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let command = ["echo", "a b", "it's", "$HOME"].map(str::to_owned);
        assert_eq!(script(&command), "exec 'echo' 'a b' 'it'\\''s' '$HOME'\n");
    }
}
