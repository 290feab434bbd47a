//! Enters the jail and then tries what it forbids, for the tests: `jailed LAYERS DEED`. Exits with 0 when the deed was
//! done, with 1 when it was refused.

use bulkhead_relays::jail;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [layers, deed] = words.as_slice() else { return ExitCode::from(2) };
    let entered = match layers.as_str() {
        "all" => jail::enter(),
        "without-filter" => jail::enter_without_filter(),
        _ => Ok(()),
    };
    if let Err(why) = entered {
        eprintln!("{why}");
        return ExitCode::from(2);
    }
    match attempt(deed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(deed: &str) -> std::io::Result<()> {
    match deed {
        "nothing" => Ok(()),
        "open" => File::open("/etc/passwd").map(drop),
        "create" => File::create("/tmp/bulkhead-relays-was-here").map(drop),
        "list" => std::fs::read_dir("/").map(drop),
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "exec" => Command::new("/bin/true").status().map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())),
        "memory" => {
            let mut much: Vec<u8> = Vec::new();
            much.try_reserve_exact(600 << 20).map_err(std::io::Error::other)
        }
        "executable" => executable(),
        // As long as somebody looks at this process from outside.
        "wait" => std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop),
        _ => Err(std::io::Error::other("what?")),
    }
}

/// Memory that can be written and run.
fn executable() -> std::io::Result<()> {
    use memmap2::MmapMut;
    MmapMut::map_anon(4096)?.make_exec().map(drop)
}
