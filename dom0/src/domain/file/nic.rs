//! The `[nic]` table of a netvm: how the uplink gets its addresses.

use control::message::{Nic, V4, V4Config, V6, V6Config};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table as typed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    ipv4: Option<Way>,
    #[serde(default)]
    ipv6: Option<Way>,
}

/// A word (`"dhcp"`, `"auto"`, `"off"`) or a table of fixed addresses.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"dhcp\", \"auto\", \"off\" or { address = \"A/N\", gateway = …, dns = […] }"
)]
enum Way {
    Word(String),
    Fixed(Fixed),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    address: String,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
}

/// Field, reason, remedy.
pub(super) type Wrong = (&'static str, String, &'static str);

/// Understands the table; what is wrong is listed and left at its default.
pub(super) fn understand(written: Written) -> (Nic, Vec<Wrong>) {
    let mut nic = Nic::default();
    let mut wrong = Vec::new();
    match written.ipv4.map_or(Ok(V4Config::Dhcp), v4) {
        Ok(v4) => nic.v4 = v4,
        Err(why) => wrong.push(("ipv4", why, "write \"dhcp\", \"off\" or { address = \"192.0.2.5/24\" }")),
    }
    match written.ipv6.map_or(Ok(V6Config::Auto), v6) {
        Ok(v6) => nic.v6 = v6,
        Err(why) => wrong.push(("ipv6", why, "write \"auto\", \"off\" or { address = \"2001:db8::5/64\" }")),
    }
    (nic, wrong)
}

fn v4(way: Way) -> Result<V4Config, String> {
    match way {
        Way::Word(word) if word == "dhcp" => Ok(V4Config::Dhcp),
        Way::Word(word) if word == "off" => Ok(V4Config::Off),
        Way::Word(word) => Err(format!("{word:?} is no way to get an IPv4 address")),
        Way::Fixed(fixed) => {
            let (address, prefix) = split::<Ipv4Addr>(&fixed.address, 32)?;
            if address.is_unspecified()
                || address.is_multicast()
                || address.is_loopback()
                || address.is_broadcast()
            {
                return Err(format!("{address} cannot be a machine's address"));
            }
            let gateway = fixed.gateway.map(only_v4).transpose()?;
            if let Some(gateway) = gateway.filter(|g| !same_segment(address, *g, prefix)) {
                return Err(format!("the gateway {gateway} is not on the segment {address}/{prefix}"));
            }
            let mut dns = heapless::Vec::new();
            for server in fixed.dns {
                dns.push(only_v4(server)?).map_err(|_| "more than 3 DNS servers".to_owned())?;
            }
            Ok(V4Config::Static(V4 { address, prefix, gateway, dns }))
        }
    }
}

fn v6(way: Way) -> Result<V6Config, String> {
    match way {
        Way::Word(word) if word == "auto" => Ok(V6Config::Auto),
        Way::Word(word) if word == "off" => Ok(V6Config::Off),
        Way::Word(word) => Err(format!("{word:?} is no way to get an IPv6 address")),
        Way::Fixed(fixed) => {
            let (address, prefix) = split::<Ipv6Addr>(&fixed.address, 128)?;
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                return Err(format!("{address} cannot be a machine's address"));
            }
            let gateway = fixed.gateway.map(only_v6).transpose()?;
            let mut dns = heapless::Vec::new();
            for server in fixed.dns {
                dns.push(only_v6(server)?).map_err(|_| "more than 3 DNS servers".to_owned())?;
            }
            Ok(V6Config::Static(V6 { address, prefix, gateway, dns }))
        }
    }
}

fn split<A: std::str::FromStr>(text: &str, longest: u8) -> Result<(A, u8), String> {
    let wrong = || format!("{text:?} is not an address with its prefix length");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let prefix = prefix.parse().ok().filter(|n| (1..=longest).contains(n)).ok_or_else(wrong)?;
    Ok((address.parse().map_err(|_| wrong())?, prefix))
}

fn same_segment(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    let shift = 32 - u32::from(prefix.clamp(1, 32));
    a.to_bits() >> shift == b.to_bits() >> shift
}

fn only_v4(address: IpAddr) -> Result<Ipv4Addr, String> {
    match address {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => Err(format!("{v6} is an IPv6 address")),
    }
}

fn only_v6(address: IpAddr) -> Result<Ipv6Addr, String> {
    match address {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(v4) => Err(format!("{v4} is an IPv4 address")),
    }
}
