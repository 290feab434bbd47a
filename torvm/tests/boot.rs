//! The image under stock QEMU, with a small program in the gateway's place: it runs in ring 3, what it stores lasts, and
//! whatever it does, the domain goes on and starts it again. Skipped aloud where there is no QEMU.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const QEMU: &str = "qemu-system-x86_64";
/// Promised to users: the kernel alone, and all memory.
const LARGEST_IMAGE: u64 = 1024 * 1024;
const MEMORY: &str = "128M";
/// Instructions that a call for the time may take, of which arti makes five for each cell, and two calls that move a cell.
/// A fifth above what was measured last, so that another compiler does not matter; the program's part is in them.
const CLOCK_COST: u64 = 800;
const CELL_COST: u64 = 3_900;
/// Restarts in one machine.
const LIVES: usize = 30;
/// A hang shows after 30 s of the program's own time, which is longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Builds the image as it is shipped.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "-q",
                "-p",
                "torvm",
                "--bin",
                "torvm",
                "--features",
                "image",
                "--profile",
                "image",
            ])
            .current_dir(&workspace)
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the image does not build");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("image/torvm")
    })
}

/// Builds the program as the gateway is built: static, and at any address.
fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/program.rs");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-program");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = Command::new(rustc)
            .args(["--edition=2024", "-Copt-level=1", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-o"])
            .args([&program, &source])
            .status()
            .expect("rustc runs");
        assert!(built.success(), "the program does not build");
        fs::read(program).expect("the program")
    })
}

/// A newc archive of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files.iter().copied().chain([("TRAILER!!!", &[][..])]) {
        let fields = [0, 0o100_755, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend_from_slice(b"070701");
        fields.iter().for_each(|field| out.extend_from_slice(format!("{field:08X}").as_bytes()));
        for part in [format!("{name}\0").as_bytes(), bytes] {
            out.extend_from_slice(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
    }
    out
}

/// A machine that ends with its test.
struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    log: Vec<String>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Machine {
    /// Boots with a program that is told what to do, on this processor, and with what else QEMU is given; `None`, aloud,
    /// where it is missing.
    fn boot(told: &str, processor: &str, more: &[&str]) -> Option<Self> {
        if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: {QEMU} is not installed, the image is not booted");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let bundle = directory.path().join("bundle");
        let files = [
            ("gateway", program()),
            ("etc/passwd", b"root:x:0:0:root:/:/bin/false\n"),
            ("etc/gateway.toml", told.as_bytes()),
        ];
        fs::write(&bundle, archive(&files)).expect("written");
        let mut qemu = Command::new(QEMU)
            .args([
                "-M",
                "q35",
                "-accel",
                "tcg",
                "-cpu",
                processor,
                "-m",
                MEMORY,
                "-nodefaults",
                "-no-reboot",
            ])
            .args(["-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"])
            .args(more)
            .args([Path::new("-kernel"), image(), Path::new("-initrd"), &bundle])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU starts");
        let console = BufReader::new(qemu.stdout.take().expect("piped"));
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in console.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut machine = Self { qemu, lines, log: Vec::new() };
        // QEMU has read the bundle before the machine says anything.
        machine.wait_for("KiB for the program");
        Some(machine)
    }

    /// Waits for a line with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let begin = Instant::now();
        loop {
            let rest = PATIENCE.saturating_sub(begin.elapsed());
            match self.lines.recv_timeout(rest) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(why) => panic!("{why} before '{words}' was said:\n{}", self.log.join("\n")),
            }
        }
    }
}

#[test]
fn the_image_is_small() {
    let len = fs::metadata(image()).expect("the image").len();
    eprintln!("torvm: {len} bytes");
    assert!(len <= LARGEST_IMAGE, "{len} bytes");
}

#[test]
fn the_program_runs_and_what_it_stores_lasts() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = directory.path().join("disk");
    fs::File::create(&disk).and_then(|file| file.set_len(4 << 20)).expect("a disk");
    let drive = format!("if=none,id=store,format=raw,file={}", disk.display());
    let mut seen = Vec::new();
    for (boot, processor) in [(0, "max"), (1, "qemu64")] {
        let more = ["-drive", &drive, "-device", "virtio-blk-pci,drive=store"];
        let Some(mut machine) = Machine::boot("count", processor, &more) else { return };
        for run in [2 * boot + 1, 2 * boot + 2] {
            let line = machine.wait_for(&format!("run {run} at "));
            assert!(line.ends_with("sum 21081692.746"), "{line}");
            let at: u64 = line.split(" at ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            assert!((now - 60..=now + 1).contains(&at), "{at} at {now}");
            seen.push(line.split('[').nth(1).expect("bytes").to_owned());
            machine.wait_for(&format!("program ended: it exited with status {}", 40 + run));
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "random bytes differ: {seen:?}");
}

#[test]
fn whatever_the_program_does_it_is_started_again() {
    for (told, end) in [
        ("fault", "program ended: it read memory that it does not have: 0x100000"),
        ("panic", "program ended: it "),
        ("overflow", "program ended: it wrote to memory that it may not write"),
        ("spend", "program ended: it exited with status 0"),
    ] {
        let Some(mut machine) = Machine::boot(told, "max", &[]) else { return };
        for run in 1..=2 {
            machine.wait_for(&format!("program started (run {run})"));
            machine.wait_for(end);
        }
        let bad = machine.log.iter().find(|line| line.contains("PANIC") || line.contains("NOT STOPPED"));
        assert_eq!(bad, None);
    }
}

#[test]
fn every_life_has_as_much_memory_as_the_first() {
    // Whenever everybody waits, time jumps to when somebody has waited enough: pauses of a minute take none.
    let Some(mut machine) = Machine::boot("spend", "max", &["-icount", "shift=auto,sleep=off"]) else {
        return;
    };
    let first = machine.wait_for("spent ");
    let begun = Instant::now();
    for run in 2..=LIVES {
        machine.wait_for(&format!("program started (run {run})"));
        assert_eq!(machine.wait_for("spent "), first, "life {run}");
    }
    eprintln!("{LIVES} lives in {:.1} s: {first}", begun.elapsed().as_secs_f32());
}

#[test]
fn a_block_grows_without_being_copied() {
    let Some(mut machine) = Machine::boot("grow", "max", &[]) else { return };
    machine.wait_for("grown to 45 MiB, kept: true");
}

#[test]
fn a_program_that_makes_no_call_is_ended() {
    let Some(mut machine) = Machine::boot("spin", "max", &[]) else { return };
    machine.wait_for("told to spin");
    machine.wait_for("program ended: it made no call for");
    machine.wait_for("program started (run 2)");
}

#[test]
fn calls_cost_few_instructions() {
    // Time of such a machine is the instructions that it has executed.
    let counting = ["-icount", "shift=0,sleep=off", "-append", "tsc_khz=1000000"];
    let Some(mut machine) = Machine::boot("cost", "max", &counting) else { return };
    let line = machine.wait_for("time: ");
    eprintln!("instructions: {line}");
    let costs: Vec<u64> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    let &[.., clock, moved] = costs.as_slice() else { panic!("{line}") };
    assert!(clock > 0 && clock <= CLOCK_COST, "the time costs {clock} instructions");
    assert!(moved > 0 && moved <= CELL_COST, "a cell costs {moved} instructions");
}
