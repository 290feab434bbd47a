//! torvm under stock QEMU: its uplink is QEMU's user network in the private Tor network's namespace, recorded; its
//! clients' links are taps that AppVMs take over.

use super::appvm::AppVm;
use super::bundle;
use super::cuts::{self, Looked};
use super::debugger::Debugger;
use super::network::Network;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tests::lab::until;
use tests::leaks::capture::Capture;
use tests::leaks::{BringUp, Cable, Mac, Report, SMOLTCP_SYN};

pub(crate) const CARD: Mac = [0x52, 0x54, 0, 0x74, 0x6f, 0x72];
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// QEMU's own stations: the router, its name server, and the router over IPv6.
pub(crate) const STATIONS: [Mac; 3] =
    [[0x52, 0x55, 10, 0, 2, 2], [0x52, 0x55, 10, 0, 2, 3], [0x52, 0x56, 0, 0, 0, 2]];
const TTL: u8 = 64;
const STORE_BYTES: u64 = 16 << 20;

/// Where the private network's parameters stand in the configuration, and one more: by its default a client looks at no
/// more guards when it has seen a fifth of the network, which here is one guard, and one guard has no order.
const PARAMETERS: &str = "[arti.override_net_params]\n";
const SAMPLE: &str = "guard-max-sample-threshold = 100\n";

/// What a payload has that must not be seen outside.
pub(crate) const MARK: &[u8] = b"marked-payload-of-an-appvm";
/// In names that clients ask for.
pub(crate) const NAME_MARK: &str = "name-that-an-appvm-asks-for";

/// The files that torvm boots from.
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    bundle: PathBuf,
    /// Where changed bundles are.
    directory: Arc<TempDir>,
}

impl Image {
    /// Where `cargo xtask test` says that they are.
    pub(crate) fn find() -> Self {
        let path =
            |name| std::env::var_os(name).map(PathBuf::from).unwrap_or_else(|| panic!("{name} is not set"));
        let directory = tempfile::Builder::new().prefix("bulkhead-bundle.").tempdir().unwrap();
        let [kernel, bundle] = [path("BULKHEAD_TORVM"), path("BULKHEAD_TORVM_BUNDLE")];
        let image = Self { kernel, bundle, directory: Arc::new(directory) };
        image.changed("network", "etc/gateway.toml", |text| {
            let (before, after) = String::from_utf8_lossy(text)
                .split_once(PARAMETERS)
                .map(|(before, after)| (before.to_owned(), after.to_owned()))
                .expect("parameters of the private network");
            format!("{before}{PARAMETERS}{SAMPLE}{after}").into_bytes()
        })
    }

    /// The same with another content of one file in the bundle.
    pub(crate) fn with(&self, file: &str, content: &[u8]) -> Self {
        self.changed("with", file, |_| content.to_vec())
    }

    fn changed(&self, name: &str, file: &str, change: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let bundle = bundle::change(&std::fs::read(&self.bundle).unwrap(), file, change);
        let path = self.directory.path().join(name);
        std::fs::write(&path, bundle).unwrap();
        Self { kernel: self.kernel.clone(), bundle: path, directory: Arc::clone(&self.directory) }
    }
}

/// What torvm keeps when it is gone: a disk, and where its logs are.
pub(crate) struct Store {
    directory: TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bulkhead-torvm.").tempdir().unwrap();
        let disk = std::fs::File::create(directory.path().join("store")).unwrap();
        disk.set_len(STORE_BYTES).unwrap();
        Self { directory }
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.path("store")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// How one start differs from the others.
#[derive(Default)]
pub(crate) struct Start {
    /// What the clock of the machine shows, as QEMU takes it; the time of this machine without.
    pub(crate) clock: Option<String>,
}

/// A running torvm.
pub(crate) struct Machine {
    process: Child,
    capture: PathBuf,
    console: PathBuf,
    /// What its disk held when it began.
    disk: Vec<u8>,
    /// The log of what it wrote there.
    writes: PathBuf,
    pub(crate) debugger: Debugger,
}

/// What a torvm has left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What was on its uplink.
    pub(crate) report: Report,
    /// How many disks it could have left.
    pub(crate) looked: Looked,
}

