//! From a machine's description to virtio devices on its bus.
//!
//! Here: which devices there are, in which order, and what dom0 can reach of them. Called by `devices`.

use super::blk::{self, disk::Disk};
use super::device::Device;
use super::net::{Identity, tap, vif};
use super::pci::VirtioPci;
use super::{rng, vsock};
use crate::check::DeviceFiles;
use crate::devices::{DeviceContext, Reachable};
use crate::exits::Exits;
use crate::pci::bus::lock;
use anyhow::{Context, Result, ensure};
use std::io;
use std::sync::{Arc, Mutex};
use vmm_api::config::{Config, Vif};
use vmm_api::message::End;

/// Smallest MTU that a Linux guest accepts.
const LEAST_MTU: u16 = 68;
/// Largest MTU with which every frame fits a link.
const MOST_MTU: u16 = 65_500;
/// MTU of a tap.
const TAP_MTU: u16 = 1500;

/// Puts disks, interfaces, entropy and vsock on the bus, in this order: the guest's names follow from it.
///
/// # Errors
/// Which device cannot be had, and why.
pub fn attach(
    config: &Config,
    files: DeviceFiles,
    machine: (&DeviceContext, &Exits),
    reachable: &mut Reachable,
) -> Result<()> {
    let registry = &machine.1.registry;
    let modes = config.disks.iter().map(|disk| disk.mode);
    for (index, (image, mode)) in files.disks.into_iter().zip(modes).enumerate() {
        let name = format!("disk{index}");
        let disk = Disk::open(image, mode).with_context(|| name.clone())?;
        put(&name, blk::device(&name, disk, registry), machine)?;
    }
    for (index, vif) in (0..).zip(&config.vifs) {
        let name = format!("vif{index}");
        let identity = identity(vif).with_context(|| name.clone())?;
        let (device, end) = vif::new(&name, identity, registry).with_context(|| name.clone())?;
        put(&name, Ok(device), machine)?;
        reachable.ends.push((End::Vif(index), Box::new(end)));
    }
    if let Some(file) = files.tap {
        tap::prepare(&file).context("tap")?;
        let identity = Identity { mac: tap_mac(&config.name), mtu: TAP_MTU };
        put("tap", tap::new("tap", identity, file, registry), machine)?;
    }
    put("rng", rng::device("rng", registry), machine)?;
    if let Some(cid) = config.vsock_cid {
        let (device, connector) = vsock::device("vsock", cid, registry).context("vsock")?;
        put("vsock", Ok(device), machine)?;
        reachable.vsock = Some(Box::new(connector));
    }
    Ok(())
}

/// Puts a device behind the PCI transport and on the bus.
fn put(name: &str, device: io::Result<Device>, (context, exits): (&DeviceContext, &Exits)) -> Result<()> {
    let add = |device| -> Result<()> {
        let memory = Arc::new(context.memory.clone());
        let function = VirtioPci::new(device, memory, &context.irq, context.doorbells())?;
        lock(&exits.pci).add(Arc::new(Mutex::new(function)))?;
        Ok(())
    };
    device.map_err(Into::into).and_then(add).with_context(|| name.to_owned())
}

fn identity(vif: &Vif) -> Result<Identity> {
    let [first, ..] = vif.mac;
    ensure!(first & 1 == 0 && vif.mac != [0; 6], "mac: must be the address of one station, not of a group");
    ensure!(
        (LEAST_MTU..=MOST_MTU).contains(&vif.mtu),
        "mtu: {} is not between {LEAST_MTU} and {MOST_MTU}",
        vif.mtu
    );
    Ok(Identity { mac: vif.mac, mtu: vif.mtu })
}

/// A locally administered address that a machine keeps: 40 bits of the FNV-1a hash of its name.
fn tap_mac(machine: &str) -> [u8; 6] {
    let hash = machine.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_sizes_are_checked() {
        let good = Vif { mac: [2, 0x62, 0x6b, 0, 0, 1], mtu: 1500 };
        assert!(identity(&good).is_ok());
        for (mac, mtu) in [([1, 0, 0, 0, 0, 1], 1500), ([0; 6], 1500), (good.mac, 67), (good.mac, 65_501)] {
            assert!(identity(&Vif { mac, mtu }).is_err(), "{mac:?} {mtu}");
        }
        assert_ne!(tap_mac("netvm"), tap_mac("netvm2"));
        assert_eq!(tap_mac("netvm")[0], 2);
    }
}
