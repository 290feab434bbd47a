//! Which client a port of the uplink's address is forwarded to.

use super::assembly::{NO_MEMORY, Refused};
use alloc::vec::Vec;
use packet::ipv4::{TCP, UDP};
use rules_program::{Program, policy::Protocols};

/// Most of the ports that address translation hands out which may be forwarded: it has to find free ones.
const MOST: usize = 32_256;
/// First port that address translation hands out.
const FIRST: u16 = 1024;

/// Ports that go to one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    protocol: u8,
    first: u16,
    last: u16,
    link: u8,
}

/// All forwarded ports: ranges in order, none of which touches another's ports.
#[derive(Debug, Default)]
pub struct Forwards(Vec<Range>);

impl Forwards {
    /// The client that a port goes to.
    #[must_use]
    pub fn client(&self, protocol: u8, port: u16) -> Option<u8> {
        let behind = self.0.partition_point(|range| (range.protocol, range.first) <= (protocol, port));
        let range = self.0.get(behind.checked_sub(1)?)?;
        (range.protocol == protocol && port <= range.last).then_some(range.link)
    }

    /// The same with the ports of one client's new program in place of the old one's.
    ///
    /// # Errors
    /// [`Refused`] when another client has one of the ports already.
    pub(super) fn with(&self, link: u8, program: &Program) -> Result<Self, Refused> {
        let mut ranges: Vec<Range> = Vec::new();
        let count = self.0.len() + 2 * program.forwards().count();
        ranges.try_reserve_exact(count).map_err(|_| NO_MEMORY)?;
        ranges.extend(self.0.iter().filter(|range| range.link != link));
        for (_, protocols, ports) in program.forwards() {
            for (set, protocol) in [(Protocols::TCP, TCP), (Protocols::UDP, UDP)] {
                if protocols.contains(set) {
                    ranges.push(Range { protocol, first: ports.first, last: ports.last, link });
                }
            }
        }
        ranges.sort_unstable();
        let mut joined: Vec<Range> = Vec::new();
        joined.try_reserve_exact(ranges.len()).map_err(|_| NO_MEMORY)?;
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.protocol == range.protocol && range.first <= last.last => {
                    if last.link != range.link {
                        return Err(Refused::Answer("a port is forwarded to another client already"));
                    }
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        let forwards = Self(joined);
        if [TCP, UDP].into_iter().any(|protocol| forwards.taken(protocol) > MOST) {
            return Err(Refused::Answer("more ports are forwarded than may be"));
        }
        Ok(forwards)
    }

    /// Ports that address translation cannot hand out.
    fn taken(&self, protocol: u8) -> usize {
        let of_protocol = self.0.iter().filter(|range| range.protocol == protocol && range.last >= FIRST);
        of_protocol.map(|range| usize::from(range.last - range.first.max(FIRST)) + 1).sum()
    }

    /// Forgets a client's ports.
    pub(super) fn forget(&mut self, link: u8) {
        self.0.retain(|range| range.link != link);
    }
}
