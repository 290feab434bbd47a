//! Every answer of facts about cards, on directories that look like sysfs and a kernel that is a small model.

use super::*;
use crate::domain::{Domain, file};
use crate::name::Bdf;
use crate::problem::Problems;
use crate::protocol::Accept;
use insta::assert_snapshot;
use std::cell::RefCell;
use std::os::unix::fs::symlink;
use std::rc::Rc;

const CARD: &str = "0000:01:00.0";

fn bdf() -> Bdf {
    CARD.parse().unwrap()
}

/// What the kernel in [`Model`] does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flaw {
    #[default]
    None,
    /// vfio-pci refuses the card.
    VfioRefuses,
    /// The driver cannot be unbound.
    HoldsOn,
    /// No `/dev/vfio/N` appears.
    NoNode,
    /// vfio-pci is no module here.
    NoVfio,
    /// The modules' options allow unsafe interrupts.
    UnsafeModule,
}

/// A kernel that binds and unbinds as Linux does, in a directory.
struct Model {
    root: PathBuf,
    flaw: Flaw,
    said: Rc<RefCell<Vec<String>>>,
}

impl Model {
    fn function(&self, bdf: &str) -> PathBuf {
        self.root.join("sys/bus/pci/devices").join(bdf)
    }

    fn bind(&self, driver: &str, bdf: &str) -> io::Result<()> {
        if driver == "vfio-pci" && self.flaw == Flaw::VfioRefuses {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        symlink(self.root.join("sys/bus/pci/drivers").join(driver), self.function(bdf).join("driver"))?;
        if driver == "vfio-pci" && self.flaw != Flaw::NoNode {
            let group = link_target(&self.function(bdf).join("iommu_group")).unwrap();
            std::fs::write(self.root.join("dev/vfio").join(group), "")?;
        }
        Ok(())
    }
}

impl Kernel for Model {
    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap();
        let value = value.trim();
        self.said.borrow_mut().push(format!("{name}={value}"));
        match name {
            "driver_override" => std::fs::write(path, value),
            "unbind" if self.flaw == Flaw::HoldsOn => Err(io::ErrorKind::PermissionDenied.into()),
            "unbind" => std::fs::remove_file(self.function(value).join("driver")),
            "bind" => self.bind(link_name(path.parent().unwrap()), value),
            "drivers_probe" => {
                let wanted =
                    std::fs::read_to_string(self.function(value).join("driver_override")).unwrap_or_default();
                let driver = if wanted.is_empty() { "e1000e" } else { wanted.as_str() };
                // The kernel reports a failed probe to the log, not to the writer.
                let _ = self.bind(driver, value);
                Ok(())
            }
            other => panic!("write to {other}"),
        }
    }

    fn load(&self, module: &str) -> io::Result<()> {
        self.said.borrow_mut().push(format!("modprobe {module}"));
        if self.flaw == Flaw::NoVfio {
            return Err(io::ErrorKind::NotFound.into());
        }
        if module == "vfio_iommu_type1" {
            let parameters = self.root.join("sys/module/vfio_iommu_type1/parameters");
            std::fs::create_dir_all(&parameters)?;
            let allowed = if self.flaw == Flaw::UnsafeModule { "Y" } else { "N" };
            return std::fs::write(parameters.join("allow_unsafe_interrupts"), allowed);
        }
        std::fs::create_dir_all(self.root.join("sys/bus/pci/drivers").join(module))
    }
}

