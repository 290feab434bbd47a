//! Configuration space: addresses, access, the scan for functions. Pure over [`Config`].

/// Bus, device and function number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Bus number.
    pub bus: u8,
    /// Device number, below 32.
    pub device: u8,
    /// Function number, below 8.
    pub function: u8,
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl Address {
    /// Offset in the ECAM window (PCI Express §7.2.2).
    pub(super) const fn ecam(self, register: u16) -> u32 {
        (self.bus as u32) << 20
            | (self.device as u32 & 31) << 15
            | (self.function as u32 & 7) << 12
            | (register as u32 & 0xFFC)
    }

    /// Value for port 0xCF8 (PCI 3.0 §3.2.2.3.2).
    pub(super) const fn port(self, register: u16) -> u32 {
        1 << 31
            | (self.bus as u32) << 16
            | (self.device as u32 & 31) << 11
            | (self.function as u32 & 7) << 8
            | (register as u32 & 0xFC)
    }
}

/// Access to configuration space in 32-bit registers; all ones where nothing answers.
pub trait Config {
    /// Reads a register.
    fn read(&self, function: Address, register: u16) -> u32;
    /// Writes a register.
    fn write(&self, function: Address, register: u16, value: u32);
}

/// Low and high half of a register.
pub(super) const fn halves(value: u32) -> (u16, u16) {
    ((value & 0xFFFF) as u16, (value >> 16) as u16)
}

/// Calls `found` for every function on bus 0 and on the buses behind bridges that firmware has numbered.
pub(super) fn scan<C: Config>(config: &C, mut found: impl FnMut(Address)) {
    // One bit per bus that is to be scanned. Numbers grow away from the root, so one ascending pass sees all.
    let mut buses = [0u64; 4];
    buses[0] = 1;
    for bus in 0..=255u8 {
        if buses[usize::from(bus / 64)] >> (bus % 64) & 1 == 0 {
            continue;
        }
        for device in 0..32 {
            for function in 0..8 {
                let address = Address { bus, device, function };
                if config.read(address, 0) & 0xFFFF == 0xFFFF {
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                let header = config.read(address, 0x0C) >> 16;
                match header & 0x7F {
                    0 => found(address),
                    1 => {
                        let below = (config.read(address, 0x18) >> 8 & 0xFF) as u8;
                        if below > bus {
                            buses[usize::from(below / 64)] |= 1 << (below % 64);
                        }
                    }
                    _ => {}
                }
                if function == 0 && header & 0x80 == 0 {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Configuration space in memory: registers keep what a mask lets through.
    use super::{Address, Config};
    use core::cell::RefCell;
    use std::collections::BTreeMap;

    #[derive(Default)]
    pub(crate) struct Fake {
        /// Value and writable bits of each register.
        pub(crate) registers: RefCell<BTreeMap<(Address, u16), (u32, u32)>>,
    }

    impl Fake {
        pub(crate) fn set(&self, function: Address, register: u16, value: u32, writable: u32) {
            self.registers.borrow_mut().insert((function, register), (value, writable));
        }
    }

    impl Config for Fake {
        fn read(&self, function: Address, register: u16) -> u32 {
            let registers = self.registers.borrow();
            let there = registers.contains_key(&(function, 0));
            registers.get(&(function, register)).map_or(if there { 0 } else { u32::MAX }, |r| r.0)
        }
        fn write(&self, function: Address, register: u16, value: u32) {
            if let Some(r) = self.registers.borrow_mut().get_mut(&(function, register)) {
                r.0 = r.0 & !r.1 | value & r.1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;
    use std::vec::Vec;

    fn at(bus: u8, device: u8, function: u8) -> Address {
        Address { bus, device, function }
    }

    #[test]
    fn encodes_addresses() {
        assert_eq!(at(1, 2, 3).ecam(0x104), 0x11_3104);
        assert_eq!(at(1, 2, 3).port(0x10), 0x8001_1310);
    }

    #[test]
    fn finds_functions_and_follows_bridges_once() {
        let fake = Fake::default();
        for (address, header) in [
            (at(0, 0, 0), 0),
            (at(0, 3, 0), 0x80),
            (at(0, 3, 5), 0),
            (at(0, 4, 0), 0),
            (at(0, 4, 1), 0), // not multi-function: must not be seen
            (at(0, 5, 0), 1),
            (at(2, 0, 0), 0),
            (at(2, 1, 0), 1),
            (at(7, 0, 0), 0), // behind no bridge
        ] {
            fake.set(address, 0, 0x1234_8086, 0);
            fake.set(address, 0x0C, header << 16, 0);
        }
        fake.set(at(0, 5, 0), 0x18, 2 << 8, 0);
        fake.set(at(2, 1, 0), 0x18, 0, 0); // a bridge back to bus 0
        let mut seen = Vec::new();
        scan(&fake, |address| seen.push(address));
        assert_eq!(seen, [at(0, 0, 0), at(0, 3, 0), at(0, 3, 5), at(0, 4, 0), at(2, 0, 0)]);
    }
}
