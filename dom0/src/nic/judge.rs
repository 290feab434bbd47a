//! Whether a card may be given to a domain. Each rule names the thing, the reason and the remedy.
//!
//! Fails closed: what cannot be read counts against the card.

use super::Host;
use super::scan::Function;
use crate::name::Bdf;
use crate::problem::{Problem, Problems};
use crate::protocol::Accept;
use std::path::Path;

/// Drivers that do not use a device for this machine (`driver_managed_dma` in Linux).
const HARMLESS: [&str; 3] = ["vfio-pci", "pci-stub", "pcieport"];
/// Cards that netvm drives.
const DRIVEN: [(u16, u16); 1] = [(0x8086, 0x10d3)];

/// What was found.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Why it may not be given away.
    pub problems: Vec<Problem>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Judges a card. `accept` is what the user has accepted already.
///
/// # Errors
/// When there is no such function.
pub fn judge(host: &Host, bdf: Bdf, accept: Accept) -> Result<(Function, Judgement), Problems> {
    let function = host.find(bdf).ok_or_else(|| {
        let remedy = "`bulkhead nic list` shows the network cards of this machine";
        Problem::new(bdf.to_string(), "there is no such PCI device", remedy)
    })?;
    let mut judgement = Judgement::default();
    for rule in [network_card, iommu, interrupt_remapping, lonely, reserved_regions] {
        judgement.problems.extend(rule(host, &function));
    }
    judgement.problems.extend(resettable(&function, accept));
    judgement.problems.extend(idle(host, &function, accept));
    judgement.notes = notes(host, &function, accept);
    Ok((function, judgement))
}

fn say(function: &Function, why: impl Into<String>, remedy: impl Into<String>) -> Option<Problem> {
    Some(Problem::new(format!("{} ({})", function.bdf, function.ids()), why, remedy))
}

fn network_card(_: &Host, function: &Function) -> Option<Problem> {
    if function.is_network() {
        return None;
    }
    let why = format!("is not a network card (class {:06x})", function.class);
    say(function, why, "`bulkhead nic list` shows the network cards of this machine")
}

fn iommu(host: &Host, function: &Function) -> Option<Problem> {
    if host.names("sys/kernel/iommu_groups").is_empty() {
        let why = "the IOMMU is off, so the card could reach all memory";
        let remedy = "enable VT-d or AMD-Vi in the firmware; on Intel also boot with intel_iommu=on";
        return say(function, why, remedy);
    }
    if function.group.is_none() {
        return say(function, "is not behind the IOMMU", "move the card to another slot, or choose another");
    }
    None
}

/// Without interrupt remapping a card can forge the interrupts of others. Whether it works shows in
/// `/proc/interrupts` (chips named `IR-…`); whether the hardware could, in VT-d's extended capabilities (bit 3).
fn interrupt_remapping(host: &Host, function: &Function) -> Option<Problem> {
    function.group.as_ref()?;
    if host.allows_unsafe_interrupts() {
        return Some(unsafe_interrupts(function.bdf));
    }
    let units = host.names("sys/class/iommu").into_iter();
    let incapable = units.filter(|unit| {
        let ecap = host.text(Path::new("sys/class/iommu").join(unit).join("intel-iommu/ecap"));
        u64::from_str_radix(&ecap, 16).is_ok_and(|ecap| ecap & 1 << 3 == 0)
    });
    let incapable: Vec<String> = incapable.collect();
    if !incapable.is_empty() {
        let why = format!(
            "no interrupt remapping (IOMMU {}); the card could forge interrupts",
            incapable.join(", ")
        );
        return say(
            function,
            why,
            "enable it in the firmware (VT-d interrupt remapping, x2APIC), or use another machine",
        );
    }
    if !host.text("proc/interrupts").contains("IR-") {
        let why = "interrupt remapping is switched off; the card could forge interrupts";
        return say(
            function,
            why,
            "remove intremap=off, nointremap or noapic from the kernel's command line",
        );
    }
    None
}

/// What is said when VFIO was told to go without interrupt remapping.
pub(super) fn unsafe_interrupts(bdf: Bdf) -> Problem {
    let why = "vfio_iommu_type1 allows unsafe interrupts on this machine";
    let remedy = "remove allow_unsafe_interrupts from the module's options, then reboot";
    Problem::new(bdf.to_string(), why, remedy)
}