fn link_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A machine with one e1000e in use by its driver, alone in group 7, behind VT-d with interrupt remapping.
struct Fixture {
    directory: tempfile::TempDir,
    said: Rc<RefCell<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap(), said: Rc::default() };
        fixture.file("sys/class/iommu/dmar0/intel-iommu/ecap", "f0000f\n");
        fixture.file("proc/interrupts", "  1:  0  IR-IO-APIC  1-edge  i8042\n");
        fixture.file("dev/vfio/vfio", "");
        fixture.file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
        fixture.function(CARD, ("10d3", "0x020000"), 7, Some("e1000e"));
        fixture.file(&format!("sys/bus/pci/devices/{CARD}/reset_method"), "pm bus\n");
        fixture.file(&format!("sys/bus/pci/devices/{CARD}/net/eth0/operstate"), "up\n");
        fixture.file("domains/net.toml", "kind = \"netvm\"\n");
        fixture
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.directory.path().join(rest)
    }

    fn file(&self, rest: &str, text: &str) {
        let path = self.path(rest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn function(&self, bdf: &str, (device, class): (&str, &str), group: u32, driver: Option<&str>) {
        let base = format!("sys/bus/pci/devices/{bdf}");
        self.file(&format!("{base}/vendor"), "0x8086\n");
        self.file(&format!("{base}/device"), &format!("0x{device}\n"));
        self.file(&format!("{base}/class"), class);
        let members = self.path(&format!("sys/kernel/iommu_groups/{group}/devices"));
        std::fs::create_dir_all(members.join(bdf)).unwrap();
        let here = self.path(&base);
        symlink(self.path(&format!("sys/kernel/iommu_groups/{group}")), here.join("iommu_group")).unwrap();
        if let Some(driver) = driver {
            let path = self.path(&format!("sys/bus/pci/drivers/{driver}"));
            std::fs::create_dir_all(&path).unwrap();
            symlink(path, here.join("driver")).unwrap();
        }
    }

    fn host(&self, flaw: Flaw) -> Host {
        let root = self.directory.path().to_owned();
        let kernel = Model { root: root.clone(), flaw, said: Rc::clone(&self.said) };
        Host {
            notes: root.join("run/nic"),
            root,
            kernel: Box::new(kernel),
            patience: Duration::from_millis(50),
        }
    }

    fn net(&self) -> Domain {
        file::read(&self.path("domains/net.toml")).unwrap()
    }

    fn driver(&self) -> Option<String> {
        self.host(Flaw::None).find(bdf()).unwrap().driver
    }

    /// Why the card may not be assigned.
    fn refusal(&self) -> String {
        let error =
            assign::assign(&self.host(Flaw::None), bdf(), &self.net(), Accept::default()).unwrap_err();
        assert_eq!(self.driver().as_deref(), Some("e1000e"), "a refused card is not touched");
        assert!(self.said.borrow().is_empty(), "{:?}", self.said);
        assert!(self.net().devices.is_empty());
        error.to_string()
    }
}

#[test]
fn assigned_and_given_back() {
    let fixture = Fixture::new();
    let host = fixture.host(Flaw::None);
    let notes = assign::assign(&host, bdf(), &fixture.net(), Accept::default()).unwrap();
    assert_snapshot!(notes.join("\n"));
    assert_eq!(fixture.driver().as_deref(), Some("vfio-pci"));
    assert_eq!(fixture.net().devices[0].value, bdf());
    bind::ready(&host, bdf(), true).unwrap();
    let before = fixture.said.borrow().len();
    let notes = assign::unassign(&host, bdf(), Some(&fixture.net())).unwrap();
    assert_eq!(notes, ["0000:01:00.0: taken from net, back with e1000e"]);
    assert_eq!(fixture.driver().as_deref(), Some("e1000e"));
    assert!(fixture.net().devices.is_empty());
    assert_eq!(
        fixture.said.borrow()[before..],
        ["driver_override=", "unbind=0000:01:00.0", "bind=0000:01:00.0"]
    );
    assert_eq!(std::fs::read_dir(fixture.path("run/nic")).unwrap().count(), 0, "nothing is noted any more");
}

#[test]
fn iommu_off() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.path("sys/kernel/iommu_groups")).unwrap();
    std::fs::remove_file(fixture.path(&format!("sys/bus/pci/devices/{CARD}/iommu_group"))).unwrap();
    assert_snapshot!(fixture.refusal());
}

#[test]
fn not_behind_the_iommu() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("sys/kernel/iommu_groups/9/devices")).unwrap();
    std::fs::remove_file(fixture.path(&format!("sys/bus/pci/devices/{CARD}/iommu_group"))).unwrap();
    assert_snapshot!(fixture.refusal());
}

