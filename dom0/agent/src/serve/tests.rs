use super::*;
use crate::frame::Size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A session's other side.
struct Session {
    stream: File,
    agent: JoinHandle<io::Result<()>>,
}

fn session(exec: Exec) -> Session {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let agent = std::thread::spawn(move || serve(theirs, || panic!("not asked for")));
    let mut stream = File::from(ours);
    frame::write(&mut stream, &ToAgent::Exec(exec)).unwrap();
    Session { stream, agent }
}

fn sh(script: &str) -> Exec {
    Exec { argv: ["sh", "-c", script].map(|a| a.as_bytes().to_vec()).into(), ..Exec::default() }
}

impl Session {
    fn say(&mut self, message: &ToAgent) {
        frame::write(&mut self.stream, message).unwrap();
    }

    /// Standard output, standard error and the last message.
    fn finish(mut self) -> (String, String, FromAgent) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let last = loop {
            match frame::read::<FromAgent>(&mut self.stream).unwrap().unwrap() {
                FromAgent::Started => {}
                FromAgent::Stdout(bytes) => stdout.extend(bytes),
                FromAgent::Stderr(bytes) => stderr.extend(bytes),
                last => break last,
            }
        };
        drop(self.stream);
        self.agent.join().unwrap().unwrap();
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), last)
    }
}

#[test]
fn streams_are_apart_and_the_status_is_passed_on() {
    let (stdout, stderr, last) = session(sh("echo out; echo err >&2; exit 7")).finish();
    assert_eq!((stdout.as_str(), stderr.as_str(), last), ("out\n", "err\n", FromAgent::Exited(7)));
}

#[test]
fn input_and_its_end_reach_the_command() {
    let mut session = session(sh("cat; echo end"));
    session.say(&ToAgent::Stdin(b"one ".to_vec()));
    session.say(&ToAgent::Stdin(b"two ".to_vec()));
    session.say(&ToAgent::StdinEnd);
    assert_eq!(session.finish().0, "one two end\n");
}

#[test]
fn much_output_arrives_whole() {
    let (stdout, _, last) = session(sh("head -c 3000000 /dev/zero | tr '\\0' x")).finish();
    assert_eq!((stdout.len(), last), (3_000_000, FromAgent::Exited(0)));
}

#[test]
fn variables_are_set_and_signals_are_told() {
    let mut exec = sh("printf %s \"$GREETING\"; kill -TERM $$");
    exec.env = vec![b"GREETING=hello".to_vec()];
    let (stdout, _, last) = session(exec).finish();
    assert_eq!((stdout.as_str(), last), ("hello", FromAgent::Signalled(15)));
}

#[test]
fn missing_program_is_refused_with_its_name() {
    let exec = Exec { argv: vec![b"/no/such/program".to_vec()], ..Exec::default() };
    let (_, _, last) = session(exec).finish();
    assert!(matches!(&last, FromAgent::Refused(why) if why.contains("/no/such/program")), "{last:?}");
}

#[test]
fn terminal_has_the_size_that_was_asked_for() {
    let mut exec = sh("test -t 0 && stty size");
    exec.terminal = Some(Size { rows: 33, columns: 101 });
    assert_eq!(session(exec).finish().0, "33 101\r\n");
}

#[test]
fn lingering_descendants_do_not_hold_the_session() {
    let start = Instant::now();
    let (stdout, _, last) = session(sh("sleep 300 & echo done")).finish();
    assert_eq!((stdout.as_str(), last), ("done\n", FromAgent::Exited(0)));
    assert!(start.elapsed() < Duration::from_secs(200));
}

#[test]
fn command_ends_with_its_user() {
    let session = session(sh("sleep 1000"));
    drop(session.stream);
    let result = session.agent.join().unwrap();
    assert!(result.is_err(), "its end cannot be told to anybody");
}

#[test]
fn nonsense_before_the_command_is_an_error() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::io::write(&ours, &[1, 3, 0, 0, 0, 9, 9, 9]).unwrap();
    drop(ours);
    assert!(serve(theirs, || Ok(())).is_err());
}

#[test]
fn power_off_is_passed_on() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    frame::write(&mut File::from(ours), &ToAgent::PowerOff).unwrap();
    let error = serve(theirs, || Err(io::ErrorKind::Unsupported.into())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
