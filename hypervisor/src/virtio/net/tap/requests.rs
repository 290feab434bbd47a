//! Requests to the kernel's tap driver. The only `unsafe` of the tap.

use std::ffi::{c_int, c_short, c_uint};
use std::fs::File;
use std::io;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr};

const TUNTAP: c_uint = 0x54;
ioctl_iow_nr!(TUNSETIFF, TUNTAP, 202, c_int);
ioctl_iow_nr!(TUNSETOFFLOAD, TUNTAP, 208, c_uint);
ioctl_ior_nr!(TUNGETIFF, TUNTAP, 210, c_uint);
ioctl_iow_nr!(TUNSETVNETHDRSZ, TUNTAP, 216, c_int);

/// `IFF_TAP`: Ethernet frames.
pub(super) const TAP: c_short = 0x0002;
/// `IFF_NO_PI`: no protocol header before a frame.
pub(super) const NO_PI: c_short = 0x1000;
/// `IFF_VNET_HDR`: a virtio header before a frame.
pub(super) const VNET_HEADER: c_short = 0x4000;

/// `TUN_F_CSUM`.
pub(super) const OFFLOAD_CSUM: u32 = 1;
/// `TUN_F_TSO4`.
pub(super) const OFFLOAD_TSO4: u32 = 2;
/// `TUN_F_TSO6`.
pub(super) const OFFLOAD_TSO6: u32 = 4;

/// `struct ifreq` with flags.
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

const _: () = assert!(std::mem::size_of::<Interface>() == 40);

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Connects an open `/dev/net/tun` to an interface, which is made if it does not exist.
pub(super) fn connect(tun: &File, name: &[u8; 16]) -> io::Result<()> {
    let mut request = Interface { name: *name, flags: TAP | NO_PI | VNET_HEADER, rest: [0; 22] };
    // SAFETY: the request reads a `struct ifreq` and writes the name back into it; it lives until the call
    // returns.
    check(unsafe { ioctl_with_mut_ref(tun, TUNSETIFF(), &mut request) })
}

/// Flags of the interface that a tap is connected to.
pub(super) fn flags(tap: &File) -> io::Result<c_short> {
    let mut request = Interface { name: [0; 16], flags: 0, rest: [0; 22] };
    // SAFETY: the request fills a `struct ifreq`, which lives until the call returns.
    check(unsafe { ioctl_with_mut_ref(tap, TUNGETIFF(), &mut request) })?;
    Ok(request.flags)
}

/// Chooses the length of the header before each frame.
pub(super) fn set_header_len(tap: &File, len: c_int) -> io::Result<()> {
    // SAFETY: the request reads an `int`, which lives until the call returns.
    check(unsafe { ioctl_with_ref(tap, TUNSETVNETHDRSZ(), &len) })
}

/// Says what the reader of the tap takes from the host's network stack.
pub(super) fn set_offload(tap: &File, offload: u32) -> io::Result<()> {
    // SAFETY: the argument is a plain number.
    check(unsafe { ioctl_with_val(tap, TUNSETOFFLOAD(), offload.into()) })
}
