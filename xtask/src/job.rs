//! Runs one command inside a lab machine: streams its output, returns its exit status, ends the machine.

use crate::machine::Machine;
use crate::terminal;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Channels between the machine's init and this program, each a Unix socket in the run directory.
pub(crate) const PORTS: [&str; 3] = ["out", "err", "control"];

/// The socket of the machine's terminal, hvc0.
pub(crate) const TERMINAL: &str = "terminal";

/// Status of a job that took too long, as `timeout(1)` has it.
pub(crate) const TIMED_OUT: u8 = 124;

/// How long a machine may take until its init begins the job: some seconds on an idle host. On emulated processors one in
/// many stops in the middle of its boot and never goes on.
const BOOT: Duration = Duration::from_secs(180);

/// Machines that are started for a job at most.
const BOOTS: u32 = 3;

/// Takes what the job writes.
pub(crate) type Sink = Box<dyn Write + Send>;

/// A job for a machine.
pub(crate) struct Job {
    /// Shell script.
    pub(crate) script: String,
    /// Whether the whole script runs on the user's terminal.
    pub(crate) on_terminal: bool,
    /// Time allowed, from the machine's power-on. Time on the terminal does not count.
    pub(crate) timeout: Option<Duration>,
    /// Takes the job's standard output.
    pub(crate) out: Sink,
    /// Takes the job's standard error.
    pub(crate) err: Sink,
}

/// What init says on the control port, a line each.
enum News {
    /// `booted`: the job begins.
    Booted,
    /// `exit N`: the job has ended.
    Exit(u8),
    /// `terminal on`: hand over the user's terminal.
    TerminalOn,
    /// `terminal off`: take it back.
    TerminalOff,
}

impl News {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "booted" => Some(Self::Booted),
            "terminal on" => Some(Self::TerminalOn),
            "terminal off" => Some(Self::TerminalOff),
            other => other.strip_prefix("exit ")?.parse().ok().map(Self::Exit),
        }
    }
}

/// Boots `machine`, runs `job` in it and returns the job's exit status. A machine that does not boot has begun nothing:
/// another one is started in its place.
///
/// # Errors
/// When the machine does not start or boot, or ends without the job having ended: the message has the last lines
/// of its console.
pub(crate) fn run(machine: &Machine, job: Job) -> Result<u8> {
    fs::write(machine.run_dir.join("job"), &job.script)?;
    fs::write(machine.run_dir.join("terminal-size"), terminal::size())?;
    if job.on_terminal {
        fs::write(machine.run_dir.join("on-terminal"), "")?;
    }
    let mut sinks = [job.out, job.err];
    let mut boots = 1;
    loop {
        let (outcome, copies) = power_on(machine, sinks, job.timeout)?;
        if matches!(outcome, Outcome::Asleep) && boots < BOOTS {
            let limit = BOOT.as_secs();
            crate::progress::note(&format!(
                "the lab machine did not boot within {limit} s; starting another"
            ));
            let [Ok(out), Ok(err)] = copies.map(JoinHandle::join) else { bail!("the lab's output is lost") };
            (sinks, boots) = ([out, err], boots + 1);
            continue;
        }
        // With QEMU gone both streams end; a port that was never opened has no stream to wait for.
        if !matches!(outcome, Outcome::Gone(_)) {
            for copy in copies {
                let _ = copy.join();
            }
        }
        return concluded(machine, &outcome, job.timeout);
    }
}

/// One machine, from power-on to its end; what copies its output gives the sinks back.
fn power_on(
    machine: &Machine,
    sinks: [Sink; 2],
    timeout: Option<Duration>,
) -> Result<(Outcome, [JoinHandle<Sink>; 2])> {
    let [out, err, control] = PORTS.map(|port| listen(&machine.run_dir, port));
    let (out, err, control) = (out?, err?, control?);
    let screen = listen(&machine.run_dir, TERMINAL)?;
    let mut qemu = machine
        .command()
        .spawn()
        .context("cannot start QEMU; install it with `sudo apt-get install qemu-system-x86`")?;
    let (news, heard) = mpsc::channel();
    let [to_out, to_err] = sinks;
    let copies = [copy(out, to_out), copy(err, to_err)];
    thread::spawn(move || hear(&control, &news));
    let outcome = Watch { qemu: &mut qemu, heard, screen, timeout }.wait();
    let _ = qemu.kill();
    let _ = qemu.wait();
    Ok((outcome, copies))
}

