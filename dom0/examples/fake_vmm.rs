//! A stand-in for `bulkhead-vmm` in tests: a real process that speaks `vmm_api` and `control` over real memfds
//! and eventfds, but runs no guest. The text of its "kernel" file says how it behaves, see [`Script`].

use bulkhead_agent::serve;
use control::codec;
use control::message::{Decision, Fate, FromDomain, InForce, Program as Gateway, ToFirewall, ToNet, ToTor};
use control::tor::{Circuit, DocumentKind, GatewayCommand, GatewayReport, Level, Relay, Status};
use dom0::region::{self, ControlEnd, OwnRegion};
use link::Meta;
use rules_program::Program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use vmm_api::config::{Config, FileRef};
use vmm_api::message::{End, Ended, Event, Request, What};
use vmm_api::wire;

/// Words in the kernel file.
struct Script(Vec<String>);

impl Script {
    fn says(&self, word: &str) -> bool {
        self.0.iter().any(|w| w == word)
    }
}

struct Port {
    end: End,
    own: Option<OwnRegion>,
    link: Option<(ControlEnd, OwnedFd)>,
    dom0: bool,
}

struct Fake {
    config: Config,
    script: Script,
    control: OwnedFd,
    console: File,
    ports: Vec<Port>,
    accused: bool,
    rules: Rules,
    tor: Tor,
    /// Answers nobody any more.
    deaf: bool,
}

/// A torvm's program, as far as it is played.
#[derive(Default)]
struct Tor {
    /// The configuration whose pieces are arriving: generation and text.
    arriving: (u32, Vec<u8>),
    /// How often the program was started.
    runs: u32,
    /// What it does about another isolation, if a user typed that: not what it is told.
    mood: String,
}

/// The clients' rules, as a firewallvm keeps them.
#[derive(Default)]
struct Rules {
    /// The program whose pieces are arriving: port, generation, bytes.
    arriving: (u8, u32, Vec<u8>),
    /// In force, by port.
    programs: BTreeMap<u8, (u32, Program)>,
    /// Whether it has refused any.
    refused: bool,
    /// How it treats them: as it should, or as a user typed.
    mood: String,
}

/// Takes over an inherited descriptor.
fn inherited(fd: RawFd) -> OwnedFd {
    // Opening the descriptor's own path duplicates it without unsafe code; sockets cannot be opened so.
    File::options().read(true).open(format!("/proc/self/fd/{fd}")).map(OwnedFd::from).unwrap()
}

fn number(argument: &str) -> RawFd {
    argument.strip_prefix("fd:").unwrap().parse().unwrap()
}

#[expect(unsafe_code, reason = "takes over descriptors that dom0 left open for this process")]
fn socket(fd: RawFd) -> OwnedFd {
    use rustix::fd::FromRawFd;
    // SAFETY: dom0 said that this number is ours; nothing else in this process uses it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn fd(file: &FileRef) -> RawFd {
    match file {
        FileRef::Fd(fd) => *fd,
        FileRef::Path(path) => panic!("{} is no descriptor", path.display()),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, _, config, _, control] = arguments.as_slice() else { panic!("arguments: {arguments:?}") };
    let mut text = String::new();
    File::from(inherited(number(config))).read_to_string(&mut text).unwrap();
    let config: Config = serde_json::from_str(&text).unwrap();
    let mut kernel = String::new();
    File::from(inherited(fd(&config.kernel))).read_to_string(&mut kernel).unwrap();
    let script = Script(kernel.split_whitespace().map(str::to_owned).collect());
    if script.says("exit-at-start") {
        eprintln!("error: this kernel is no kernel");
        std::process::exit(3);
    }
    let console = File::from(socket(fd(config.console.as_ref().unwrap())));
    let mut fake = Fake {
        config,
        script,
        control: socket(number(control)),
        console,
        ports: Vec::new(),
        accused: false,
        rules: Rules::default(),
        tor: Tor::default(),
        deaf: false,
    };
    fake.print(&format!("pid {}", std::process::id()));
    fake.event(&Event::Running);
    fake.run();
}

