//! The networks, as the domain as a whole sees them.

use super::Net;
use crate::frames::{Frames, PortFault};
use crate::guest::Network;
use crate::time::Now;
use control::message::Client;

impl<F: Frames> Network for Net<F> {
    type Port = F;

    fn set_uplink(&mut self, client: &Client) -> bool {
        Self::set_uplink(self, client)
    }

    fn set_client(&mut self, port: u8, client: &Client) -> bool {
        Self::set_client(self, port, client)
    }

    fn forget_client(&mut self, port: u8) {
        Self::forget_client(self, port);
    }

    fn attach(&mut self, port: u8, frames: F) {
        if !Self::attach(self, port, frames) {
            log::warn!("port {port}: nobody's");
        }
    }

    fn detach(&mut self, port: u8) {
        Self::detach(self, port);
    }

    fn poll(&mut self, now: Now) -> bool {
        Self::poll(self, now.us)
    }

    fn poll_at(&mut self, _: Now) -> Option<u64> {
        Self::poll_at(self)
    }

    fn arm(&mut self) -> bool {
        Self::arm(self)
    }

    fn take_fault(&mut self) -> Option<(u8, PortFault)> {
        Self::take_fault(self)
    }

    fn counters(&self, tell: &mut dyn FnMut(&str, u64)) {
        Self::counters(self).for_each(|(name, value)| tell(name, value));
    }
}
