//! Whether a device may be assigned at all, from what the host kernel says of it. Reads sysfs, opens nothing.

use super::open::Fault;
use std::fs;
use std::path::{Path, PathBuf};

/// The host's device tree; elsewhere in tests.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
}

/// A device of the IOMMU group that the host still uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub bdf: String,
    /// Its driver.
    pub driver: String,
}

impl std::fmt::Display for Neighbour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.bdf, self.driver)
    }
}

impl Default for Sysfs {
    fn default() -> Self {
        Self { root: "/sys".into() }
    }
}

impl Sysfs {
    /// A tree below `root`.
    #[cfg(test)]
    fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The device's directory, for the VFIO library.
    pub(super) fn device(&self, bdf: &str) -> PathBuf {
        self.root.join("bus/pci/devices").join(bdf)
    }

    /// Checks everything that can be known before the device is opened.
    ///
    /// # Errors
    /// The first obstacle, with its remedy.
    pub fn check(&self, bdf: &str) -> Result<(), Fault> {
        if !is_address(bdf) {
            return Err(Fault::Address(bdf.into()));
        }
        let groups = self.root.join("kernel/iommu_groups");
        if entries(&groups).is_empty() {
            return Err(Fault::NoIommu);
        }
        let device = self.device(bdf);
        if !device.exists() {
            return Err(Fault::NoDevice(bdf.into()));
        }
        let group = link_name(&device.join("iommu_group")).ok_or(Fault::NoIommu)?;
        let driver = link_name(&device.join("driver"));
        if !driver.as_deref().is_some_and(is_vfio) {
            let driver = driver.unwrap_or_else(|| "no driver".into());
            return Err(Fault::NotBound { bdf: bdf.into(), driver });
        }
        let neighbours = self.neighbours(bdf, &groups.join(&group));
        if !neighbours.is_empty() {
            let list: Vec<_> = neighbours.iter().map(ToString::to_string).collect();
            return Err(Fault::SharedGroup { bdf: bdf.into(), group, neighbours: list.join(", ") });
        }
        if has_fixed_mapping(&groups.join(&group)) {
            return Err(Fault::FixedMapping(bdf.into()));
        }
        // Older kernels (before 5.15) do not say; then opening the device decides.
        let methods = fs::read_to_string(device.join("reset_method"));
        if methods.is_ok_and(|methods| methods.trim().is_empty()) {
            return Err(Fault::NoReset(bdf.into()));
        }
        Ok(())
    }

    fn neighbours(&self, bdf: &str, group: &Path) -> Vec<Neighbour> {
        let others = entries(&group.join("devices")).into_iter().filter(|other| other != bdf);
        let in_use = |bdf: String| {
            let driver = link_name(&self.device(&bdf).join("driver"))?;
            let harmless = is_vfio(&driver) || driver == "pci-stub" || driver == "pcieport";
            (!harmless).then_some(Neighbour { bdf, driver })
        };
        others.filter_map(in_use).collect()
    }
}

/// `dddd:bb:dd.f`, in small hexadecimal digits: it becomes part of a path.
fn is_address(bdf: &str) -> bool {
    let shape = "xxxx:xx:xx.o";
    bdf.len() == shape.len()
        && bdf.bytes().zip(shape.bytes()).all(|(byte, kind)| match kind {
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            b'o' => (b'0'..=b'7').contains(&byte),
            other => byte == other,
        })
}

fn is_vfio(driver: &str) -> bool {
    driver == "vfio-pci" || driver.ends_with("-vfio-pci") || driver.ends_with("_vfio_pci")
}

/// Firmware demands that the device reaches memory of its own choice (RMRR); relaxable ranges are fine.
fn has_fixed_mapping(group: &Path) -> bool {
    let regions = fs::read_to_string(group.join("reserved_regions")).unwrap_or_default();
    regions.lines().any(|line| line.split_whitespace().nth(2) == Some("direct"))
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> =
        found.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
