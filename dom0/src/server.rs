//! The daemon's socket: takes one request per connection to the supervisor and its answers back.
//!
//! Who may connect is decided by the socket's mode: its owner, and the group `bulkhead` where there is one.
//! What they send is bounded and typed, and a connection that stalls is closed.

use crate::enclosed;
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, Request};
use crate::supervise::Input;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Gid, Mode};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, channel};
use std::time::Duration;
use vmm_api::wire;

/// Connections at most at once.
const MAX_CONNECTIONS: usize = 64;
/// A client sends its request, and takes each answer, within this.
const STALL: Duration = Duration::from_secs(30);
/// The group whose members may use the daemon.
const GROUP: &str = "bulkhead";

/// The daemon's place in a runtime directory: the lock that makes it the only one, and its socket.
#[derive(Debug)]
pub struct Server {
    socket: OwnedFd,
    _lock: File,
}

impl Server {
    /// Takes the place.
    ///
    /// # Errors
    /// When there is a daemon already, or the directory cannot be used.
    pub fn open(runtime_dir: &Path) -> Result<Self, Problem> {
        let fail = |why: String, remedy: &str| Problem::new(runtime_dir.display().to_string(), why, remedy);
        let unusable = |e: io::Error| {
            fail(format!("cannot be used: {e}"), "run bulkheadd as root, or give --runtime-dir")
        };
        std::fs::create_dir_all(runtime_dir).map_err(unusable)?;
        let lock = lock_file(&runtime_dir.join("bulkheadd.lock")).map_err(unusable)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| fail("another bulkheadd is running here".into(), "stop it first"))?;
        let path = crate::settings::socket_in(runtime_dir);
        let socket = listen_at(&path).map_err(|e| unusable(e.into()))?;
        Ok(Self { socket, _lock: lock })
    }

    /// Serves until the supervisor is gone; run it in a thread of its own.
    ///
    /// # Errors
    /// When no connection can be accepted any more.
    pub fn serve(&self, supervisor: &SyncSender<Input>) -> io::Result<()> {
        let slots = Arc::new(());
        loop {
            let connection = match accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(connection) => connection,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(e) => return Err(e.into()),
            };
            if Arc::strong_count(&slots) > MAX_CONNECTIONS {
                continue;
            }
            let (slot, supervisor) = (Arc::clone(&slots), supervisor.clone());
            std::thread::Builder::new().name("client".into()).spawn(move || {
                let _slot = slot;
                if let Err(e) = converse(&connection, &supervisor) {
                    tracing::debug!("client: {e}");
                }
            })?;
        }
    }
}

/// Opens the lock, which nobody else may open: whoever can may hold it, and the daemon would never start again.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Listens at `path`, which appears when connections are taken and with its final mode.
fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    let beside = path.with_extension("new");
    match rustix::fs::unlink(&beside) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // The name gets the mode that the socket has: no other thread's files are changed, as they were by the umask.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    bind(&socket, &SocketAddrUnix::new(&beside)?)?;
    if let Some(gid) = group() {
        rustix::fs::chown(&beside, None, Some(gid))?;
        rustix::fs::chmod(&beside, Mode::from_raw_mode(0o660))?;
    }
    listen(&socket, 16)?;
    rustix::fs::rename(&beside, path)?;
    Ok(socket)
}

/// The group [`GROUP`], if this machine has it and this process may give files to it.
fn group() -> Option<Gid> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find_map(|l| l.strip_prefix(GROUP)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok().map(Gid::from_raw)
}

fn converse(connection: &OwnedFd, supervisor: &SyncSender<Input>) -> Result<(), wire::WireError> {
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(connection, timeout, Some(STALL))?;
    }
    let (request, fds) = wire::recv::<Request>(connection)?;
    let text = match enclosed_text(&request, &fds) {
        Ok(text) => text,
        Err(problem) => return wire::send(connection, &Answer::Failed(Problems::from(problem)), &[]),
    };
    drop(fds);
    let (reply, answers) = channel();
    if supervisor.send(Input::Request(request, text, reply)).is_err() {
        return Err(wire::WireError::Closed);
    }
    for (answer, stream) in answers {
        let fds: Vec<_> = stream.iter().map(AsFd::as_fd).collect();
        wire::send(connection, &answer, &fds)?;
    }
    Ok(())
}

/// The text that comes with some requests, read here so that nobody keeps the supervisor waiting.
fn enclosed_text(request: &Request, fds: &[OwnedFd]) -> Result<Option<String>, Problem> {
    let Request::RulesInstall { domain, .. } = request else { return Ok(None) };
    let text = enclosed::take_first(fds);
    text.map(Some).map_err(|why| Problem::new(domain.to_string(), why, "enclose the text of the rules"))
}

/// Connects to the daemon.
///
/// # Errors
/// When there is none, or it may not be used.
pub fn dial(runtime_dir: &Path) -> Result<OwnedFd, Problem> {
    let path = crate::settings::socket_in(runtime_dir);
    let dial = || -> Result<OwnedFd, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(&path)?)?;
        Ok(socket)
    };
    dial().map_err(|e| {
        let (why, remedy) = match e {
            Errno::NOENT | Errno::CONNREFUSED => ("the daemon is not running", "start bulkheadd"),
            Errno::ACCESS => ("you may not use the daemon", "become root, or a member of the group bulkhead"),
            _ => ("the daemon cannot be reached", "look whether bulkheadd is running"),
        };
        Problem::new(path.display().to_string(), format!("{why} ({e})"), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_hold_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bulkheadd.lock");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let server = Server::open(directory.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Server::open(directory.path()).unwrap_err();
        assert!(again.why.contains("another bulkheadd"), "{again}");
        let socket = crate::settings::socket_in(directory.path());
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if group().is_some() { 0o660 } else { 0o600 });
        drop(server);
        // A process that another test has just started may hold a copy until it runs its program.
        let start = std::time::Instant::now();
        while let Err(problem) = Server::open(directory.path()) {
            assert!(start.elapsed() < std::time::Duration::from_secs(60), "{problem}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
