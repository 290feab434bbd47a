//! torvm in QEMU, which counts the guest's instructions: what of a transfer depends on the machine that emulates does not
//! count. And Linux with the same program in the same machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
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
/// The networks of a guest, in torvm's words.
const NETWORKS: &str = "uplink=10.0.2.15/24,10.0.2.2 client=bench,10.137.2.6/30,10.137.2.5,02:62:6b:00:00:02";
/// Time for the machine to get ready, and then into the network.
const PATIENCE: Duration = Duration::from_secs(240);

/// A guest that QEMU boots.
struct Guest<'p> {
    kernel: &'p Path,
    initrd: &'p Path,
    /// Words for it before those that describe its networks.
    words: &'static str,
    /// Mebibytes.
    memory: &'static str,
}

/// Instructions of a guest for a cell: kernel, layer and program together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// Of a download.
    pub(crate) down: u64,
    /// Of an upload.
    pub(crate) up: u64,
    /// Bytes of a download in each packet that reaches the client.
    pub(crate) packet: u64,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    /// torvm from power-on until it is in the network.
    pub(crate) online: u64,
    /// torvm.
    pub(crate) torvm: Cells,
    /// Linux with the same program, where Debian's kernel can be had.
    pub(crate) linux: Outcome<Cells>,
}

/// Boots torvm, then Linux with the same program, and counts.
pub(crate) fn measure(place: &Place, xtask: &Path) -> Outcome<Counted> {
    let torvm =
        Guest { kernel: &place.kernel, initrd: &place.bundle, words: "tsc_khz=1000000", memory: "128" };
    let (online, torvm) = {
        let client = Namespace::new()?;
        let machine = Machine::boot(place, &client, &torvm)?;
        (machine.until("100 %")?, machine.cells(&client)?)
    };
    Ok(Counted { online, torvm, linux: measure_linux(place, xtask) })
}

fn measure_linux(place: &Place, xtask: &Path) -> Outcome<Cells> {
    let (kernel, initrd) = place.linux(xtask)?;
    let words = "quiet mitigations=off tsc=reliable";
    let linux = Guest { kernel: &kernel, initrd: &initrd, words, memory: "256" };
    let client = Namespace::new()?;
    Machine::boot(place, &client, &linux)?.cells(&client)
}

struct Machine<'p> {
    place: &'p Place,
    _qemu: Ending,
}

impl<'p> Machine<'p> {
    fn boot(place: &'p Place, client: &Namespace, guest: &Guest) -> Outcome<Self> {
        let own = place.own.path();
        fs::File::create(own.join("store"))?.set_len(16 << 20)?;
        // What another machine left.
        drop(fs::remove_file(own.join("qmp")));
        let file = |before: &str, name: &str| format!("{before}{}", own.join(name).display());
        let (kernel, initrd) = (guest.kernel.to_string_lossy(), guest.initrd.to_string_lossy());
        let (console, store) = (file("file:", "console"), file("if=none,id=store,format=raw,file=", "store"));
        let orders = file("unix:", "qmp") + ",server=on,wait=off";
        let append = format!("{} {NETWORKS}", guest.words);
        let mut words = vec!["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", guest.memory];
        // No fast string moves: glibc would copy by `rep movsb`, of which QEMU counts every byte as an instruction.
        words.extend(["-cpu", "max,-erms,-fsrm"]);
        // Recording is what makes QEMU tell the count; nobody reads the record.
        words.extend(["-icount", "shift=0,rr=record,rrfile=/dev/null"]);
        words.extend(["-display", "none", "-nodefaults", "-no-reboot"]);
        words.extend(["-kernel", &*kernel, "-initrd", &*initrd, "-append", &*append]);
        words.extend(["-serial", &*console, "-qmp", &*orders, "-drive", &*store]);
        words.extend(["-device", "virtio-blk-pci,drive=store,disable-legacy=on"]);
        words.extend(["-device", "virtio-rng-pci", "-netdev", "user,id=up"]);
        words.extend(["-device", "virtio-net-pci,netdev=up,disable-legacy=on,mac=52:54:00:74:6f:72"]);
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

    /// Counts cells, once the program answers. It is asked by HTTP CONNECT, as Linux redirects nothing here.
    fn cells(&self, client: &Namespace) -> Outcome<Cells> {
        let host = format!("{},10.137.2.5:9080", self.place.web);
        let begun = Instant::now();
        while let Err(error) = ask(client, &host, "down", 1000) {
            if begun.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(500));
        }
        let before = client.packets()?;
        let down = self.each(client, &host, "down")?;
        let packet = SIZES.iter().sum::<u64>() / (client.packets()? - before).max(1);
        Ok(Cells { down, up: self.each(client, &host, "up")?, packet })
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
