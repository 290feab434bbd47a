//! bulkheadd, the daemon; see `dom0::daemon`.

fn main() -> std::process::ExitCode {
    dom0::daemon::main()
}
