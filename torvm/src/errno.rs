//! Why a system call failed, as Linux numbers it (x86-64, `errno-base.h`, `errno.h`).

/// An error number; always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        impl Errno {
            $(#[doc = $what] pub const $name: Self = Self($number);)*
        }
    };
}

errnos! {
    PERM = 1, "Not permitted.";
    NOENT = 2, "No such file.";
    SRCH = 3, "No such process.";
    INTR = 4, "Interrupted.";
    IO = 5, "Input or output error.";
    BADF = 9, "Not an open descriptor.";
    CHILD = 10, "No child.";
    AGAIN = 11, "Try again.";
    NOMEM = 12, "No memory.";
    ACCES = 13, "Not allowed.";
    FAULT = 14, "Bad address.";
    BUSY = 16, "In use.";
    EXIST = 17, "Exists.";
    XDEV = 18, "Another file system.";
    NODEV = 19, "The object cannot do this.";
    NOTDIR = 20, "Not a directory.";
    ISDIR = 21, "A directory.";
    INVAL = 22, "Invalid argument.";
    NFILE = 23, "Too many objects.";
    MFILE = 24, "Too many descriptors.";
    NOTTY = 25, "Not a terminal.";
    FBIG = 27, "File too big.";
    NOSPC = 28, "No space.";
    SPIPE = 29, "Not seekable.";
    ROFS = 30, "Read-only.";
    PIPE = 32, "Nobody reads.";
    RANGE = 34, "Too small for the answer.";
    NAMETOOLONG = 36, "Name too long.";
    NOSYS = 38, "No such system call.";
    NOTEMPTY = 39, "Directory not empty.";
    LOOP = 40, "Too many links.";
    OVERFLOW = 75, "Too large for its type.";
    NOTSOCK = 88, "Not a socket.";
    DESTADDRREQ = 89, "No destination.";
    MSGSIZE = 90, "Message too long.";
    PROTOTYPE = 91, "Wrong protocol type.";
    NOPROTOOPT = 92, "No such option.";
    PROTONOSUPPORT = 93, "No such protocol.";
    OPNOTSUPP = 95, "Not supported.";
    AFNOSUPPORT = 97, "No such address family.";
    ADDRINUSE = 98, "Address in use.";
    ADDRNOTAVAIL = 99, "No such address here.";
    NETDOWN = 100, "The network is down.";
    NETUNREACH = 101, "The network is unreachable.";
    CONNABORTED = 103, "Connection aborted.";
    CONNRESET = 104, "Connection reset.";
    NOBUFS = 105, "No buffers.";
    ISCONN = 106, "Connected already.";
    NOTCONN = 107, "Not connected.";
    TIMEDOUT = 110, "Timed out.";
    CONNREFUSED = 111, "Refused.";
    HOSTUNREACH = 113, "The host is unreachable.";
    ALREADY = 114, "Under way already.";
    INPROGRESS = 115, "Under way.";
}

impl Errno {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What a failing call returns: the negative number.
    #[must_use]
    pub const fn answer(self) -> i64 {
        -(self.0 as i64)
    }
}
