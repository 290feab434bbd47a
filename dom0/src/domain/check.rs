//! What must hold of all domain files together; one small function per rule.
//!
//! Nothing here touches the machine, apart from [`files`], which looks whether the named files are there.

use super::{At, Domain, Domains, Kind};
use crate::name::{Bdf, Name};
use crate::plan::address;
use crate::problem::{Problem, Problems};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vmm_api::config::DiskMode;

/// Clients that one firewallvm serves at most: its link device has 32 ports, two of them taken.
pub const MAX_CLIENTS: usize = abi::link_device::MAX_PORTS - 2;

/// Checks the whole system.
///
/// # Errors
/// Everything that is wrong.
pub fn all(domains: &Domains) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for domain in domains.values() {
        for rule in [upstream, own_fields, devices, client_number] {
            problems.0.extend(rule(domains, domain));
        }
    }
    problems.0.extend(loops(domains));
    problems.0.extend(device_owners(domains));
    problems.0.extend(client_numbers(domains));
    problems.0.extend(downstream(domains));
    problems.0.extend(shared_disks(domains));
    problems.into_result()
}

fn problem(domain: &Domain, line: usize, field: &str, why: String, remedy: impl Into<String>) -> Problem {
    // What a request would have there, and the file has not, is on no line.
    let line = if line == 0 { String::new() } else { format!(":{line}") };
    Problem::new(format!("{}{line}: {field}", domain.file.display()), why, remedy)
}

/// A netvm has no upstream, a firewallvm stands behind a netvm, a torvm behind a firewallvm, an AppVM behind one of the
/// latter two, and an anonymous one behind a torvm.
fn upstream(domains: &Domains, domain: &Domain) -> Vec<Problem> {
    let Some(At { value: upstream, line }) = &domain.netvm else { return Vec::new() };
    let complain = |why: String, remedy: String| vec![problem(domain, *line, "netvm", why, remedy)];
    let wanted = match domain.kind.value {
        Kind::Netvm => {
            let why = "a netvm owns the network card and has no domain above it".to_owned();
            return complain(why, "remove the line".to_owned());
        }
        Kind::Firewallvm => &[Kind::Netvm][..],
        Kind::Torvm => &[Kind::Firewallvm],
        Kind::Appvm if domain.anonymous.value => &[Kind::Torvm],
        Kind::Appvm => &[Kind::Firewallvm, Kind::Torvm],
    };
    let fits = |d: &&Domain| wanted.contains(&d.kind.value);
    let choices = name_list(domains.values().filter(fits).map(|d| &d.name));
    let words = wanted.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(" or ");
    let remedy = if choices.is_empty() {
        format!("write a domain file of kind {words} first")
    } else {
        format!("name a {words}: {choices}")
    };
    match domains.get(upstream) {
        None => complain(format!("there is no domain {upstream}"), remedy),
        Some(found) if fits(&found) => Vec::new(),
        Some(found) if domain.anonymous.value => complain(
            format!(
                "{upstream} is a {}, and this AppVM is anonymous: nothing but a torvm may be above it",
                found.kind.value
            ),
            format!("{remedy}; or remove `netvm` to keep it offline"),
        ),
        Some(found) if domain.kind.value == Kind::Appvm && found.kind.value == Kind::Netvm => {
            complain(format!("{upstream} is a netvm; nothing would judge this AppVM's packets"), remedy)
        }
        Some(found) => complain(format!("{upstream} is of kind {}", found.kind.value), remedy),
    }
}

