//! torvm in QEMU's user-mode emulation of a machine, which counts the guest's instructions: what of a transfer depends
//! on the machine that emulates does not count.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use super::Outcome;
use super::client::ask;
use super::place::{Ending, Namespace, Place};

/// Two sizes whose difference counts: what is before and after a transfer is in both.
const SIZES: [u64; 2] = [250_000, 750_000];
/// What of a stream a relay cell carries at most, in bytes (tor-spec, "Relay cells").
const CELL: u64 = 498;
/// Time for the machine to get ready, and then into the network.
const PATIENCE: Duration = Duration::from_secs(240);

/// Instructions of the guest: kernel, layer and program together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// From power-on until the first page can be fetched.
    pub(crate) online: u64,
    /// For a cell of a download.
    pub(crate) cell_down: u64,
    /// For a cell of an upload.
    pub(crate) cell_up: u64,
}

/// Boots torvm and counts.
pub(crate) fn measure(place: &Place) -> Outcome<Counted> {
    let client = Namespace::new()?;
    let machine = Machine::boot(place, &client)?;
    let online = machine.until("100 %")?;
    let host = place.web.to_string();
    ask(&client, &host, "down", 1000)?;
    let cell_down = machine.each(&client, &host, "down")?;
    let cell_up = machine.each(&client, &host, "up")?;
    Ok(Counted { online, cell_down, cell_up })
}

struct Machine<'p> {
    place: &'p Place,
    _qemu: Ending,
}

impl<'p> Machine<'p> {
    fn boot(place: &'p Place, client: &Namespace) -> Outcome<Self> {
        let own = place.own.path();
        fs::File::create(own.join("store"))?.set_len(16 << 20)?;
        let file = |before: &str, name: &str| format!("{before}{}", own.join(name).display());
        let (kernel, bundle) = (place.kernel.to_string_lossy(), place.bundle.to_string_lossy());
        let (console, store) = (file("file:", "console"), file("if=none,id=store,format=raw,file=", "store"));
        let orders = file("unix:", "qmp") + ",server=on,wait=off";
        let mut words = vec!["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "128"];
        // No fast string moves: glibc would copy by `rep movsb`, of which QEMU counts every byte as an instruction.
        words.extend(["-cpu", "max,-erms,-fsrm"]);
        // Recording is what makes QEMU tell the count; nobody reads the record.
        words.extend(["-icount", "shift=0,rr=record,rrfile=/dev/null"]);
        words.extend([
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
            "-kernel",
            &*kernel,
            "-initrd",
            &*bundle,
        ]);
        // With instructions counted, the time-stamp counter counts nanoseconds.
        words.extend([
            "-append",
            "tsc_khz=1000000 uplink=10.0.2.15/24,10.0.2.2 \
            client=bench,10.137.2.6/30,10.137.2.5,02:62:6b:00:00:02",
        ]);
        words.extend(["-serial", &*console, "-qmp", &*orders, "-drive", &*store]);
        words.extend([
            "-device",
            "virtio-blk-pci,drive=store,disable-legacy=on",
            "-device",
            "virtio-rng-pci",
        ]);
        words.extend([
            "-netdev",
            "user,id=up",
            "-device",
            "virtio-net-pci,netdev=up,disable-legacy=on,mac=52:54:00:74:6f:72",
        ]);
        words.extend(["-netdev", "tap,id=client,ifname=benchtap,script=no,downscript=no"]);
        words.extend(["-device", "virtio-net-pci,netdev=client,disable-legacy=on,mac=fe:ff:ff:ff:ff:ff"]);
        let qemu = Ending::start(&words, |_| {})?;
        let machine = Self { place, _qemu: qemu };
        let begun = Instant::now();
        while machine.instructions().is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("QEMU does not answer".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        super::place::shell(&format!("ip link set benchtap netns {}", client.pid()))?;
        client.shell(
            "ip link set lo up\nip link set benchtap address 02:62:6b:00:00:02\nip link set benchtap up\n\
             ip address add 10.137.2.6/30 dev benchtap\nip route add default via 10.137.2.5",
        )?;
        Ok(machine)
    }

    /// Instructions when the console has said something; that is looked at often enough.
    fn until(&self, said: &str) -> Outcome<u64> {
        let begun = Instant::now();
        loop {
            let console = fs::read(self.place.own.path().join("console")).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            if console.contains(said) {
                return self.instructions();
            }
            if begun.elapsed() > PATIENCE {
                let last = console.lines().last().unwrap_or_default();
                return Err(format!("torvm did not say {said:?}; its last words: {last}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Instructions for each cell of a transfer.
    fn each(&self, client: &Namespace, host: &str, request: &str) -> Outcome<u64> {
        let mut counts = Vec::new();
        for bytes in SIZES {
            let before = self.instructions()?;
            ask(client, host, request, bytes)?;
            counts.push(self.instructions()? - before);
        }
        let [small, large] = counts[..] else { return Err("two sizes".into()) };
        Ok(large.saturating_sub(small) / ((SIZES[1] - SIZES[0]) / CELL))
    }

    /// Instructions so far. QEMU serves one conversation after another.
    fn instructions(&self) -> Outcome<u64> {
        let mut stream = UnixStream::connect(self.place.own.path().join("qmp"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next().ok_or("QEMU says nothing")??;
        for order in ["qmp_capabilities", "query-replay"] {
            writeln!(stream, "{{\"execute\":\"{order}\"}}")?;
            let answer: serde_json::Value = loop {
                let answer: serde_json::Value = serde_json::from_str(&lines.next().ok_or("QEMU ended")??)?;
                if answer.get("event").is_none() {
                    break answer;
                }
            };
            if let Some(count) = answer["return"]["icount"].as_u64() {
                return Ok(count);
            }
        }
        Err("this QEMU does not count instructions".into())
    }
}
