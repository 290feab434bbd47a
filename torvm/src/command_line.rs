//! Who is where, on machines without dom0: words of the command line stand for its messages.
//!
//! `uplink=ADDRESS/PREFIX,ROUTER` once, and `client=NAME,ADDRESS/PREFIX,GATEWAY,MAC` or
//! `client=NAME,ADDRESS/PREFIX,GATEWAY,MAC,NETWORK/64` for each client, in the order of their network cards, behind that
//! of the uplink.

use control::message::{Client, Mac, Name};
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Largest IP packet on an Ethernet cable.
const MTU: u16 = 1500;

/// A word cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWord<'a>(pub &'a str);

/// The values of all words `key=value`.
fn values<'a>(line: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    line.split_ascii_whitespace().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
}

/// What torvm is on the uplink, whose card has the address `mac`; `None` when no word tells.
///
/// # Errors
/// [`BadWord`].
pub fn uplink(line: &str, mac: Mac) -> Option<Result<Client, BadWord<'_>>> {
    let value = values(line, "uplink").last()?;
    let parts = || {
        let (address, router) = value.split_once(',')?;
        station("uplink", address, router, mac)
    };
    Some(parts().ok_or(BadWord(value)))
}

/// The clients, in order.
pub fn clients(line: &str) -> impl Iterator<Item = Result<Client, BadWord<'_>>> {
    values(line, "client").map(|value| client(value).ok_or(BadWord(value)))
}

fn client(value: &str) -> Option<Client> {
    let mut parts = value.split(',');
    let (name, address, gateway) = (parts.next()?, parts.next()?, parts.next()?);
    let mac = mac(parts.next()?)?;
    let v6_prefix = match parts.next() {
        Some(network) => Some(Ipv6Addr::from_str(network.strip_suffix("/64")?).ok()?),
        None => None,
    };
    if parts.next().is_some() {
        return None;
    }
    Some(Client { v6_prefix, ..station(name, address, gateway, mac)? })
}

fn station(name: &str, address: &str, gateway: &str, mac: Mac) -> Option<Client> {
    let (address, prefix) = address.split_once('/')?;
    Some(Client {
        name: Name::try_from(name).ok()?,
        mac,
        v4: Ipv4Addr::from_str(address).ok()?,
        v4_gateway: Ipv4Addr::from_str(gateway).ok()?,
        v4_prefix: u8::from_str(prefix).ok().filter(|prefix| *prefix <= 32)?,
        v6_prefix: None,
        mtu: MTU,
    })
}

fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const OURS: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn words_become_what_dom0_would_say() {
        let line = "log=debug uplink=10.0.2.15/24,10.0.2.2 client=anon,10.137.0.10/30,10.137.0.9,00:16:3e:5e:6c:01 \
                    client=b,10.137.0.14/30,10.137.0.13,00:16:3e:5e:6c:02,fd09:24ef:4179:2::/64";
        let uplink = uplink(line, OURS).unwrap().unwrap();
        assert_eq!((uplink.v4, uplink.v4_prefix, uplink.mac), (Ipv4Addr::new(10, 0, 2, 15), 24, OURS));
        assert_eq!(uplink.v4_gateway, Ipv4Addr::new(10, 0, 2, 2));
        let clients: Vec<_> = clients(line).map(Result::unwrap).collect();
        assert_eq!(clients.iter().map(|client| client.name.as_str()).collect::<Vec<_>>(), ["anon", "b"]);
        assert_eq!(clients[1].mac, [0, 0x16, 0x3E, 0x5E, 0x6C, 2]);
        assert_eq!(clients[0].v4_gateway, Ipv4Addr::new(10, 137, 0, 9));
        assert_eq!(clients[0].v6_prefix, None);
        assert_eq!(clients[1].v6_prefix, "fd09:24ef:4179:2::".parse().ok());
    }

    #[test]
    fn without_words_there_is_nobody() {
        assert_eq!(uplink("quiet", OURS), None);
        assert_eq!(clients("clients=1 xclient=2").count(), 0);
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        for word in ["10.0.2.15,10.0.2.2", "10.0.2.15/33,10.0.2.2", "10.0.2/24,10.0.2.2", "10.0.2.15/24", ""]
        {
            let line = alloc::format!("uplink={word}");
            assert_eq!(uplink(&line, OURS), Some(Err(BadWord(word))));
        }
        for word in [
            "a,10.0.0.2/30,10.0.0.1",
            "a,10.0.0.2/30,10.0.0.1,1:2:3:4:5:6",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05:06:07",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05:06,x",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05:06,fd00::",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05:06,fd00::/63",
            "a,10.0.0.2/30,10.0.0.1,01:02:03:04:05:06,fd00::/64,",
        ] {
            let line = alloc::format!("client={word}");
            assert_eq!(clients(&line).collect::<Vec<_>>(), [Err(BadWord(word))]);
        }
    }
}
