//! bulkhead-agent: listens on vsock port 1024 and runs what dom0 asks for. Takes no arguments.

use bulkhead_agent::{PORT, serve, vsock};
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

/// Sessions at most at once.
const MAX_SESSIONS: usize = 32;

/// Asks the machine's init to power it off: systemd's way, then everybody else's.
fn power_off() -> io::Result<()> {
    let ways: [&[&str]; 2] = [&["systemctl", "poweroff"], &["poweroff"]];
    for way in ways {
        let [program, arguments @ ..] = way else { continue };
        if Command::new(program).args(arguments).stdin(Stdio::null()).status().is_ok_and(|s| s.success()) {
            return Ok(());
        }
    }
    Err(io::Error::other("neither `systemctl poweroff` nor `poweroff` worked"))
}

fn main() -> ExitCode {
    let listener = match vsock::listen_on(PORT) {
        Ok(listener) => listener,
        Err(e) => {
            eprintln!(
                "bulkhead-agent: vsock port {PORT}: {e}\n  remedy: load vmw_vsock_virtio_transport; only one agent may run"
            );
            return ExitCode::FAILURE;
        }
    };
    let slots = Arc::new(());
    loop {
        match vsock::accept_from_host(&listener) {
            Ok(_) if Arc::strong_count(&slots) > MAX_SESSIONS => {
                eprintln!("bulkhead-agent: too many sessions")
            }
            Ok(stream) => {
                let slot = Arc::clone(&slots);
                std::thread::spawn(move || {
                    let _slot = slot;
                    if let Err(e) = serve::serve(stream, power_off) {
                        eprintln!("bulkhead-agent: session: {e}");
                    }
                });
            }
            Err(e) => {
                eprintln!("bulkhead-agent: accept: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
}
