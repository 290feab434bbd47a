//! Listening on `AF_VSOCK`, which rustix has no address type for. `unsafe` is allowed here and in `terminal`.
#![expect(unsafe_code, reason = "a socket address that rustix does not know")]

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, listen, socket_with,
};

/// Address of the host.
pub const HOST: u32 = 2;
/// Any address of this machine.
const ANY: u32 = u32::MAX;

/// `struct sockaddr_vm` of `linux/vm_sockets.h`.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

const _: () = assert!(size_of::<Address>() == 16);

// SAFETY: the closure gets a pointer to a whole `struct sockaddr_vm`, readable for its length during the call.
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), 16)
    }
}

/// Listens on a port.
///
/// # Errors
/// What the kernel says; `EAFNOSUPPORT` without vsock.
pub fn listen_on(port: u32) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let family = AddressFamily::VSOCK.as_raw();
    bind(&socket, &Address { family, reserved: 0, port, cid: ANY, zero: [0; 4] })?;
    listen(&socket, 16)?;
    Ok(socket)
}

/// Accepts the next connection that comes from the host; others are closed.
///
/// # Errors
/// What the kernel says.
pub fn accept_from_host(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    loop {
        match acceptfrom_with(&listener, SocketFlags::CLOEXEC) {
            Ok((socket, Some(peer))) if cid(&peer) == Some(HOST) => return Ok(socket),
            Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(e) => return Err(e),
        }
    }
}

fn cid(peer: &SocketAddrAny) -> Option<u32> {
    if peer.address_family() != AddressFamily::VSOCK || peer.addr_len() < 16 {
        return None;
    }
    let address: *const Address = peer.as_ptr().cast();
    // SAFETY: the family says that this is a `struct sockaddr_vm`, and all of it is there; the read needs no
    // alignment.
    Some(unsafe { address.read_unaligned() }.cid)
}
