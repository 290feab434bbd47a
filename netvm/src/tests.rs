//! The whole library on a simulated segment with virtual time: a cable, a DHCP server, a router, firewallvm and
//! dom0 at the far ends of real links. Traffic is built and read by pnet, which shares no code with netvm.

mod addresses;
mod forwarding;
mod hostile;
mod segment;
mod world;