/// Fields that a kind needs or cannot have.
fn own_fields(_: &Domains, domain: &Domain) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |line: usize, field: &str, why: String, remedy: &str| {
        found.push(problem(domain, line, field, why, remedy));
    };
    let kind = domain.kind.value;
    let kind_line = domain.kind.line;
    if kind == Kind::Appvm && domain.kernel.is_none() {
        refuse(
            kind_line,
            "kernel",
            "an AppVM needs a Linux kernel".into(),
            "add kernel = \"/boot/vmlinuz-…\"",
        );
    }
    if kind.is_driver() {
        if domain.vcpus != 1 {
            refuse(kind_line, "vcpus", format!("a {kind} runs on one processor"), "remove the line");
        }
        if let Some(disk) = domain.disks.first() {
            refuse(disk.image.line, "disks", format!("a {kind} has no disks"), "remove the table");
        }
        if let Some(initrd) = domain.initrd.as_ref().filter(|_| kind != Kind::Torvm) {
            refuse(initrd.line, "initrd", format!("a {kind} takes no initrd"), "remove the line");
        }
    }
    if kind != Kind::Netvm {
        if let Some(nic) = &domain.nic {
            refuse(
                nic.line,
                "nic",
                "only a netvm has uplink addresses".into(),
                "move the table to the netvm",
            );
        }
        if let Some(tap) = &domain.tap {
            refuse(tap.line, "tap", "only a netvm has an uplink".into(), "move the line to the netvm");
        }
    }
    if kind != Kind::Torvm && domain.tor.line != 0 {
        refuse(domain.tor.line, "tor", "only a torvm has it".into(), "move the table to the torvm");
    }
    if kind != Kind::Appvm && domain.anonymous.value {
        let why = "only an AppVM is anonymous".into();
        refuse(domain.anonymous.line, "anonymous", why, "move the line to the AppVMs behind the torvm");
    }
    found
}

/// Only a netvm owns devices, and one of them.
fn devices(_: &Domains, domain: &Domain) -> Vec<Problem> {
    let Some(first) = domain.devices.first() else { return Vec::new() };
    let complain =
        |line: usize, why: String, remedy: &str| vec![problem(domain, line, "devices", why, remedy)];
    if domain.kind.value != Kind::Netvm {
        let why = format!("a {} owns no devices", domain.kind.value);
        return complain(first.line, why, "assign the device to a netvm");
    }
    if let Some(second) = domain.devices.get(1) {
        let why = format!("a netvm drives one network card, here are {}", domain.devices.len());
        return complain(second.line, why, "give each card a netvm of its own");
    }
    if let Some(tap) = &domain.tap {
        let why = "the netvm has both a network card and a tap device".to_owned();
        return complain(tap.line, why, "remove one of `devices` and `tap`");
    }
    Vec::new()
}

fn client_number(_: &Domains, domain: &Domain) -> Vec<Problem> {
    let Some(At { value, line }) = domain.id else { return Vec::new() };
    let complain = |why: String, remedy: &str| vec![problem(domain, line, "id", why, remedy)];
    if !matches!(domain.kind.value, Kind::Appvm | Kind::Torvm) {
        return complain("only AppVMs and torvms have a client number".to_owned(), "remove the line");
    }
    if !address::NUMBERS.contains(&value) {
        let (low, high) = (address::NUMBERS.start(), address::NUMBERS.end());
        return complain(format!("{value} is outside {low} to {high}"), "choose another, or remove the line");
    }
    Vec::new()
}

/// Reports each loop once, at its alphabetically first member.
fn loops(domains: &Domains) -> Vec<Problem> {
    let mut found = Vec::new();
    for domain in domains.values() {
        let mut way = vec![&domain.name];
        let mut here = domain;
        while let Some(next) = here.netvm.as_ref().and_then(|n| domains.get(&n.value)) {
            if next.name == domain.name {
                if way.iter().all(|n| **n >= domain.name) {
                    let path =
                        way.iter().map(|n| n.as_str()).chain([domain.name.as_str()]).collect::<Vec<_>>();
                    let line = domain.netvm.as_ref().map_or(0, |n| n.line);
                    let why = format!("the domains form a loop: {}", path.join(" -> "));
                    found.push(problem(
                        domain,
                        line,
                        "netvm",
                        why,
                        "let the last one of the chain be a netvm",
                    ));
                }
                break;
            }
            if way.contains(&&next.name) {
                break;
            }
            way.push(&next.name);
            here = next;
        }
    }
    found
}

fn device_owners(domains: &Domains) -> Vec<Problem> {
    let mut owners: BTreeMap<Bdf, &Name> = BTreeMap::new();
    let mut found = Vec::new();
    for domain in domains.values() {
        for device in &domain.devices {
            if let Some(owner) = owners.insert(device.value, &domain.name) {
                let why = format!("{} already belongs to {owner}", device.value);
                found.push(problem(
                    domain,
                    device.line,
                    "devices",
                    why,
                    "remove it from one of the two files",
                ));
            }
        }
    }
    found
}

