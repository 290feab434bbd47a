//! Network namespaces of the test's own, each as long as the process that holds it.

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// A namespace.
pub(crate) struct Namespace {
    holder: Child,
    file: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("setpriv");
        holder.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "sh", "-c", "echo; exec sleep 86400"]);
        let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let file = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, file }
    }

    /// Takes an interface of the namespace that this program is in.
    pub(crate) fn take(&self, interface: &str) {
        let pid = self.holder.id().to_string();
        let moved = Command::new("ip").args(["link", "set", interface, "netns", &pid]).status().unwrap();
        assert!(moved.success(), "{interface} cannot be moved");
    }

    /// Lines of `ip`'s language; all must succeed.
    pub(crate) fn ip(&self, lines: &str) {
        self.tell("ip", &["-batch", "-"], lines);
    }

    /// Runs a program with this input; it must succeed.
    pub(crate) fn tell(&self, program: &str, arguments: &[&str], input: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.holder.id().to_string(), program]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{program}: {}\n{input}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs a part of the test in it: a thread of its own comes and goes with the body.
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into(&self.file);
                body()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread in it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let file = self.file.try_clone().unwrap();
        std::thread::spawn(move || {
            move_into(&file);
            body()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn move_into(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}
