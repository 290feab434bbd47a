//! The link device: every link of the domain behind one PCI function (`abi::link_device`).

use crate::doorbell::{Bells, PortBell, Regions, Windows};
use crate::interrupts::Interrupt;
use crate::mmio::Registers;
use crate::pci::{Function, Kind, Msix};
use crate::ram::Range;
use abi::link_device as device;
pub use abi::link_device::Role;
use core::fmt;
use hal::mmio::Mmio;
use heapless::Vec;
use link::{Geometry, Link};

/// Looks at a port's registers while the monitor replaces the peer, before giving up until the next change.
const LOOKS: usize = 4;

/// Why a link device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDeviceError {
    /// A BAR is missing or misplaced.
    Bar(u8),
    /// Magic, version or port count are not those of the contract.
    Contract,
    /// Fewer MSI-X vectors than ports, or none left in this domain.
    Vectors,
}

impl fmt::Display for LinkDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar(slot) => write!(f, "link device: BAR {slot} is missing"),
            Self::Contract => f.write_str("link device: not of this version of the contract"),
            Self::Vectors => f.write_str("link device: too few interrupt vectors"),
        }
    }
}

/// The link device of the domain.
#[derive(Debug)]
pub struct LinkDevice {
    registers: Registers,
    windows: Windows,
    bells: Bells,
    changed: Interrupt,
    rung: Vec<Interrupt, { device::MAX_PORTS }>,
    /// Ports to look at.
    pending: u32,
    /// Epoch of the link that was handed out per port; 0 for none.
    epochs: [u64; device::MAX_PORTS],
}

/// A port that went up or down.
#[derive(Debug)]
pub struct PortChange {
    /// Which port.
    pub port: u8,
    /// What it is now.
    pub now: PortState,
}

/// The state of a port.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once per change of a peer, and boxing would allocate")]
pub enum PortState {
    /// A peer is there. The link is fresh; any earlier link of the port is dead.
    Up {
        /// What the peer is to this domain.
        role: Role,
        /// Generation of the peer, larger than any before.
        epoch: u64,
        /// This domain's end.
        link: Link<PortBell>,
    },
    /// No peer: the port's link is dead.
    Down,
}

/// What a port's registers said, consistently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port {
    role: Role,
    epoch: u64,
    regions: Regions,
    geometry: Geometry,
}

impl LinkDevice {
    /// Whether `function` is a link device.
    pub(crate) fn is(function: &Function) -> bool {
        function.id() == (device::VENDOR, device::DEVICE)
    }

    /// Takes the device over: checks the contract, maps the windows, connects one vector per port.
    ///
    /// # Errors
    /// [`LinkDeviceError`].
    pub(crate) fn open(function: &Function) -> Result<Self, LinkDeviceError> {
        let bar = LinkDeviceError::Bar;
        let registers = function.registers(device::BAR_REGS).ok_or(bar(device::BAR_REGS))?;
        let ports = ports(&registers).ok_or(LinkDeviceError::Contract)?;
        let windows =
            function.memory(device::BAR_WINDOWS).and_then(Windows::map).ok_or(bar(device::BAR_WINDOWS))?;
        let bells = function
            .bar(device::BAR_DOORBELLS)
            .filter(|bells| bells.kind == Kind::Ports)
            .and_then(|bells| Bells::new(Range::new(bells.base, bells.size)?))
            .ok_or(bar(device::BAR_DOORBELLS))?;
        let msix = function.msix().ok_or(bar(device::BAR_MSIX))?;
        let (changed, rung) = connect(msix, ports).ok_or(LinkDeviceError::Vectors)?;
        function.enable_bus_master();
        let pending = mask(ports.into());
        let epochs = [0; device::MAX_PORTS];
        Ok(Self { registers, windows, bells, changed, rung, pending, epochs })
    }