fn client_numbers(domains: &Domains) -> Vec<Problem> {
    let mut holders: BTreeMap<u16, &Name> = BTreeMap::new();
    let mut found = Vec::new();
    for domain in domains.values() {
        let Some(id) = &domain.id else { continue };
        if let Some(holder) = holders.insert(id.value, &domain.name) {
            let why = format!("{} is already the number of {holder}", id.value);
            found.push(problem(domain, id.line, "id", why, "choose another, or remove the line"));
        }
    }
    found
}

/// One firewallvm per netvm, no more clients per firewallvm than it has ports.
fn downstream(domains: &Domains) -> Vec<Problem> {
    let mut behind: BTreeMap<&Name, Vec<&Domain>> = BTreeMap::new();
    for domain in domains.values() {
        if let Some(upstream) = &domain.netvm {
            behind.entry(&upstream.value).or_default().push(domain);
        }
    }
    let mut found = Vec::new();
    for (upstream, clients) in behind {
        let Some(upstream) = domains.get(upstream) else { continue };
        let (limit, remedy) = match upstream.kind.value {
            Kind::Netvm => (1, "put the clients behind one firewallvm, or give the other its own netvm"),
            Kind::Firewallvm => (MAX_CLIENTS, "add a second firewallvm with its own netvm"),
            Kind::Torvm => (MAX_CLIENTS, "add a second torvm"),
            Kind::Appvm => continue,
        };
        if let Some(extra) = clients.get(limit) {
            let line = extra.netvm.as_ref().map_or(0, |n| n.line);
            let names = name_list(clients.iter().take(limit).map(|c| &c.name));
            let why = format!("{} already serves {names}, and can serve no more than {limit}", upstream.name);
            found.push(problem(extra, line, "netvm", why, remedy));
        }
    }
    found
}

/// An image that one domain writes is nobody else's.
fn shared_disks(domains: &Domains) -> Vec<Problem> {
    let mut users: BTreeMap<&Path, Vec<(&Domain, usize, DiskMode)>> = BTreeMap::new();
    for domain in domains.values() {
        for disk in &domain.disks {
            users.entry(&disk.image.value).or_default().push((domain, disk.image.line, disk.mode));
        }
    }
    let mut found = Vec::new();
    for (image, users) in users {
        let written = users.iter().any(|(_, _, mode)| *mode == DiskMode::ReadWrite);
        if let (true, [(first, ..), (second, line, _), ..]) = (written, users.as_slice()) {
            let why = format!("{} is written to and also used by {}", image.display(), first.name);
            let remedy = "use mode \"volatile\" or \"ro\" in both, or copy the image";
            found.push(problem(second, *line, "disks.image", why, remedy));
        }
    }
    found
}

/// Checks that the files which a domain names are there, so that a start does not fail half-way.
pub fn files(domain: &Domain, lib: &Path) -> Vec<Problem> {
    let ours = |value: PathBuf| At { value, line: domain.kind.line };
    let default_kernel = ours(crate::plan::default_kernel(lib, domain.kind.value));
    let default_initrd = crate::plan::default_initrd(lib, domain.kind.value).map(ours);
    let kernel = domain.kernel.as_ref().unwrap_or(&default_kernel);
    let initrd = domain.initrd.as_ref().or(default_initrd.as_ref());
    let network = domain.tor.value.network.as_ref();
    let images = domain.disks.iter().map(|d| ("disks.image", &d.image));
    let named = [("kernel", kernel)].into_iter().chain(initrd.map(|i| ("initrd", i))).chain(images);
    let named = named.chain(network.map(|n| ("tor.network", n)));
    let mut found = Vec::new();
    for (field, path) in named {
        let is_ours =
            [&default_kernel].into_iter().chain(&default_initrd).any(|ours| std::ptr::eq(ours, path));
        let remedy = if is_ours {
            "install the images, or set BULKHEAD_LIB to the directory that holds them"
        } else {
            "correct the path, or create the file"
        };
        let why = match std::fs::metadata(&path.value) {
            Ok(meta) if meta.is_dir() => "is a directory".to_owned(),
            Ok(_) => continue,
            Err(e) => e.to_string(),
        };
        found.push(problem(domain, path.line, field, format!("{}: {why}", path.value.display()), remedy));
    }
    found
}

fn name_list<'n>(names: impl Iterator<Item = &'n Name>) -> String {
    names.map(Name::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
