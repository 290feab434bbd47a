//! Assigning a card: the judgement, the driver and the domain file, all or nothing.

use super::{Host, bind, judge};
use crate::domain::{Domain, Kind, edit};
use crate::name::Bdf;
use crate::problem::{Problem, Problems};
use crate::protocol::Accept;

/// Gives a card to a domain: its file names the card, the card is with vfio-pci. Returns what the user should
/// know.
///
/// # Errors
/// Why not; neither the card nor the file is changed then.
pub fn assign(host: &Host, bdf: Bdf, domain: &Domain, accept: Accept) -> Result<Vec<String>, Problems> {
    if domain.kind.value != Kind::Netvm {
        let why = format!("is a {}; only a netvm owns a network card", domain.kind.value);
        return Err(Problem::new(domain.name.to_string(), why, "name a netvm").into());
    }
    if let Some(other) = domain.devices.iter().find(|d| d.value != bdf) {
        let why = format!("has a network card already ({})", other.value);
        let remedy = format!("bulkhead nic unassign {}", other.value);
        return Err(Problem::new(domain.name.to_string(), why, remedy).into());
    }
    let (function, judgement) = judge::judge(host, bdf, accept)?;
    Problems(judgement.problems).into_result()?;
    let before = function.driver;
    bind::to_vfio(host, bdf)?;
    let reset = if function.reset.is_empty() { edit::Reset::NotStrict } else { edit::Reset::AsItIs };
    if let Err(problem) = edit::devices(&domain.file, edit::Change::Add(bdf, reset)) {
        let mut problems = vec![problem];
        problems.extend(bind::to_host(host, bdf).err());
        return Err(Problems(problems));
    }
    let mut notes = judgement.notes;
    notes.push(format!(
        "{bdf}: taken from {}, assigned to {}",
        before.as_deref().unwrap_or("no driver"),
        domain.name
    ));
    Ok(notes)
}

/// Takes a card back from its domain, if it has one, and returns it to its driver.
///
/// # Errors
/// What went wrong; when the file cannot be changed, nothing is.
pub fn unassign(host: &Host, bdf: Bdf, owner: Option<&Domain>) -> Result<Vec<String>, Problems> {
    if owner.is_none() && host.find(bdf).is_none() {
        let remedy = "`bulkhead nic list` shows the network cards of this machine";
        return Err(Problem::new(bdf.to_string(), "there is no such PCI device", remedy).into());
    }
    if let Some(owner) = owner {
        edit::devices(&owner.file, edit::Change::Remove(bdf))?;
    }
    bind::to_host(host, bdf)?;
    let driver = host.find(bdf).and_then(|f| f.driver);
    let from = owner.map_or_else(|| "no domain".to_owned(), |d| d.name.to_string());
    Ok(vec![format!("{bdf}: taken from {from}, back with {}", driver.as_deref().unwrap_or("no driver"))])
}
