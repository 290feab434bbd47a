//! bulkhead, the command line; see `dom0::cli`.

fn main() -> std::process::ExitCode {
    dom0::cli::main()
}
