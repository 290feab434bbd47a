//! Stand-ins for the machine, for tests: memory, a disk that fails and loses power, and sockets that reach each other.

pub mod bundle;
mod disk;
mod memory;
mod sockets;

pub use disk::FakeDisk;
pub use memory::FakeProcessor;
pub use sockets::FakeSockets;
