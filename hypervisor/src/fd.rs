//! Descriptors between the types of the libraries in use.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use vmm_sys_util::eventfd::EventFd;

/// Views an eventfd as a borrowed descriptor.
#[must_use]
pub fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the eventfd owns the descriptor and outlives the borrow, which carries its lifetime.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// Takes a received descriptor as an eventfd. Whether it is one shows at first use: every use handles the
/// error, and KVM refuses anything else.
#[must_use]
pub fn into_event(fd: OwnedFd) -> EventFd {
    // SAFETY: ownership of the descriptor moves from `fd` to the eventfd; nothing else refers to it.
    unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) }
}

/// Takes a descriptor that the parent process left open for us under this number.
///
/// # Errors
/// When no such descriptor is open.
pub fn inherit(number: i32) -> std::io::Result<OwnedFd> {
    if number < 0 {
        return Err(std::io::Error::from_raw_os_error(9));
    }
    // SAFETY: only `dup`ed below, and `dup` checks that the number is an open descriptor.
    let theirs = unsafe { BorrowedFd::borrow_raw(number) };
    theirs.try_clone_to_owned()
}
