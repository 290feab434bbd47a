//! The networks between real peers: smoltcp's stack as AppVM and as relay, on links of queues.

mod leaks;
mod links;
mod refusals;
mod services;
mod streams;
mod v6;
mod world;
