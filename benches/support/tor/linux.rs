//! The programs for Linux: C tor, C tor without conflux, and the gateway program, each behind a redirect, each with a client
//! of its own.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::Outcome;
use super::client::ask;
use super::place::{Ending, Namespace, Place, median, shell};

/// Rounds; programs take turns within each.
const ROUNDS: usize = 7;
/// Bytes of a download and of an upload.
const DOWN: u64 = 6_000_000;
const UP: u64 = 2_000_000;
/// Small pages of a round, for the time to the first byte.
const PAGES: usize = 8;
/// What of a stream a relay cell carries at most, in bytes (tor-spec, "Relay cells").
const CELL: f64 = 498.0;
/// Where the C tor without conflux takes redirected connections.
const SINGLE: u16 = 19041;
/// Time for a program to find its way into the network.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one program did; medians of the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The program.
    pub(crate) name: &'static str,
    /// Bytes a second.
    pub(crate) down: f64,
    /// Bytes a second.
    pub(crate) up: f64,
    /// Seconds to the first byte.
    pub(crate) first: f64,
    /// Nanoseconds of processor time for a cell of a download.
    pub(crate) cell_down: f64,
    /// The same for an upload.
    pub(crate) cell_up: f64,
}

/// A program with a client in front of it.
struct Subject {
    name: &'static str,
    client: Namespace,
    pid: u32,
    downs: Vec<f64>,
    ups: Vec<f64>,
    firsts: Vec<f64>,
    cells_down: Vec<f64>,
    cells_up: Vec<f64>,
}

/// Measures the programs: C tor, C tor without conflux, then ours.
pub(crate) fn measure(place: &Place) -> Outcome<Vec<Measured>> {
    let c_tor = fs::read_to_string(place.network.join("client0/pid"))?.trim().parse()?;
    let (single, gateway) = (start_single(place)?, start_gateway(place)?);
    let mut subjects = [
        Subject::new("C tor, TransPort", 0, 19040, c_tor)?,
        Subject::new("C tor, `ConfluxEnabled 0`", 1, SINGLE, single.0.id())?,
        Subject::new("gateway on Linux", 2, 9040, gateway.0.id())?,
    ];
    let host = place.web.to_string();
    for subject in &subjects {
        until_online(subject, &host)?;
    }
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            subject.round(&host)?;
        }
    }
    subjects.into_iter().map(Subject::result).collect()
}

/// Starts one more C tor like the network's own client, but for conflux: a stream of it has one circuit, as one of arti's.
fn start_single(place: &Place) -> Outcome<Ending> {
    let own = place.own.path().join("single");
    fs::create_dir(&own)?;
    // Of the network's client it takes what says which network that is.
    let of_client = fs::read_to_string(place.network.join("client0/torrc"))?;
    let own_lines = ["DataDirectory ", "PidFile ", "Log ", "SocksPort ", "TransPort ", "DNSPort "];
    let mut text: String = of_client
        .lines()
        .filter(|line| !own_lines.iter().any(|word| line.starts_with(word)))
        .map(|line| format!("{line}\n"))
        .collect();
    let log = own.join("notice.log");
    text += &format!(
        "DataDirectory {}\nLog notice file {}\nSocksPort 0\nTransPort 0.0.0.0:{SINGLE}\nConfluxEnabled 0\n",
        own.display(),
        log.display()
    );
    let configuration = own.join("torrc");
    fs::write(&configuration, text)?;
    let words = ["tor", "--defaults-torrc", "/dev/null", "--quiet", "-f", &*configuration.to_string_lossy()];
    Ending::start(&words, |_| {})
}

/// Starts the gateway program as torvm would, with its files in our directory.
fn start_gateway(place: &Place) -> Outcome<Ending> {
    let own = place.own.path();
    let [state, cache] = ["state", "cache"].map(|name| own.join(name));
    for directory in [&state, &cache] {
        fs::create_dir(directory)?;
    }
    let text = include_str!("../../../torvm/gateway/gateway.toml")
        .replace("/state", &state.to_string_lossy())
        .replace("/cache", &cache.to_string_lossy());
    let configuration = own.join("gateway.toml");
    fs::write(&configuration, text + "\n" + &fs::read_to_string(place.network.join("network.toml"))?)?;
    let log = fs::File::create(own.join("gateway.log"))?;
    let words = [&*place.gateway.to_string_lossy(), "--config", &*configuration.to_string_lossy()];
    let again = log.try_clone()?;
    Ending::start(&words, |command| {
        command.stdout(log).stderr(again);
    })
}

fn until_online(subject: &Subject, host: &str) -> Outcome<()> {
    let begun = Instant::now();
    while let Err(error) = ask(&subject.client, host, "down", 1000) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} is not online: {error}", subject.name).into());
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

impl Subject {
    /// A client whose connections are redirected to `port`.
    fn new(name: &'static str, number: u8, port: u16, pid: u32) -> Outcome<Self> {
        let client = Namespace::new()?;
        let (router, address) = (format!("10.137.{number}.5"), format!("10.137.{number}.6"));
        shell(&format!(
            "ip link add bench{number} type veth peer name eth0 netns {}\n\
             ip link set bench{number} up\nip address add {router}/30 dev bench{number}\n\
             nft 'add table ip bench{number}'\n\
             nft 'add chain ip bench{number} way {{ type nat hook prerouting priority dstnat; }}'\n\
             nft 'add rule ip bench{number} way iifname bench{number} meta l4proto tcp redirect to :{port}'",
            client.pid()
        ))?;
        client.shell(&format!(
            "ip link set lo up\nip link set eth0 up\nip address add {address}/30 dev eth0\n\
             ip route add default via {router}"
        ))?;
        let [downs, ups, firsts, cells_down, cells_up] = [const { Vec::new() }; 5];
        Ok(Self { name, client, pid, downs, ups, firsts, cells_down, cells_up })
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a measurement")]
    fn round(&mut self, host: &str) -> Outcome<()> {
        for _ in 0..PAGES {
            self.firsts.push(ask(&self.client, host, "down", 1000)?.first.as_secs_f64());
        }
        let before = processor_time(self.pid)?;
        let taken = ask(&self.client, host, "down", DOWN)?;
        let between = processor_time(self.pid)?;
        self.downs.push(DOWN as f64 / taken.all.as_secs_f64());
        self.cells_down.push((between - before) as f64 / (DOWN as f64 / CELL));
        let taken = ask(&self.client, host, "up", UP)?;
        self.ups.push(UP as f64 / taken.all.as_secs_f64());
        self.cells_up.push((processor_time(self.pid)? - between) as f64 / (UP as f64 / CELL));
        Ok(())
    }

    fn result(self) -> Outcome<Measured> {
        Ok(Measured {
            name: self.name,
            down: median(self.downs)?,
            up: median(self.ups)?,
            first: median(self.firsts)?,
            cell_down: median(self.cells_down)?,
            cell_up: median(self.cells_up)?,
        })
    }
}

/// Nanoseconds that all threads of a process have run.
fn processor_time(pid: u32) -> Outcome<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(sum)
}
