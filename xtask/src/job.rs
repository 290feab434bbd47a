//! Runs one command inside a lab machine: streams its output, returns its exit status, ends the machine.

use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Channels between the machine's init and this program, each a Unix socket in the run directory.
pub(crate) const PORTS: [&str; 3] = ["out", "err", "control"];

/// Status of a job that took too long, as `timeout(1)` has it.
pub(crate) const TIMED_OUT: u8 = 124;

/// What becomes of a line that the job writes.
pub(crate) type Sink = Box<dyn Write + Send>;

/// A job for a machine.
pub(crate) struct Job {
    /// Shell script.
    pub(crate) script: String,
    /// Time allowed, from the machine's power-on.
    pub(crate) timeout: Option<Duration>,
    /// Takes the job's standard output.
    pub(crate) out: Sink,
    /// Takes the job's standard error.
    pub(crate) err: Sink,
}

enum News {
    Exit(u8),
    ControlClosed,
}

/// Boots `machine`, runs `job` in it and returns the job's exit status.
///
/// # Errors
/// When the machine does not start, or ends without the job having ended: the message has the last lines
/// of its console.
pub(crate) fn run(machine: &Machine, job: Job) -> Result<u8> {
    fs::write(machine.run_dir.join("job"), &job.script)?;
    if machine.interactive {
        fs::write(machine.run_dir.join("interactive"), terminal_size())?;
    }
    let [out, err, control] = PORTS.map(|port| listen(&machine.run_dir, port));
    let (out, err, control) = (out?, err?, control?);
    let mut qemu = machine
        .command()
        .spawn()
        .context("cannot start QEMU; install it with `sudo apt-get install qemu-system-x86`")?;
    let (news, heard) = mpsc::channel();
    let copies = [copy(out, job.out), copy(err, job.err)];
    thread::spawn(move || hear(&control, &news));
    let outcome = wait(&mut qemu, &heard, job.timeout);
    let _ = qemu.kill();
    let _ = qemu.wait();
    if let Outcome::Exit(_) | Outcome::TimedOut = outcome {
        for copy in copies {
            let _ = copy.join();
        }
    }
    match outcome {
        Outcome::Exit(status) => Ok(status),
        Outcome::TimedOut => {
            let limit = job.timeout.unwrap_or_default().as_secs();
            crate::progress::note(&format!("the job did not end within {limit} s; machine stopped"));
            Ok(TIMED_OUT)
        }
        Outcome::Gone(status) => bail!(
            "the lab machine ended before its job did ({status}); its console said:\n{}",
            tail(&machine.console_log())
        ),
    }
}

enum Outcome {
    Exit(u8),
    TimedOut,
    Gone(ExitStatus),
}

fn wait(qemu: &mut Child, heard: &mpsc::Receiver<News>, timeout: Option<Duration>) -> Outcome {
    let begun = Instant::now();
    let mut listening = true;
    loop {
        let pause = Duration::from_millis(200);
        match listening.then(|| heard.recv_timeout(pause)) {
            Some(Ok(News::Exit(status))) => return Outcome::Exit(status),
            Some(Ok(News::ControlClosed) | Err(mpsc::RecvTimeoutError::Disconnected)) => listening = false,
            Some(Err(mpsc::RecvTimeoutError::Timeout)) => {}
            None => thread::sleep(pause),
        }
        if let Ok(Some(status)) = qemu.try_wait() {
            // The last word may still be on its way.
            if let Ok(News::Exit(status)) = heard.recv_timeout(pause) {
                return Outcome::Exit(status);
            }
            return Outcome::Gone(status);
        }
        if timeout.is_some_and(|limit| begun.elapsed() > limit) {
            return Outcome::TimedOut;
        }
    }
}

fn listen(run_dir: &Path, port: &str) -> Result<UnixListener> {
    let path = run_dir.join(port);
    UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

fn copy(listener: UnixListener, mut sink: Sink) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        drop(listener);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let written = sink.write_all(&buffer[..length]).and_then(|()| sink.flush());
            if written.is_err() {
                return;
            }
        }
    })
}

/// Reads what init has to say: `exit N`.
fn hear(listener: &UnixListener, news: &mpsc::Sender<News>) {
    let Ok((stream, _)) = listener.accept() else { return };
    for line in BufReader::<UnixStream>::new(stream).lines().map_while(Result::ok) {
        let status = line.strip_prefix("exit ").and_then(|status| status.trim().parse().ok());
        if let Some(status) = status {
            let _ = news.send(News::Exit(status));
        }
    }
    let _ = news.send(News::ControlClosed);
}

/// Last lines of a console log, without the screen control that firmware writes.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(printable).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn printable(line: &str) -> String {
    line.chars().filter(|&character| character == '\t' || !character.is_control()).collect()
}

/// Arguments for `stty` inside, so that full-screen programs fit.
fn terminal_size() -> String {
    match rustix::termios::tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_row > 0 => format!("rows {} cols {}\n", size.ws_row, size.ws_col),
        _ => "sane\n".to_owned(),
    }
}