impl Machine {
    /// Starts it and plugs the AppVMs in.
    pub(crate) fn start(image: &Image, store: &Store, appvms: &[&AppVm], start: &Start) -> Self {
        let number = std::fs::read_dir(store.directory.path()).unwrap().count();
        let [capture, console, socket, writes] =
            ["pcap", "console", "gdb", "writes"].map(|kind| store.path(&format!("{number}.{kind}")));
        let disk = std::fs::read(store.disk()).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args("-M q35 -cpu max -accel tcg -m 128 -display none -nodefaults -no-reboot".split(' '));
        command.args([OsString::from("-kernel"), image.kernel.clone().into()]);
        command.args([OsString::from("-initrd"), image.bundle.clone().into()]);
        command.args(["-append", &command_line(appvms)]);
        command.args(["-serial", &word("file:", &console)]);
        command.args(["-gdb", &(word("unix:", &socket) + ",server=on,wait=off")]);
        std::fs::write(&writes, []).unwrap();
        command.args(["-blockdev", &word("driver=file,node-name=disk,filename=", &store.disk())]);
        command.args(["-blockdev", &word("driver=file,node-name=writes,filename=", &writes)]);
        command.args([
            "-blockdev",
            "driver=blklogwrites,node-name=store,file=disk,log=writes,log-sector-size=512",
        ]);
        command.args(["-device", "virtio-blk-pci,drive=store,disable-legacy=on"]);
        command.args(["-device", "virtio-rng-pci"]);
        command.args(["-netdev", "user,id=uplink"]);
        command.args(["-device", &card("uplink", CARD)]);
        command.args(["-object", &word("filter-dump,id=dump,netdev=uplink,file=", &capture)]);
        for appvm in appvms {
            let tap = format!("tap,id={0},ifname={0},script=no,downscript=no", appvm.name);
            command.args([
                "-netdev",
                &tap,
                "-device",
                &card(appvm.name, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ]);
        }
        if let Some(clock) = &start.clock {
            command.args(["-rtc", &format!("base={clock}")]);
        }
        let mut process = command.stdin(Stdio::null()).spawn().expect("QEMU starts");
        until(Duration::from_secs(120), "QEMU listens", || {
            let said = || std::fs::read_to_string(&console).unwrap_or_default();
            assert!(matches!(process.try_wait(), Ok(None)), "QEMU ended: {}", said());
            socket.exists().then_some(())
        });
        let debugger = Debugger::attach(&socket);
        let machine = Self { process, capture, console, disk, writes, debugger };
        for appvm in appvms {
            appvm.plug(appvm.name);
        }
        machine
    }

    /// What it has said so far.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Bytes in the log of what it has written to its disk.
    pub(crate) fn written(&self) -> u64 {
        std::fs::metadata(&self.writes).unwrap().len()
    }

    /// Judges the uplink up to now.
    pub(crate) fn judge(&self, network: &Network, appvms: &[&AppVm]) -> Report {
        // What is on its way into the file: the writer has its own buffer.
        std::thread::sleep(Duration::from_millis(200));
        let capture = Capture::running(&std::fs::read(&self.capture).unwrap());
        judge(network, appvms, &capture)
    }

    /// Cuts its power.
    pub(crate) fn cut_power(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Cuts its power, and judges all of its uplink, and every disk that a power cut could have left.
    pub(crate) fn end(mut self, network: &Network, appvms: &[&AppVm]) -> Ended {
        self.cut_power();
        let looked = cuts::judge(&self.disk, &self.writes);
        let capture = Capture::running(&std::fs::read(&self.capture).unwrap());
        Ended { report: judge(network, appvms, &capture), looked }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn judge(network: &Network, appvms: &[&AppVm], capture: &Capture) -> Report {
    cable(network, appvms).judge(capture).unwrap_or_else(|leaks| panic!("{leaks}"))
}

/// What may be on the uplink.
pub(crate) fn cable(network: &Network, appvms: &[&AppVm]) -> Cable {
    let macs = appvms.iter().map(|appvm| appvm.mac.to_vec());
    Cable {
        card: CARD,
        address: ADDRESS,
        prefix: 24,
        routers: vec![ROUTER],
        stations: STATIONS.to_vec(),
        relays: network.relays.clone(),
        ttl: TTL,
        syn_options: SMOLTCP_SYN,
        bring_up: BringUp::Arp,
        secrets: macs.chain([MARK.to_vec(), NAME_MARK.as_bytes().to_vec()]).collect(),
    }
}

fn word(before: &str, path: &Path) -> String {
    format!("{before}{}", path.display())
}

fn card(netdev: &str, mac: Mac) -> String {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    format!("virtio-net-pci,netdev={netdev},mac={mac},disable-legacy=on")
}

/// The image's words for addresses that dom0 would have told it.
fn command_line(appvms: &[&AppVm]) -> String {
    let mut words = vec![format!("uplink={ADDRESS}/24,{ROUTER}")];
    for appvm in appvms {
        let mac = appvm.mac.map(|byte| format!("{byte:02x}")).join(":");
        let AppVm { name, address, gateway, prefix, .. } = appvm;
        words.push(format!("client={name},{address}/30,{gateway},{mac},{prefix}/64"));
    }
    words.join(" ")
}
