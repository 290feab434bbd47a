//! A plan as text: for `bulkhead check --plan` and the golden tests.

use super::{EndKey, Link, Machine, Party, Plan};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for machine in &self.machines {
            write!(f, "{machine}")?;
        }
        for link in &self.links {
            writeln!(f, "{link}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} ({} MiB, {} vcpu)", self.kind, self.name, self.memory_mib, self.vcpus)?;
        writeln!(f, "    kernel {} {:?}", self.kernel.display(), self.cmdline)?;
        if let Some(initrd) = &self.initrd {
            writeln!(f, "    initrd {}", initrd.display())?;
        }
        for (image, mode) in &self.disks {
            writeln!(f, "    disk {} {mode:?}", image.display())?;
        }
        for device in &self.devices {
            writeln!(f, "    device {device} (dma arena {} MiB)", self.dma_arena_mib)?;
        }
        if let Some(tap) = &self.tap {
            writeln!(f, "    tap {tap}")?;
        }
        if let Some(nic) = &self.nic {
            writeln!(f, "    nic {:?} {:?}", nic.v4, nic.v6)?;
        }
        if let Some((port, client)) = &self.client {
            let [a, b, c, d, e, g] = client.mac;
            write!(f, "    client {}/{} via {} ", client.v4, client.v4_prefix, client.v4_gateway)?;
            let above = self.netvm.as_ref().map_or("nobody", |n| n.as_str());
            writeln!(f, "mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} at {above}.port{port}")?;
        }
        if let Some(cid) = self.vsock_cid {
            writeln!(f, "    vsock {cid}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} == {}", self.upper, self.lower)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dom0 => f.write_str("dom0"),
            Self::Domain(name, EndKey::Port(n)) => write!(f, "{name}.port{n}"),
            Self::Domain(name, EndKey::Vif(n)) => write!(f, "{name}.vif{n}"),
        }
    }
}
