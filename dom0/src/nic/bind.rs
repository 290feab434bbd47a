//! Moves a card between its driver and vfio-pci. After an error it has the driver that it had before.

use super::{Host, judge, link_target};
use crate::name::Bdf;
use crate::problem::{Problem, Problems};
use crate::protocol::Accept;
use std::io;
use std::time::Instant;

/// The driver that hands devices to domains.
const VFIO: &str = "vfio-pci";
/// The module that maps a domain's memory for its devices.
const VFIO_IOMMU: &str = "vfio_iommu_type1";

/// Makes sure that a domain's card is with vfio-pci, as after a reboot of this machine it is not.
/// `strict_reset` is the domain file's word on devices without reset.
///
/// # Errors
/// Why the card cannot be used; it is with the driver that it was with.
pub fn ready(host: &Host, bdf: Bdf, strict_reset: bool) -> Result<(), Problems> {
    let accept = Accept { busy: true, no_reset: !strict_reset };
    let (_, judgement) = judge::judge(host, bdf, accept)?;
    Problems(judgement.problems).into_result()?;
    Ok(to_vfio(host, bdf)?)
}

/// Binds a card to vfio-pci and notes the driver that it had.
///
/// # Errors
/// What went wrong; the card is with the driver that it was with, as far as the kernel lets it.
pub fn to_vfio(host: &Host, bdf: Bdf) -> Result<(), Problem> {
    load_vfio(host, bdf)?;
    let before = driver(host, bdf);
    if before.as_deref() == Some(VFIO) {
        return Ok(());
    }
    note(host, bdf, before.as_deref())?;
    if let Err(why) = take(host, bdf) {
        let mut why = format!("cannot be taken from {}: {why}", before.as_deref().unwrap_or("no driver"));
        if let Err(e) = give_back(host, bdf, before.as_deref()) {
            why = format!("{why}; and its driver did not take it back: {e}");
        }
        forget(host, bdf);
        let remedy =
            "see what the kernel says (dmesg); unload the driver's module if it holds on to the card";
        return Err(Problem::new(bdf.to_string(), why, remedy));
    }
    Ok(())
}

/// Gives a card back to the driver that it had before [`to_vfio`], or to whichever claims it.
///
/// # Errors
/// What went wrong.
pub fn to_host(host: &Host, bdf: Bdf) -> Result<(), Problem> {
    let noted = std::fs::read_to_string(host.notes.join(bdf.to_string())).ok();
    let before = noted.as_deref().map(str::trim).filter(|d| is_driver_name(d));
    if driver(host, bdf).as_deref() != Some(VFIO) {
        forget(host, bdf);
        return Ok(());
    }
    give_back(host, bdf, before).map_err(|e| {
        let remedy = format!("load its driver's module, then: echo {bdf} > /sys/bus/pci/drivers_probe");
        Problem::new(bdf.to_string(), format!("no driver took it back: {e}"), remedy)
    })?;
    forget(host, bdf);
    Ok(())
}

/// The driver of a function.
fn driver(host: &Host, bdf: Bdf) -> Option<String> {
    link_target(&host.function(bdf).join("driver"))
}

/// A name that stays within its directory.
fn is_driver_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Loads VFIO's two modules where they are not there yet, and looks again at what their options allow.
fn load_vfio(host: &Host, bdf: Bdf) -> Result<(), Problem> {
    let iommu = host.root.join("sys/module").join(VFIO_IOMMU);
    for (module, there) in [(VFIO_IOMMU, iommu), (VFIO, host.pci("drivers").join(VFIO))] {
        let loaded = if there.is_dir() { Ok(()) } else { host.kernel.load(module) };
        if !there.is_dir() {
            let why = loaded.err().map_or_else(String::new, |e| format!(" ({e})"));
            let remedy = format!("install the kernel's modules and run: modprobe {module}");
            return Err(Problem::new(
                bdf.to_string(),
                format!("the module {module} is not there{why}"),
                remedy,
            ));
        }
    }
    if host.allows_unsafe_interrupts() {
        return Err(judge::unsafe_interrupts(bdf));
    }
    Ok(())
}

fn note(host: &Host, bdf: Bdf, driver: Option<&str>) -> Result<(), Problem> {
    let path = host.notes.join(bdf.to_string());
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(&host.notes)?;
        std::fs::write(&path, driver.unwrap_or_default())
    };
    write().map_err(|e| {
        let why = format!("the card's driver cannot be noted: {e}");
        Problem::new(path.display().to_string(), why, "make the directory writable")
    })
}

fn forget(host: &Host, bdf: Bdf) {
    // A note that stays is overwritten by the next assignment.
    let _ = std::fs::remove_file(host.notes.join(bdf.to_string()));
}

fn take(host: &Host, bdf: Bdf) -> Result<(), String> {
    let path = host.function(bdf);
    let write = |path: std::path::PathBuf, value: &str| {
        host.kernel.write(&path, value).map_err(|e| format!("{}: {e}", path.display()))
    };
    write(path.join("driver_override"), VFIO)?;
    if driver(host, bdf).is_some() {
        write(path.join("driver/unbind"), &bdf.to_string())?;
    }
    write(host.pci("drivers_probe"), &bdf.to_string())?;
    match driver(host, bdf).as_deref() {
        Some(VFIO) => {}
        Some(other) => return Err(format!("the driver {other}, built into the kernel, holds on to it")),
        None => return Err("vfio-pci did not take it".to_owned()),
    }
    let group = link_target(&path.join("iommu_group")).unwrap_or_default();
    let node = host.root.join("dev/vfio").join(&group);
    let start = Instant::now();
    while !node.exists() {
        if start.elapsed() > host.patience {
            return Err(format!("{} did not appear", node.display()));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// Lets go of vfio-pci and binds `before`, or whichever driver claims the card.
fn give_back(host: &Host, bdf: Bdf, before: Option<&str>) -> io::Result<()> {
    let path = host.function(bdf);
    host.kernel.write(&path.join("driver_override"), "\n")?;
    if driver(host, bdf).as_deref() == Some(VFIO) {
        host.kernel.write(&path.join("driver/unbind"), &bdf.to_string())?;
    }
    if let Some(before) = before
        && driver(host, bdf).is_none()
    {
        let bind = host.pci("drivers").join(before).join("bind");
        if host.kernel.write(&bind, &bdf.to_string()).is_err() {
            // The module may have been unloaded since.
            let _ = host.kernel.load(before);
        }
    }
    if driver(host, bdf).is_none() {
        host.kernel.write(&host.pci("drivers_probe"), &bdf.to_string())?;
    }
    match (driver(host, bdf), before) {
        (None, Some(before)) => Err(io::Error::other(format!("{before} did not take it"))),
        _ => Ok(()),
    }
}
