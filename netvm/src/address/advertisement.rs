//! The options of a router advertisement, of which smoltcp's own reading keeps only one prefix and no name servers.

use smoltcp::wire::{NdiscOption, NdiscOptionRepr, NdiscPrefixInformation};

/// Options looked at in one advertisement.
const MAX_OPTIONS: usize = 32;
/// Recursive DNS server (RFC 8106 §5.1).
const OPTION_RDNSS: u8 = 25;

/// The options of an advertisement that matter.
pub(crate) enum RaOption<'o> {
    /// A prefix to make an address from.
    Prefix(NdiscPrefixInformation),
    /// Largest packet on the segment.
    Mtu(u32),
    /// Body of a name server option, from its reserved field on.
    Dns(&'o [u8]),
}

/// Walks the options; stops at the first that is malformed.
pub(crate) fn options(mut bytes: &[u8]) -> impl Iterator<Item = RaOption<'_>> {
    let walk = core::iter::from_fn(move || {
        let len = usize::from(*bytes.get(1)?) * 8;
        let (option, rest) = bytes.split_at_checked(len).filter(|_| len > 0)?;
        bytes = rest;
        Some(option)
    });
    walk.take(MAX_OPTIONS).filter_map(|option| {
        if option.first() == Some(&OPTION_RDNSS) {
            return option.get(2..).map(RaOption::Dns);
        }
        match NdiscOptionRepr::parse(&NdiscOption::new_checked(option).ok()?).ok()? {
            NdiscOptionRepr::PrefixInformation(prefix) => Some(RaOption::Prefix(prefix)),
            NdiscOptionRepr::Mtu(mtu) => Some(RaOption::Mtu(mtu)),
            _ => None,
        }
    })
}