/// Everything in an IOMMU group can reach everything else in it.
fn lonely(host: &Host, function: &Function) -> Option<Problem> {
    let neighbours = host.neighbours(function);
    let in_the_way =
        |n: &&Function| !n.is_bridge() && n.driver.as_ref().is_some_and(|d| !HARMLESS.contains(&d.as_str()));
    let others: Vec<String> = neighbours
        .iter()
        .filter(in_the_way)
        .map(|n| format!("{} ({}, {})", n.bdf, n.ids(), n.driver.as_deref().unwrap_or("no driver")))
        .collect();
    if others.is_empty() {
        return None;
    }
    let group = function.group.as_deref().unwrap_or_default();
    let why =
        format!("shares IOMMU group {group} with devices that this machine uses: {}", others.join(", "));
    let remedy = if is_i219(function) {
        "this is a network function of the chipset: choose another card, or unbind the others from their drivers"
    } else {
        "move the card to a slot with a group of its own, choose another, or unbind the others from their drivers"
    };
    say(function, why, remedy)
}

fn reserved_regions(host: &Host, function: &Function) -> Option<Problem> {
    let group = function.group.as_ref()?;
    let regions = host.text(Path::new("sys/kernel/iommu_groups").join(group).join("reserved_regions"));
    let direct = regions.lines().find(|l| l.split_whitespace().last() == Some("direct"))?;
    let range = direct.trim_end_matches("direct").trim();
    let why = format!("the firmware demands that it reaches memory directly ({range}, RMRR)");
    say(function, why, "look for a firmware update or a firmware setting; only the vendor can change this")
}

fn resettable(function: &Function, accept: Accept) -> Option<Problem> {
    if !function.reset.is_empty() || accept.no_reset {
        return None;
    }
    let why = if is_i219(function) {
        "cannot be reset from outside (known of I219: its FLR is hidden by an erratum)"
    } else {
        "cannot be reset from outside, so it may keep what an earlier owner left in it"
    };
    let remedy =
        "choose another card or slot, or add --no-strict-reset and power-cycle before another domain gets it";
    say(function, why, remedy)
}

/// A card that this machine needs at this moment.
fn idle(host: &Host, function: &Function, accept: Accept) -> Option<Problem> {
    let routed = function.interfaces.iter().find(|i| has_default_route(host, i))?;
    if accept.busy {
        return None;
    }
    let why = format!("carries this machine's default route ({routed}); it would lose the network");
    say(function, why, format!("ip link set {routed} down, or add --force"))
}

fn has_default_route(host: &Host, interface: &str) -> bool {
    let v4 = host.text("proc/net/route");
    let mut v4 = v4.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    let v6 = host.text("proc/net/ipv6_route");
    let mut v6 = v6.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    let zero = "0".repeat(32);
    v4.any(|w| {
        w.first() == Some(&interface) && w.get(1) == Some(&"00000000") && w.get(7) == Some(&"00000000")
    }) || v6
        .any(|w| w.first() == Some(&zero.as_str()) && w.get(1) == Some(&"00") && w.last() == Some(&interface))
}

fn notes(host: &Host, function: &Function, accept: Accept) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(format!("{}: {text}", function.bdf));
    let up =
        |i: &&String| host.text(host.function(function.bdf).join("net").join(i).join("operstate")) == "up";
    if let Some(interface) = function.interfaces.iter().find(up) {
        note(format!("the interface {interface} disappears from this machine"));
    }
    if function.msix == Some(0) && function.msi == Some(false) {
        note("has neither MSI nor MSI-X; its interrupts are slower".to_owned());
    }
    if function.reset.is_empty() && accept.no_reset {
        note("cannot be reset; power-cycle the machine before another domain gets it".to_owned());
    }
    if !DRIVEN.contains(&(function.vendor, function.device)) {
        note(format!("netvm has no driver for {}", function.ids()));
    }
    let silent = host.neighbours(function).into_iter().filter(|n| !n.is_bridge() && n.driver.is_none());
    for neighbour in silent {
        note(format!("shares its IOMMU group with {}, which has no driver", neighbour.bdf));
    }
    notes
}

/// Network functions of Intel chipsets sit at 00:1f.6.
fn is_i219(function: &Function) -> bool {
    function.vendor == 0x8086 && function.bdf.to_string() == "0000:00:1f.6"
}
