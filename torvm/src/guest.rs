//! What the domain as a whole asks of its two halves: the program in its layer, and the networks.
//!
//! [`crate::torvm`] is written against these, so that it is tested without either.

use crate::calls::Outcome;
use crate::frames::PortFault;
use crate::processor::{Call, Trap};
use crate::time::Now;
use control::message::Client;
use heapless::String;

/// A reason in words, for dom0.
pub type Why = String<96>;

/// The gateway program in its layer, with the network beneath.
pub trait Guest {
    /// The network.
    type Network: Network;

    /// The network.
    fn network(&mut self) -> &mut Self::Network;

    /// Puts a configuration in place of the one before; the next start reads it.
    ///
    /// # Errors
    /// Why not, in words.
    fn configure(&mut self, text: &[u8], now: Now) -> Result<(), Why>;

    /// Loads the program and sets it up to begin. Nothing runs before.
    ///
    /// # Errors
    /// Why it cannot be started; there is no program then.
    fn start(&mut self, now: Now) -> Result<(), Why>;

    /// Ends the program: its connections are reset, nothing of it is left but its files.
    fn end(&mut self);

    /// Runs the program until it stops.
    fn run(&mut self) -> Trap;

    /// Answers a call, or says how long to wait before it is asked again.
    fn call(&mut self, call: &Call, now: Now) -> Outcome;

    /// Gives the program what its last call returned.
    fn answer(&mut self, value: i64);

    /// Sends to the program over its control stream: all of it or, with `false`, nothing.
    fn control_send(&mut self, bytes: &[u8]) -> bool;

    /// Receives what the program said over its control stream; 0 when there is nothing.
    fn control_receive(&mut self, out: &mut [u8]) -> usize;

    /// Tells every counter.
    fn counters(&self, tell: &mut dyn FnMut(&str, u64));
}

/// The networks: the uplink and the clients.
pub trait Network {
    /// A port that frames come and go by.
    type Port;

    /// What this domain is to the one above it; `false` when that is refused.
    fn set_uplink(&mut self, client: &Client) -> bool;

    /// Who stands behind a port; `false` when that is refused.
    fn set_client(&mut self, port: u8, client: &Client) -> bool;

    /// The client is gone for good.
    fn forget_client(&mut self, port: u8);

    /// A port came up, in place of what was there.
    fn attach(&mut self, port: u8, frames: Self::Port);

    /// A port is gone.
    fn detach(&mut self, port: u8);

    /// Takes and sends what there is; `true` when there was something.
    fn poll(&mut self, now: Now) -> bool;

    /// When it is to be polled again without anything having happened (microseconds).
    fn poll_at(&mut self, now: Now) -> Option<u64>;

    /// Arms every port's doorbell; `false` when there is something to do already.
    fn arm(&mut self) -> bool;

    /// A port whose peer broke the protocol, and which was taken away for that.
    fn take_fault(&mut self) -> Option<(u8, PortFault)> {
        None
    }

    /// Tells every counter.
    fn counters(&self, tell: &mut dyn FnMut(&str, u64)) {
        let _ = tell;
    }
}