    /// How many ports there are.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.rung.len()
    }

    /// The ports that changed since the last call; on the first call, all that are up. Costs one memory load
    /// when nothing changed. A replaced peer is reported as down, then up.
    pub fn changes(&mut self) -> impl Iterator<Item = PortChange> + '_ {
        if self.changed.fired() {
            self.pending |= self.registers.read32(device::REG_CHANGED) & mask(self.rung.len());
        }
        // Each turn clears a pending bit or an epoch.
        core::iter::from_fn(move || {
            for _ in 0..device::MAX_PORTS {
                if self.pending == 0 {
                    break;
                }
                let port = u8::try_from(self.pending.trailing_zeros()).ok()?;
                if let Some(now) = self.look(port) {
                    return Some(PortChange { port, now });
                }
            }
            None
        })
    }

    /// Compares `port` with what was reported last; keeps it pending when there is more to report.
    fn look(&mut self, port: u8) -> Option<PortState> {
        let now = read(&self.registers, self.windows.len(), port);
        let last = self.epochs.get_mut(usize::from(port))?;
        match now {
            Some(up) if up.epoch == *last => {}
            _ if *last != 0 => {
                *last = 0;
                return Some(PortState::Down);
            }
            Some(up) => {
                *last = up.epoch;
                self.pending &= !(1 << port);
                let link = self.link(port, up);
                if link.is_none() {
                    log::error!("port {port}: unusable regions");
                }
                return Some(PortState::Up { role: up.role, epoch: up.epoch, link: link? });
            }
            None => {}
        }
        self.pending &= !(1 << port);
        None
    }

    fn link(&self, port: u8, up: Port) -> Option<Link<PortBell>> {
        let (tx, rx) = self.windows.open(up.regions)?;
        Link::new(up.geometry, tx, rx, up.epoch, self.bells.bell(port)?).ok()
    }
}

/// One bit per port.
const fn mask(ports: usize) -> u32 {
    if ports < 32 { (1 << ports) - 1 } else { u32::MAX }
}

/// Checks magic and version; gives the number of ports.
fn ports<M: Mmio>(registers: &M) -> Option<u16> {
    let ports = registers.read32(device::REG_PORTS);
    let known = registers.read32(device::REG_MAGIC) == device::MAGIC
        && registers.read32(device::REG_VERSION) == device::VERSION;
    u16::try_from(ports).ok().filter(|&n| known && n > 0 && usize::from(n) <= device::MAX_PORTS)
}

/// Connects vector 0 and one vector per port.
fn connect(
    mut msix: Msix<Registers>,
    ports: u16,
) -> Option<(Interrupt, Vec<Interrupt, { device::MAX_PORTS }>)> {
    let mut next = |index| Interrupt::take().filter(|interrupt| msix.connect(index, interrupt));
    let changed = next(0)?;
    let mut rung = Vec::new();
    for port in 0..ports {
        rung.push(next(1 + port)?).ok()?;
    }
    msix.start();
    Some((changed, rung))
}

/// Reads a port's registers between two equal looks at state and epoch, since the monitor may replace the peer
/// meanwhile. `None` when the port is down, or says what the contract does not allow.
fn read<M: Mmio>(registers: &M, windows: u64, port: u8) -> Option<Port> {
    let at = device::PORT_BASE + u32::from(port) * device::PORT_STRIDE;
    let register = |offset| registers.read32(at + offset);
    let generation = || {
        let high = register(device::PORT_EPOCH_HI);
        let epoch = u64::from(high) << 32 | u64::from(register(device::PORT_EPOCH_LO));
        (register(device::PORT_STATE), high == register(device::PORT_EPOCH_HI), epoch)
    };
    for _ in 0..LOOKS {
        let before = generation();
        let [role, tx, rx, len] =
            [device::PORT_ROLE, device::PORT_TX_OFFSET, device::PORT_RX_OFFSET, device::PORT_REGION_LEN]
                .map(register);
        let (state, whole, epoch) = generation();
        if before == (state, whole, epoch) && whole {
            return (state == device::STATE_UP && epoch != 0)
                .then_some(())
                .and_then(|()| decode(role, epoch, Regions::new(tx, rx, len, windows)?, len));
        }
    }
    None
}

