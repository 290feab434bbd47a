//! Commands in the lab's dom0, over a serial port of their own: several at a time, with status and output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Runs in dom0. In: a line with a number and a script, as `printf %b` takes it. Out: a line with the number,
/// the status and two lengths, then output and errors.
pub(super) const SERVE: &str = r#"
exec 3<>/dev/virtio-ports/test.dom0
mkdir -p /run/test
export PATH=/host/bin:$PATH BULKHEAD_LIB=/host/lib NO_COLOR=1
while read -r id script <&3; do
    [ "$id" = end ] && exit 0
    (
        at=/run/test/$id
        printf %b "$script" >$at.sh
        sh $at.sh </dev/null >$at.out 2>$at.err 3>&-
        status=$?
        # What the script has left running may still write.
        cp $at.out $at.said; cp $at.err $at.complained
        until mkdir /run/test/answering 2>/dev/null; do usleep 20000; done
        {
            echo "$id $status $(wc -c <$at.said) $(wc -c <$at.complained)"
            cat $at.said $at.complained
        } >&3
        rmdir /run/test/answering
        rm -f $at.*
    ) &
done
"#;

const SOCKET: &str = "dom0";

type Waiting = Arc<Mutex<BTreeMap<u32, Sender<Done>>>>;

pub(super) struct Dom0 {
    stream: Mutex<(UnixStream, u32)>,
    waiting: Waiting,
}

impl Dom0 {
    pub(super) fn listen(directory: &Path) -> UnixListener {
        UnixListener::bind(directory.join(SOCKET)).unwrap()
    }

    /// QEMU's words for the port.
    pub(super) fn devices(directory: &Path) -> Vec<OsString> {
        let mut socket = OsString::from("socket,id=test,path=");
        socket.push(directory.join(SOCKET));
        vec!["-chardev".into(), socket, "-device".into(), "virtserialport,chardev=test,name=test.dom0".into()]
    }

    /// Waits for QEMU.
    pub(super) fn accept(listener: &UnixListener, machine: &mut Child) -> Self {
        listener.set_nonblocking(true).unwrap();
        let stream = super::until(Duration::from_secs(60), "QEMU starts", || {
            assert!(matches!(machine.try_wait(), Ok(None)), "the lab machine ended");
            listener.accept().ok()
        });
        let stream = stream.0;
        stream.set_nonblocking(false).unwrap();
        let waiting = Waiting::default();
        let (reader, answers) = (stream.try_clone().unwrap(), Arc::clone(&waiting));
        std::thread::spawn(move || hear(reader, &answers));
        Self { stream: Mutex::new((stream, 0)), waiting }
    }

    pub(super) fn start(&self, script: &str) -> Pending {
        let (sender, answer) = channel();
        let mut stream = self.stream.lock().unwrap();
        stream.1 += 1;
        let id = stream.1;
        self.waiting.lock().unwrap().insert(id, sender);
        // If nobody reads it, nobody answers either.
        let _ = writeln!(stream.0, "{id} {}", encode(script));
        Pending { script: script.to_owned(), answer }
    }

    pub(super) fn end(&self) {
        if let Ok(mut stream) = self.stream.lock() {
            let _ = writeln!(stream.0, "end");
        }
    }
}

fn hear(stream: UnixStream, waiting: &Waiting) {
    let mut stream = BufReader::new(stream);
    while let Some((id, done)) = answer(&mut stream) {
        if let Some(sender) = waiting.lock().unwrap().remove(&id) {
            let _ = sender.send(done);
        }
    }
    // Whoever still waits learns that nothing will come.
    waiting.lock().unwrap().clear();
}

fn answer(stream: &mut impl BufRead) -> Option<(u32, Done)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let numbers: Vec<u32> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [id, status, out, err] = numbers[..] else { return None };
    let mut text = |length: u32| {
        let mut bytes = vec![0; length as usize];
        stream.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (out, err) = (text(out)?, text(err)?);
    Some((id, Done { script: String::new(), status: status.try_into().ok()?, out, err }))
}

/// A script that runs.
pub struct Pending {
    script: String,
    answer: Receiver<Done>,
}

impl Pending {
    /// Waits for its end, two minutes at most.
    ///
    /// # Panics
    /// When it takes longer, or the machine is gone.
    #[must_use]
    pub fn wait(self) -> Done {
        self.within(Duration::from_secs(120))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer, or the machine is gone.
    #[must_use]
    pub fn within(self, limit: Duration) -> Done {
        let begun = Instant::now();
        match self.answer.recv_timeout(limit) {
            Ok(done) => Done { script: self.script, ..done },
            Err(e) => panic!("{e} after {} s: {}", begun.elapsed().as_secs(), self.script),
        }
    }

    /// Its output, if it ends within this time.
    pub(super) fn output(self, limit: Duration) -> String {
        let done = self.answer.recv_timeout(limit);
        done.map_or_else(|e| e.to_string(), |done| done.out + &done.err)
    }
}

/// What came of a script.
#[derive(Debug)]
pub struct Done {
    script: String,
    /// Exit status.
    pub status: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// The standard output of a script that succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn expect_success(self) -> String {
        assert_eq!(self.status, 0, "status of: {}\n{}{}", self.script, self.out, self.err);
        self.out
    }

    /// The standard error of a script that failed with a status of its own.
    ///
    /// # Panics
    /// When it succeeded or was killed.
    pub fn expect_failure(self) -> String {
        let own = (1..126).contains(&self.status);
        assert!(own, "status {} of: {}\n{}{}", self.status, self.script, self.out, self.err);
        self.err
    }
}

/// A script on one line.
fn encode(script: &str) -> String {
    script.replace('\\', r"\\").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_pass_as_they_are() {
        let script = "printf 'a\\n%s\\\\' \"$x\"\n# b";
        let through = std::process::Command::new("printf").arg("%b").arg(encode(script)).output().unwrap();
        assert_eq!(String::from_utf8(through.stdout).unwrap(), script);
        assert_eq!(encode(script).lines().count(), 1);
    }

    #[test]
    fn answers_are_read_by_length() {
        let mut stream: &[u8] = b"7 3 4 2\na\nb\nno8 0 0 0\n";
        let (id, done) = answer(&mut stream).unwrap();
        assert_eq!((id, done.status, done.out.as_str(), done.err.as_str()), (7, 3, "a\nb\n", "no"));
        assert_eq!(answer(&mut stream).unwrap().0, 8);
        assert!(answer(&mut stream).is_none());
    }
}