impl Fake {
    fn print(&mut self, line: &str) {
        self.console.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn event(&self, event: &Event) {
        wire::send(&self.control, event, &[]).unwrap();
    }

    fn end(&self, ended: Ended) -> ! {
        self.event(&Event::Ended(ended));
        std::process::exit(0);
    }

    fn run(&mut self) {
        loop {
            let bells = self.ports.iter().filter_map(|p| p.link.as_ref()).map(|(_, bell)| bell.as_fd());
            let all: Vec<BorrowedFd<'_>> =
                [self.control.as_fd(), self.console.as_fd()].into_iter().chain(bells).collect();
            let mut fds: Vec<PollFd<'_>> =
                all.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
            poll(&mut fds, None).unwrap();
            let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
            drop(fds);
            drop(all);
            if ready[0] {
                match wire::recv::<Request>(&self.control) {
                    Ok((request, fds)) => self.request(&request, fds),
                    Err(_) => std::thread::sleep(std::time::Duration::from_secs(60)),
                }
            }
            if ready[1] {
                let mut typed = [0; 256];
                let n = self.console.read(&mut typed).unwrap();
                let typed = String::from_utf8_lossy(&typed[..n]).trim().to_owned();
                match typed.as_str() {
                    "panic" => self.end(Ended::Panicked),
                    "reboot" => self.end(Ended::Rebooted),
                    "decide" => self.decide(),
                    "ready" => self.report_status(100, None),
                    "crash" => {
                        let how = "it read memory that it does not have".try_into().unwrap();
                        self.say(&FromDomain::Program(Gateway::Ended { run: self.tor.runs, how }));
                    }
                    "deaf" => {
                        self.deaf = true;
                        self.print("deaf now");
                    }
                    "refuse-rules" | "ignore-rules" | "take-rules" => {
                        self.rules.mood.clone_from(&typed);
                        self.print(&format!("mood {typed}"));
                    }
                    "refuse-isolation" | "ignore-isolation" => {
                        self.tor.mood.clone_from(&typed);
                        self.print(&format!("mood {typed}"));
                    }
                    _ => self.print(&format!("typed {typed}")),
                }
            }
            for index in 0..self.ports.len() {
                self.drain(index);
            }
        }
    }

    fn request(&mut self, request: &Request, mut fds: Vec<OwnedFd>) {
        let id = request.id;
        match request.what {
            What::PrepareLink { .. } if self.script.says("mute") => return,
            What::PrepareLink { .. } if self.script.says("refuse-link") => {
                return self.event(&Event::Failed { id, error: "no room for \x1b[2J links".to_owned() });
            }
            What::PrepareLink { end: End::Vif(n) } if usize::from(n) >= self.config.vifs.len() => {
                return self.event(&Event::Failed { id, error: format!("there is no interface {n}") });
            }
            What::PrepareLink { end } => {
                self.ports.retain(|p| p.end != end);
                let own =
                    (!self.script.says("unsealed")).then(|| OwnRegion::map_and_seal(fds[0].as_fd()).unwrap());
                self.ports.push(Port { end, own, link: None, dom0: false });
            }
            What::AttachLink { end, epoch, role, .. } => {
                let (ours, theirs, peer) = (fds.remove(2), fds.remove(1), fds.remove(0));
                region::verify_sealed(peer.as_fd()).unwrap();
                let port = self.ports.iter_mut().find(|p| p.end == end).unwrap();
                let own = port.own.take().unwrap();
                port.link = Some((ControlEnd::new(own, peer.as_fd(), epoch, theirs).unwrap(), ours));
                port.dom0 = role == abi::link_device::Role::Dom0 as u32;
                let dom0 = port.dom0;
                self.print(&format!("attached {end:?} role {role} epoch {epoch}"));
                self.event(&Event::Done { id });
                return if dom0 { self.hello() } else { self.greet(end) };
            }
            What::DetachLink { end } => {
                self.ports.retain(|p| p.end != end);
                self.print(&format!("detached {end:?}"));
            }
            What::VsockConnect { port } if port == bulkhead_agent::PORT && !self.script.says("no-agent") => {
                let stream = fds.remove(0);
                let control = self.control.try_clone().unwrap();
                let power_off = move || {
                    let _ = wire::send(&control, &Event::Ended(Ended::PoweredOff), &[]);
                    std::process::exit(0)
                };
                let deaf = self.script.says("stubborn");
                // Only this process ends: the machine that runs the test is left alone.
                std::thread::spawn(move || serve::serve(stream, || if deaf { Ok(()) } else { power_off() }));
            }
            What::VsockConnect { .. } => {
                return self.event(&Event::Failed { id, error: "connection reset by the guest".to_owned() });
            }
            What::PowerButton if self.script.says("stubborn") || self.script.says("no-button") => {}
            What::PowerButton => {
                self.event(&Event::Done { id });
                self.end(Ended::PoweredOff);
            }
            What::Kill => self.end(Ended::Killed),
            What::Stats => {
                let counters = vec![("exits.io".to_owned(), 7)];
                return self.event(&Event::Stats { id, counters });
            }
        }
        self.event(&Event::Done { id });
        if self.script.says("chatty") {
            self.event(&Event::Done { id: id + 1_000_000 });
        }
    }

    /// Of our unikernels only a torvm has a disk.
    fn is_torvm(&self) -> bool {
        self.config.boot_info && !self.config.disks.is_empty()
    }

    /// First words to dom0.
    fn hello(&mut self) {
        if self.script.says("gateway-words") {
            // Ahead of the hello: with that the domain is up, perhaps before anything behind it is heard.
            self.say(&FromDomain::Program(Gateway::Started { run: 1 }));
        }
        if self.script.says("no-hello") {
            return;
        }
        let kind = if self.script.says("wrong-kind") {
            "router"
        } else if self.config.link_ports == 2 {
            "netvm"
        } else if self.is_torvm() {
            "torvm"
        } else {
            "firewallvm"
        };
        self.say(&FromDomain::Hello {
            kind: kind.try_into().unwrap(),
            version: "0.0-fake".try_into().unwrap(),
        });
    }

    /// A word to a peer domain, so that a test sees that memory and doorbells lead where they should.
    fn greet(&mut self, end: End) {
        let text = format!("greetings from {}", self.config.name);
        if let Some((link, _)) = self.ports.iter_mut().find(|p| p.end == end).and_then(|p| p.link.as_mut()) {
            link.link.send(&Meta::MESSAGE, &[text.as_bytes()]).unwrap();
            link.link.publish();
        }
    }

    fn say(&mut self, message: &FromDomain) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).unwrap();
        let port = self.ports.iter_mut().find(|p| p.dom0).unwrap();
        let (link, _) = port.link.as_mut().unwrap();
        link.link.send(&Meta::MESSAGE, &[bytes]).unwrap();
        link.link.publish();
    }

    fn drain(&mut self, index: usize) {
        let mut buffer = [0; 4096];
        loop {
            let port = &mut self.ports[index];
            let Some((link, bell)) = port.link.as_mut() else { return };
            let _ = rustix::io::read(&*bell, &mut [0u8; 8]);
            let (end, dom0) = (port.end, port.dom0);
            let bytes = match link.link.recv(&mut buffer) {
                Ok(Some((_, len))) => buffer[..len].to_vec(),
                Ok(None) => match link.link.arm() {
                    link::Armed::Sleep => return,
                    link::Armed::Pending => continue,
                },
                Err(fault) => return self.print(&format!("fault {}", fault.as_str())),
            };
            if !dom0 {
                self.print(&format!("got on {end:?}: {}", String::from_utf8_lossy(&bytes)));
                if self.script.says("accuse") && !std::mem::replace(&mut self.accused, true) {
                    self.say(&FromDomain::PeerFault { port: 1, what: "bad index".try_into().unwrap() });
                }
            } else if self.config.link_ports == 2 {
                match codec::decode::<ToNet>(&bytes).unwrap() {
                    ToNet::Ping { nonce } => self.pong(nonce),
                    ToNet::GetCounters => self.counters(),
                    other => self.print(&format!("dom0 says {other:?}")),
                }
            } else if self.is_torvm() {
                self.tor_message(codec::decode::<ToTor>(&bytes).unwrap());
            } else {
                match codec::decode::<ToFirewall>(&bytes).unwrap() {
                    ToFirewall::Ping { nonce } => self.pong(nonce),
                    ToFirewall::GetCounters => self.counters(),
                    ToFirewall::GetRuleCounters { port } => self.rule_counters(port),
                    ToFirewall::Rules { port, generation, total, offset, bytes } => {
                        if (port, generation) != (self.rules.arriving.0, self.rules.arriving.1) {
                            self.rules.arriving = (port, generation, Vec::new());
                        }
                        assert_eq!(offset as usize, self.rules.arriving.2.len(), "in order, without gaps");
                        self.rules.arriving.2.extend_from_slice(&bytes);
                        if self.rules.arriving.2.len() == total as usize {
                            self.take_rules();
                        }
                    }
                    other => self.print(&format!("dom0 says {other:?}")),
                }
            }
        }
    }

    fn tor_message(&mut self, message: ToTor) {
        match message {
            ToTor::Ping { nonce } => self.pong(nonce),
            ToTor::GetCounters => self.counters(),
            ToTor::Clock { unix_us } => self.print(&format!("clock {}", unix_us / 1_000_000)),
            ToTor::Configuration { generation, from, total, offset, bytes } => {
                if generation != self.tor.arriving.0 || offset == 0 {
                    self.tor.arriving = (generation, Vec::new());
                }
                assert_eq!(offset as usize, self.tor.arriving.1.len(), "in order, without gaps");
                self.tor.arriving.1.extend_from_slice(&bytes);
                if self.tor.arriving.1.len() == total as usize {
                    let text = String::from_utf8(std::mem::take(&mut self.tor.arriving.1)).unwrap();
                    match from {
                        InForce::Now => {
                            self.print(&format!("configuration {generation}: {text:?}"));
                            self.start_program();
                        }
                        InForce::NextStart => {
                            self.print(&format!("next configuration {generation}: {text:?}"));
                        }
                    }
                }
            }
            ToTor::RestartProgram => {
                self.print("program starts again");
                self.start_program();
            }
            ToTor::Gateway(GatewayCommand::GetDocuments) => {
                self.print("dom0 asks for documents");
                self.documents();
            }
            ToTor::Gateway(command) => self.command(&command),
            other => self.print(&format!("dom0 says {other:?}")),
        }
    }

    fn start_program(&mut self) {
        self.tor.runs += 1;
        let run = self.tor.runs;
        self.say(&FromDomain::Program(Gateway::Started { run }));
        self.report(GatewayReport::Started { version: "0.0-fake".try_into().unwrap() });
        self.report(GatewayReport::Log { level: Level::Info, text: "hello \x1b[2J".try_into().unwrap() });
        self.documents();
    }

    /// The program's documents: `consensus=` in the script says what the consensus is.
    fn documents(&mut self) {
        let words = self.script.0.iter().find_map(|word| word.strip_prefix("consensus="));
        let Some(consensus) = words.map(|words| format!("a consensus that is\n{words}\n")) else { return };
        let generation = self.tor.runs;
        let certificates = (DocumentKind::AuthorityCertificates, "certificates\n");
        for (kind, text) in [certificates, (DocumentKind::Consensus, &consensus)] {
            for report in GatewayReport::document(kind, generation, text.as_bytes()) {
                self.say(&FromDomain::Gateway(report));
            }
        }
    }

    /// What a gateway program answers.
    fn command(&mut self, command: &GatewayCommand) {
        self.print(&format!("command {command:?}"));
        if self.deaf {
            return;
        }
        match command {
            GatewayCommand::GetStatus => self.report_status(55, Some("no \x1b[2J directory")),
            GatewayCommand::GetCounters => {
                let counters = [("streams".try_into().unwrap(), 4)].into_iter().collect();
                self.report(GatewayReport::Counters { counters, more: false });
            }
            GatewayCommand::NewIdentity { client, .. } => {
                self.report(GatewayReport::NewIdentity { client: *client, closed: 3 });
            }
            GatewayCommand::GetCircuits => {
                for n in 0..3_u8 {
                    let relay = Relay { rsa: Some([n; 20]), ..Relay::default() };
                    let circuit = Circuit {
                        client: [10, 137, 0, 6].into(),
                        id: "Circ\x07 1".try_into().unwrap(),
                        identity: 1,
                        hops: [Some(relay), None].into_iter().collect(),
                        streams: u32::from(n),
                    };
                    self.report(GatewayReport::Circuits {
                        circuits: [circuit].into_iter().collect(),
                        more: n < 2,
                    });
                }
            }
            GatewayCommand::SetIsolation(_) if self.tor.mood == "ignore-isolation" => {}
            GatewayCommand::SetIsolation(isolation) => {
                let refused = self.tor.mood == "refuse-isolation";
                let told = if refused { Default::default() } else { isolation.clone() };
                self.report(GatewayReport::Isolation(told));
            }
            _ => {}
        }
    }

    fn report_status(&mut self, percent: u8, blocked: Option<&str>) {
        self.report(GatewayReport::Status(Status {
            percent,
            ready: percent == 100,
            blocked: blocked.map(|text| text.try_into().unwrap()),
            ..Status::default()
        }));
    }

    fn report(&mut self, report: GatewayReport) {
        self.say(&FromDomain::Gateway(report));
    }

    fn pong(&mut self, nonce: u64) {
        if !self.script.says("no-pong") && !self.deaf {
            self.say(&FromDomain::Pong { nonce });
        }
    }

    fn counters(&mut self) {
        for (name, more) in [("forwarded", true), ("dropped", false)] {
            let counters = [(name.try_into().unwrap(), 11)].into_iter().collect();
            self.say(&FromDomain::Counters { counters, more });
        }
    }

    /// A program is complete: verified and acknowledged, or what the mood says.
    fn take_rules(&mut self) {
        let (port, generation, bytes) = std::mem::take(&mut self.rules.arriving);
        let program = Program::load(&bytes).unwrap();
        self.print(&format!(
            "port {port} generation {generation}: {} rules in {} bytes",
            program.len(),
            bytes.len()
        ));
        let refused = match self.rules.mood.as_str() {
            "ignore-rules" => return,
            _ if self.script.says("refuse-first") && !std::mem::replace(&mut self.rules.refused, true) => {
                Some("no memory yet".try_into().unwrap())
            }
            "refuse-rules" => Some("no memory for the \x1b[2J rule program".try_into().unwrap()),
            _ => {
                self.rules.programs.insert(port, (generation, program));
                None
            }
        };
        self.say(&FromDomain::Rules { port, generation, refused });
    }

    /// Rule `n` of a client has decided `n + 1` times.
    fn rule_counters(&mut self, port: u8) {
        let Some((generation, program)) = self.rules.programs.get(&port) else { return };
        let (generation, hits) = (*generation, (1..=program.len() as u64).collect::<Vec<_>>());
        let mut first = 0;
        loop {
            let page: heapless::Vec<u64, 128> = hits.iter().skip(first.into()).take(128).copied().collect();
            let next = first + u16::try_from(page.len()).unwrap();
            let more = usize::from(next) < hits.len();
            self.say(&FromDomain::RuleCounters { port, generation, first, hits: page, no_rule: 5, more });
            if !more {
                return;
            }
            first = next;
        }
    }

    /// Rule 0 of each client drops a packet to port 443.
    fn decide(&mut self) {
        let ports: Vec<(u8, u32)> = self.rules.programs.iter().map(|(p, (g, _))| (*p, *g)).collect();
        for (port, generation) in ports {
            self.say(&FromDomain::Decision(Decision {
                port,
                generation,
                rule: 0,
                fate: Fate::Dropped,
                inward: false,
                protocol: 6,
                source: ([10, 137, 0, 14].into(), 40_000),
                destination: ([192, 0, 2, 1].into(), 443),
                suppressed: 0,
            }));
        }
    }
}
