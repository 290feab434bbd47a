//! Opens a tap device of this machine, for a netvm without a network card of its own.
//!
//! `unsafe` is allowed in this file alone: rustix has no TUNSETIFF.
#![expect(unsafe_code, reason = "TUNSETIFF")]

use crate::problem::Problem;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Setter, ioctl, opcode};

/// `TUNSETIFF` of `linux/if_tun.h`.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;

/// `struct ifreq` with `ifr_flags`.
#[repr(C)]
struct Ifreq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Ifreq>() == 40);

/// Opens the tap device `name`, creating it if it is not there.
///
/// # Errors
/// Says what the kernel refused.
pub fn open(name: &str) -> Result<OwnedFd, Problem> {
    let fail = |e: rustix::io::Errno| {
        let remedy = "load the module tun and run bulkheadd as root, or assign a network card instead";
        Problem::new(format!("tap device {name}"), format!("cannot be opened: {e}"), remedy)
    };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(fail)?;
    let mut request = Ifreq { name: [0; 16], flags: FLAGS, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads one `struct ifreq`, whose layout `Ifreq` has.
    unsafe { ioctl(&fd, Setter::<TUNSETIFF, Ifreq>::new(request)) }.map_err(fail)?;
    Ok(fd)
}
