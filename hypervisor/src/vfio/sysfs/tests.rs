use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const CARD: &str = "0000:01:00.0";

/// A host with one card in group 7.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(host.path("kernel/iommu_groups/7/devices")).unwrap();
        host.file("kernel/iommu_groups/7/reserved_regions", "0xfee00000 0xfeefffff msi\n");
        host.add(CARD, Some("vfio-pci"));
        host.file(&format!("bus/pci/devices/{CARD}/reset_method"), "flr bus\n");
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn file(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    fn add(&self, bdf: &str, driver: Option<&str>) {
        let device = self.path("bus/pci/devices").join(bdf);
        fs::create_dir_all(&device).unwrap();
        symlink("../../../../kernel/iommu_groups/7", device.join("iommu_group")).unwrap();
        self.file(&format!("kernel/iommu_groups/7/devices/{bdf}"), "");
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), device.join("driver")).unwrap();
        }
    }

    fn verdict(&self, bdf: &str) -> String {
        Sysfs::at(self.0.path()).check(bdf).map_or_else(|fault| fault.to_string(), |()| "fine".into())
    }
}

#[test]
fn a_bound_lone_resettable_card_is_fine() {
    let host = Host::new();
    assert_eq!(host.verdict(CARD), "fine");
    host.file("kernel/iommu_groups/7/reserved_regions", "0x0 0xfff direct-relaxable\n");
    assert_eq!(host.verdict(CARD), "fine", "relaxable ranges are the host's business");
}

#[test]
fn only_addresses_become_paths() {
    let host = Host::new();
    for bad in
        ["", "01:00.0", "0000:01:00.8", "0000:01:00.0/", "../../../0000:0", "0000:0G:00.0", "0000:0A:00.0"]
    {
        assert!(host.verdict(bad).contains("not a PCI address"), "{bad:?}: {}", host.verdict(bad));
    }
    assert!(host.verdict("0000:02:00.0").contains("no such device"));
}

#[test]
fn obstacles_are_named_with_their_remedy() {
    let host = Host::new();
    fs::remove_file(host.path("bus/pci/devices/0000:01:00.0/driver")).unwrap();
    assert!(host.verdict(CARD).contains("bound to no driver"));
    symlink("../../drivers/e1000e", host.path("bus/pci/devices/0000:01:00.0/driver")).unwrap();
    assert!(host.verdict(CARD).contains("bound to e1000e") && host.verdict(CARD).contains("nic assign"));

    let host = Host::new();
    host.file("bus/pci/devices/0000:01:00.0/reset_method", "\n");
    assert!(host.verdict(CARD).contains("no way to reset"));

    let host = Host::new();
    host.file("kernel/iommu_groups/7/reserved_regions", "0xfee00000 0xfeefffff msi\n0x1000 0x1fff direct\n");
    assert!(host.verdict(CARD).contains("RMRR"));

    let host = Host::new();
    fs::remove_dir_all(host.path("kernel/iommu_groups")).unwrap();
    assert!(host.verdict(CARD).contains("no IOMMU"));
}

#[test]
fn a_group_is_shared_only_with_devices_that_the_host_does_not_use() {
    let host = Host::new();
    host.add("0000:01:00.1", None);
    host.add("0000:01:00.2", Some("vfio-pci"));
    host.add("0000:00:1c.0", Some("pcieport"));
    assert_eq!(host.verdict(CARD), "fine");
    host.add("0000:00:1f.3", Some("snd_hda_intel"));
    host.add("0000:00:1f.4", Some("i801_smbus"));
    let verdict = host.verdict(CARD);
    assert!(verdict.contains("0000:00:1f.3 (snd_hda_intel), 0000:00:1f.4 (i801_smbus)"), "{verdict}");
}
