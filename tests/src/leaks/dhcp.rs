//! DHCP of the card itself: its hardware address and nothing else that would tell who asks.

use super::{Cable, Cause, Verdict, Way};

const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the hardware address stands, in a field of sixteen bytes.
const HARDWARE: std::ops::Range<usize> = 28..44;
/// Server name and boot file name.
const NAMES: std::ops::Range<usize> = 44..FIXED;

const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const LONGEST: u8 = 57;
const CLIENT: u8 = 61;
const END: u8 = 255;

pub(super) fn explain(cable: &Cable, way: Way, message: &[u8]) -> Verdict {
    let (fixed, options) = message.split_at_checked(FIXED).ok_or("DHCP message cut short")?;
    let options = options.strip_prefix(&COOKIE).ok_or("BOOTP without DHCP")?;
    let expected = [if way == Way::Out { 1 } else { 2 }, 1, 6, 0];
    if fixed[..4] != expected {
        return Err("DHCP: neither a question of ours nor an answer".to_owned());
    }
    if fixed[HARDWARE][..6] != cable.card || fixed[HARDWARE][6..].iter().any(|byte| *byte != 0) {
        return Err("DHCP for another hardware address".to_owned());
    }
    if way == Way::Out {
        if fixed[NAMES].iter().any(|byte| *byte != 0) {
            return Err("DHCP with a name in it".to_owned());
        }
        let mut rest = options;
        while let Some((code, body, behind)) = next(rest)? {
            allowed(cable, code, body)?;
            rest = behind;
        }
    }
    Ok(Cause::Dhcp)
}

type Option3<'m> = Option<(u8, &'m [u8], &'m [u8])>;

/// The next option and what follows; `None` at the end, behind which there may be zeros only.
fn next(options: &[u8]) -> Result<Option3<'_>, String> {
    match options {
        [END, rest @ ..] if rest.iter().all(|byte| *byte == 0) => Ok(None),
        [END, ..] => Err("DHCP: bytes behind the last option".to_owned()),
        [code, length, rest @ ..] if *code != 0 => {
            let (body, behind) =
                rest.split_at_checked(usize::from(*length)).ok_or("DHCP option cut short")?;
            Ok(Some((*code, body, behind)))
        }
        _ => Err("DHCP options without an end".to_owned()),
    }
}

fn allowed(cable: &Cable, code: u8, body: &[u8]) -> Result<(), String> {
    let plain = match code {
        MESSAGE_TYPE => matches!(body, [1 | 3 | 7]),
        CLIENT => body.split_first() == Some((&1, &cable.card[..])),
        REQUESTED_ADDRESS => body == cable.address.octets(),
        SERVER => body.len() == 4,
        // Subnet mask, router, name servers.
        PARAMETERS => body == [1, 3, 6],
        LONGEST => body.len() == 2,
        _ => false,
    };
    if plain { Ok(()) } else { Err(format!("DHCP option {code}: {:?}", String::from_utf8_lossy(body))) }
}
