//! The program under test, with dom0's end of its control socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control::codec::{self, MAX_LEN};
use control::tor::{Circuit, DocumentKind, GatewayCommand, GatewayReport, Status};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(240);

/// A running program; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    socket: UnixStream,
}

impl Program {
    /// Starts it; its control socket is its standard input.
    pub(crate) fn start(config: &Path) -> Self {
        let (socket, its) = UnixStream::pair().expect("sockets");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .arg("--config")
            .arg(config)
            .args(["--control-fd", "0"])
            .stdin(Stdio::from(OwnedFd::from(its)));
        let mut program = Self { child: command.spawn().expect("the program"), socket };
        let first = program.next();
        assert!(matches!(first, GatewayReport::Started { .. }), "{first:?}");
        program
    }

    /// A line of what the kernel knows of its memory, in KiB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
        line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
    }

    /// The next report.
    pub(crate) fn next(&mut self) -> GatewayReport {
        let mut len = [0; 2];
        self.socket.read_exact(&mut len).expect("a report");
        let mut frame = vec![0; u16::from_le_bytes(len).into()];
        self.socket.read_exact(&mut frame).expect("a whole report");
        codec::decode(&frame).expect("a report")
    }

    /// The next report that is meant.
    pub(crate) fn wait(&mut self, meant: impl Fn(&GatewayReport) -> bool) -> GatewayReport {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let report = self.next();
            if meant(&report) {
                return report;
            }
        }
        panic!("no such report");
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, command: &GatewayCommand) {
        let mut buffer = [0; MAX_LEN];
        let bytes = codec::encode(command, &mut buffer).expect("fits");
        let len = u16::try_from(bytes.len()).expect("short").to_le_bytes();
        self.socket.write_all(&[&len, bytes].concat()).expect("sent");
    }

    /// Waits until it says unasked that it is ready.
    pub(crate) fn wait_until_ready(&mut self) {
        let mut last = 0;
        loop {
            let report = self.wait(|report| matches!(report, GatewayReport::Status(_)));
            let GatewayReport::Status(status) = report else { continue };
            last = last.max(status.percent);
            if status.ready {
                assert!(last == 100 && status.consensus.is_some(), "{status:?}");
                return;
            }
        }
    }

    /// Its status now.
    pub(crate) fn status(&mut self) -> Status {
        self.send(&GatewayCommand::GetStatus);
        match self.wait(|report| matches!(report, GatewayReport::Status(_))) {
            GatewayReport::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until clients have so many streams.
    pub(crate) fn wait_for_streams(&mut self, number: u32) {
        let start = Instant::now();
        while self.status().streams != number {
            assert!(start.elapsed() < LIMIT, "not {number} streams");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The next whole document of this kind, with its generation.
    pub(crate) fn document(&mut self, meant: DocumentKind) -> (u32, String) {
        let mut whole = Vec::new();
        loop {
            let report =
                self.wait(|report| matches!(report, GatewayReport::Document { kind, .. } if *kind == meant));
            let GatewayReport::Document { generation, total, offset, bytes, .. } = report else { continue };
            assert_eq!(offset as usize, whole.len());
            whole.extend_from_slice(&bytes);
            if whole.len() == total as usize {
                return (generation, String::from_utf8(whole).expect("text"));
            }
        }
    }

    /// The circuits, once they carry so many streams.
    pub(crate) fn circuits(&mut self, streams: u32) -> Vec<Circuit> {
        let start = Instant::now();
        loop {
            self.send(&GatewayCommand::GetCircuits);
            let mut all = Vec::new();
            loop {
                let page = self.wait(|report| matches!(report, GatewayReport::Circuits { .. }));
                let GatewayReport::Circuits { circuits, more } = page else { continue };
                all.extend(circuits);
                if !more {
                    break;
                }
            }
            if all.iter().map(|circuit| circuit.streams).sum::<u32>() == streams {
                return all;
            }
            assert!(start.elapsed() < LIMIT, "not {streams} streams: {all:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whose identity is new after a command, and how many streams were cut.
    pub(crate) fn new_identity(&mut self, command: &GatewayCommand) -> (Option<Ipv4Addr>, u32) {
        self.send(command);
        match self.wait(|report| matches!(report, GatewayReport::NewIdentity { .. })) {
            GatewayReport::NewIdentity { client, closed } => (client, closed),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        let _ = self.child.wait();
        self.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
        let mut rest = Vec::new();
        if let Err(e) = self.socket.read_to_end(&mut rest) {
            assert!([ErrorKind::ConnectionReset, ErrorKind::WouldBlock].contains(&e.kind()), "{e}");
        }
    }
}