#[test]
fn hardware_without_interrupt_remapping() {
    let fixture = Fixture::new();
    fixture.file("sys/class/iommu/dmar0/intel-iommu/ecap", "f00007\n");
    assert_snapshot!(fixture.refusal());
}

#[test]
fn interrupt_remapping_switched_off() {
    let fixture = Fixture::new();
    fixture.file("proc/interrupts", "  1:  0  IO-APIC  1-edge  i8042\n");
    assert_snapshot!(fixture.refusal());
}

#[test]
fn unsafe_interrupts_allowed() {
    let fixture = Fixture::new();
    fixture.file("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
    assert_snapshot!(fixture.refusal());
}

#[test]
fn unsafe_interrupts_allowed_by_a_module_that_is_loaded_only_now() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.path("sys/module/vfio_iommu_type1")).unwrap();
    let host = fixture.host(Flaw::UnsafeModule);
    let error = assign::assign(&host, bdf(), &fixture.net(), Accept::default()).unwrap_err();
    assert!(error.to_string().contains("allows unsafe interrupts"), "{error}");
    assert_eq!(fixture.driver().as_deref(), Some("e1000e"));
}

#[test]
fn group_shared_with_devices_in_use() {
    let fixture = Fixture::new();
    fixture.function("0000:01:00.1", ("1533", "0x020000"), 7, Some("igb"));
    fixture.function("0000:00:1c.0", ("9d10", "0x060400"), 7, Some("pcieport"));
    fixture.function("0000:01:00.2", ("0e0f", "0x078000"), 7, None);
    assert_snapshot!(fixture.refusal());
}

#[test]
fn idle_neighbours_are_told_of() {
    let fixture = Fixture::new();
    fixture.function("0000:01:00.2", ("0e0f", "0x078000"), 7, None);
    fixture.function("0000:01:00.3", ("0e0f", "0x078000"), 7, Some("vfio-pci"));
    let notes = assign::assign(&fixture.host(Flaw::None), bdf(), &fixture.net(), Accept::default()).unwrap();
    assert!(notes.iter().any(|n| n.contains("0000:01:00.2, which has no driver")), "{notes:?}");
}

#[test]
fn firmware_demands_direct_access() {
    let fixture = Fixture::new();
    let regions = "0x00000000000a0000 0x00000000000fffff direct-relaxable\n0x000000007b000000 0x000000007f7fffff direct\n\
                   0x00000000fee00000 0x00000000feefffff msi\n";
    fixture.file("sys/kernel/iommu_groups/7/reserved_regions", regions);
    assert_snapshot!(fixture.refusal());
    fixture.file("sys/kernel/iommu_groups/7/reserved_regions", "0x0 0xfff direct-relaxable\n");
    assign::assign(&fixture.host(Flaw::None), bdf(), &fixture.net(), Accept::default()).unwrap();
}

#[test]
fn card_without_reset_needs_a_word_that_the_file_keeps() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.path(&format!("sys/bus/pci/devices/{CARD}/reset_method"))).unwrap();
    assert_snapshot!(fixture.refusal());
    let accept = Accept { no_reset: true, ..Accept::default() };
    let notes = assign::assign(&fixture.host(Flaw::None), bdf(), &fixture.net(), accept).unwrap();
    assert!(notes.iter().any(|n| n.contains("power-cycle")), "{notes:?}");
    assert!(!fixture.net().strict_reset);
    bind::ready(&fixture.host(Flaw::None), bdf(), fixture.net().strict_reset).unwrap();
    assert!(bind::ready(&fixture.host(Flaw::None), bdf(), true).is_err());
    assign::unassign(&fixture.host(Flaw::None), bdf(), Some(&fixture.net())).unwrap();
    assert!(fixture.net().strict_reset, "the word was for that card");
}

#[test]
fn card_with_the_default_route() {
    let fixture = Fixture::new();
    let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n";
    fixture.file("proc/net/route", route);
    assert_snapshot!(fixture.refusal());
    let accept = Accept { busy: true, ..Accept::default() };
    assign::assign(&fixture.host(Flaw::None), bdf(), &fixture.net(), accept).unwrap();
}

