//! The layer, as the domain as a whole sees it.

use super::Layer;
use crate::calls::Outcome;
use crate::disk::Disk;
use crate::guest::{Guest, Network, Why};
use crate::loader::Invocation;
use crate::processor::{Call, Processor, Trap};
use crate::sockets::Sockets;
use crate::time::Now;
use core::fmt::Write;

const CONFIGURATION: &[u8] = b"/etc/gateway.toml";
const INVOCATION: Invocation<'_> = Invocation {
    path: b"/gateway",
    arguments: &[b"/gateway", b"--config", CONFIGURATION, b"--control-fd", b"3"],
    environment: &[b"HOME=/state", b"PATH=/"],
};

impl<P: Processor, S: Sockets + Network, D: Disk> Guest for Layer<P, S, D> {
    type Network = S;

    fn network(&mut self) -> &mut S {
        &mut self.sockets
    }

    fn configure(&mut self, text: &[u8], now: Now) -> Result<(), Why> {
        self.put_file(CONFIGURATION, text, now)
            .map_err(|errno| why(format_args!("no room for the configuration (error {})", errno.number())))
    }

    fn start(&mut self, _: Now) -> Result<(), Why> {
        self.start_program(&INVOCATION).map_err(|fault| why(format_args!("{fault}")))
    }

    fn end(&mut self) {
        self.end_program();
    }

    fn run(&mut self) -> Trap {
        self.processor.run()
    }

    fn call(&mut self, call: &Call, now: Now) -> Outcome {
        self.answer_to(call, now)
    }

    fn answer(&mut self, value: i64) {
        self.processor.answer(value);
    }

    fn control_send(&mut self, bytes: &[u8]) -> bool {
        self.send_control(bytes)
    }

    fn control_receive(&mut self, out: &mut [u8]) -> usize {
        self.receive_control(out)
    }

    fn counters(&self, tell: &mut dyn FnMut(&str, u64)) {
        self.tell_counters(tell);
        self.sockets.counters(tell);
    }
}

/// A reason, cut off where there is no more room.
fn why(text: core::fmt::Arguments<'_>) -> Why {
    let mut out = Why::new();
    // What there is of it then says enough.
    let _ = out.write_fmt(text);
    out
}