fn concluded(machine: &Machine, outcome: &Outcome, timeout: Option<Duration>) -> Result<u8> {
    let console = tail(&machine.console_log());
    match outcome {
        Outcome::Exit(status) => Ok(*status),
        Outcome::TimedOut => {
            let limit = timeout.unwrap_or_default().as_secs();
            let console =
                if console.is_empty() { console } else { format!("; its console said:\n{console}") };
            crate::progress::note(&format!("the job did not end within {limit} s; machine stopped{console}"));
            Ok(TIMED_OUT)
        }
        Outcome::Asleep => {
            let limit = BOOT.as_secs();
            bail!(
                "none of {BOOTS} lab machines booted within {limit} s; the last one's console said:\n{console}"
            )
        }
        Outcome::Gone(status) => {
            bail!("the lab machine ended before its job did ({status}); its console said:\n{console}")
        }
    }
}

enum Outcome {
    Exit(u8),
    TimedOut,
    /// It never came to its job.
    Asleep,
    Gone(ExitStatus),
}

/// Waits for the end of a job, or of its machine, or of its time.
struct Watch<'q> {
    qemu: &'q mut Child,
    heard: mpsc::Receiver<News>,
    screen: UnixListener,
    timeout: Option<Duration>,
}

impl Watch<'_> {
    fn wait(self) -> Outcome {
        let begun = Instant::now();
        let mut screen = None;
        let mut lent = None;
        let (mut timeout, mut booted) = (self.timeout, false);
        loop {
            match self.next() {
                Some(News::Booted) => booted = true,
                Some(News::Exit(status)) => return Outcome::Exit(status),
                Some(News::TerminalOn) => {
                    // QEMU connects once, when it starts.
                    screen = screen.or_else(|| Some(self.screen.accept().ok()?.0));
                    lent = screen.as_ref().and_then(|stream| terminal::Lent::to(stream).ok());
                    timeout = None;
                }
                Some(News::TerminalOff) => drop(lent.take()),
                None => {}
            }
            if let Ok(Some(status)) = self.qemu.try_wait() {
                // The last word may still be on its way.
                return match self.next() {
                    Some(News::Exit(status)) => Outcome::Exit(status),
                    _ => Outcome::Gone(status),
                };
            }
            if timeout.is_some_and(|limit| begun.elapsed() > limit) {
                return Outcome::TimedOut;
            }
            if !booted && begun.elapsed() > BOOT {
                return Outcome::Asleep;
            }
        }
    }

    fn next(&self) -> Option<News> {
        let pause = Duration::from_millis(200);
        let begun = Instant::now();
        let news = self.heard.recv_timeout(pause).ok();
        if news.is_none() {
            // A closed channel answers at once: do not spin on it.
            thread::sleep(pause.saturating_sub(begun.elapsed()));
        }
        news
    }
}

fn listen(run_dir: &Path, port: &str) -> Result<UnixListener> {
    let path = run_dir.join(port);
    // Of a machine before this one.
    let _ = fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

fn copy(listener: UnixListener, mut sink: Sink) -> JoinHandle<Sink> {
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return sink };
        drop(listener);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let written = sink.write_all(&buffer[..length]).and_then(|()| sink.flush());
            if written.is_err() {
                break;
            }
        }
        sink
    })
}

fn hear(listener: &UnixListener, news: &mpsc::Sender<News>) {
    let Ok((stream, _)) = listener.accept() else { return };
    for line in BufReader::<UnixStream>::new(stream).lines().map_while(Result::ok) {
        if let Some(word) = News::parse(&line) {
            let _ = news.send(word);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_lines_are_understood_or_ignored() {
        assert!(matches!(News::parse("booted"), Some(News::Booted)));
        assert!(matches!(News::parse("exit 7"), Some(News::Exit(7))));
        assert!(matches!(News::parse("terminal on\n"), Some(News::TerminalOn)));
        assert!(News::parse("exit 256").is_none());
        assert!(News::parse("anything").is_none());
    }
}