fn decode(role: u32, epoch: u64, regions: Regions, len: u32) -> Option<Port> {
    let geometry = Geometry::of_region(len as usize).ok()?;
    Some(Port { role: Role::from_u32(role)?, epoch, regions, geometry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec;
    use std::vec::Vec as StdVec;

    /// Registers in memory; after `change_after` reads the second set takes their place.
    struct Fake {
        words: RefCell<StdVec<u32>>,
        next: StdVec<u32>,
        change_after: Cell<usize>,
    }

    impl Mmio for Fake {
        fn read32(&self, offset: u32) -> u32 {
            let left = self.change_after.get();
            if left == 0 {
                self.words.borrow_mut().clone_from(&self.next);
            }
            self.change_after.set(left.wrapping_sub(1));
            self.words.borrow()[offset as usize / 4]
        }
        fn write32(&self, _: u32, _: u32) {}
    }

    fn set(words: &mut [u32], port: usize, values: [u32; 7]) {
        let at = (device::PORT_BASE as usize + port * device::PORT_STRIDE as usize) / 4;
        words[at..at + 7].copy_from_slice(&values);
    }

    const LEN: u32 = 0x4_1000;

    fn fake(old: [u32; 7], new: [u32; 7], change_after: usize) -> Fake {
        let (mut words, mut next) = (vec![0; 0x800], vec![0; 0x800]);
        words[..3].copy_from_slice(&[device::MAGIC, device::VERSION, 2]);
        set(&mut words, 1, old);
        set(&mut next, 1, new);
        Fake { words: RefCell::new(words), next, change_after: Cell::new(change_after) }
    }

    #[test]
    fn checks_the_contract() {
        let device = fake([0; 7], [0; 7], usize::MAX);
        assert_eq!(ports(&device), Some(2));
        for (at, value) in [(0, 1), (1, 2), (2, 0), (2, 33), (2, 0x1_0001)] {
            let bad = fake([0; 7], [0; 7], usize::MAX);
            bad.words.borrow_mut()[at] = value;
            assert_eq!(ports(&bad), None);
        }
    }

    #[test]
    fn reads_an_up_port_and_refuses_nonsense() {
        let good = [1, 2, 7, 3, 0, LEN, LEN];
        let up = read(&fake(good, good, usize::MAX), 0x10_0000, 1).unwrap();
        assert_eq!((up.role, up.epoch, up.geometry.data_len), (Role::Upstream, 0x3_0000_0007, 256 * 1024));
        for (at, value) in [(0, 0), (0, 2), (1, 9), (4, 1), (5, 0x1000), (6, 0x4000), (6, 0x100_1000)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(read(&fake(bad, bad, usize::MAX), 0x10_0000, 1), None, "{at} {value:#x}");
        }
        assert_eq!(read(&fake(good, good, usize::MAX), 0x8_0000, 1), None);
    }

    #[test]
    fn never_mixes_two_generations() {
        let old = [1, 2, 7, 0, 0, LEN, LEN];
        let new = [1, 3, 8, 1, 2 * LEN, 3 * LEN, LEN];
        for change_after in 0..40 {
            let up = read(&fake(old, new, change_after), 0x20_0000, 1).unwrap();
            let expected = match up.epoch {
                7 => (Role::Upstream, Regions::new(0, LEN, LEN, 0x20_0000)),
                0x1_0000_0008 => (Role::Downstream, Regions::new(2 * LEN, 3 * LEN, LEN, 0x20_0000)),
                epoch => panic!("epoch {epoch:#x} never was"),
            };
            assert_eq!((up.role, Some(up.regions)), expected);
        }
    }
}