#[test]
fn card_with_the_ipv6_default_route() {
    let fixture = Fixture::new();
    let zero = "0".repeat(32);
    fixture.file("proc/net/ipv6_route", &format!("{zero} 00 {zero} 00 fe80 00000400 1 0 00000003 eth0\n"));
    assert!(fixture.refusal().contains("default route (eth0)"));
}

#[test]
fn what_is_no_card() {
    let fixture = Fixture::new();
    fixture.function("0000:02:00.0", ("9d2f", "0x0c0330"), 8, Some("xhci_hcd"));
    let host = fixture.host(Flaw::None);
    let refuse = |bdf: &str| {
        assign::assign(&host, bdf.parse().unwrap(), &fixture.net(), Accept::default()).unwrap_err()
    };
    let mut both = refuse("02:00.0").0;
    both.extend(refuse("05:00.0").0);
    assert_snapshot!(Problems(both));
}

#[test]
fn domain_that_cannot_own_it() {
    let fixture = Fixture::new();
    fixture.file("domains/fw.toml", "kind = \"firewallvm\"\n");
    fixture.file("domains/net2.toml", "kind = \"netvm\"\ndevices = [\"03:00.0\"]\n");
    let host = fixture.host(Flaw::None);
    let refuse = |name: &str| {
        let domain = file::read(&fixture.path(&format!("domains/{name}.toml"))).unwrap();
        assign::assign(&host, bdf(), &domain, Accept::default()).unwrap_err()
    };
    let mut both = refuse("fw").0;
    both.extend(refuse("net2").0);
    assert_snapshot!(Problems(both));
}

/// After an error of the kernel: what is said, and that the card is where it was.
fn fails(flaw: Flaw) -> String {
    let fixture = Fixture::new();
    let error = assign::assign(&fixture.host(flaw), bdf(), &fixture.net(), Accept::default()).unwrap_err();
    assert_eq!(fixture.driver().as_deref(), Some("e1000e"), "{error}");
    let wanted =
        std::fs::read_to_string(fixture.path(&format!("sys/bus/pci/devices/{CARD}/driver_override")));
    assert_eq!(wanted.unwrap_or_default(), "", "{error}");
    assert!(fixture.net().devices.is_empty());
    error.to_string().replace(fixture.directory.path().to_str().unwrap(), "")
}

#[test]
fn kernel_that_refuses_leaves_the_card_with_its_driver() {
    let flaws = [Flaw::VfioRefuses, Flaw::HoldsOn, Flaw::NoNode, Flaw::NoVfio];
    assert_snapshot!(flaws.map(fails).join("\n"));
}

#[test]
fn file_that_cannot_be_written_leaves_the_card_with_its_driver() {
    let fixture = Fixture::new();
    let domain = fixture.net();
    fixture.file("domains/net.toml", "kind = \"netvm\"\ndevices = 7\n");
    let error = assign::assign(&fixture.host(Flaw::None), bdf(), &domain, Accept::default()).unwrap_err();
    assert!(error.to_string().contains("`devices` is not a list"), "{error}");
    assert_eq!(fixture.driver().as_deref(), Some("e1000e"));
}

#[test]
fn capabilities_and_names_are_read() {
    let fixture = Fixture::new();
    let mut config = vec![0u8; 256];
    config[0x34] = 0xc8;
    config[0xc8..0xca].copy_from_slice(&[0x05, 0xa0]);
    config[0xa0..0xa4].copy_from_slice(&[0x11, 0xc8, 4, 0x80]);
    std::fs::write(fixture.path(&format!("sys/bus/pci/devices/{CARD}/config")), &config).unwrap();
    fixture.file(
        "usr/share/misc/pci.ids",
        "8085  X\n\t10d3  Y\n8086  Intel\n\t10d2  A\n\t10d3  82574L\n8087  Z\n",
    );
    let host = fixture.host(Flaw::None);
    let card = host.find(bdf()).unwrap();
    assert_eq!((card.msi, card.msix), (Some(true), Some(5)), "and the loop in the chain ends");
    assert_eq!(host.model(&card).as_deref(), Some("Intel 82574L"));
    assert_eq!(host.network_cards().len(), 1);
}
