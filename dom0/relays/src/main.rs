//! bulkhead-relays: into the jail, read, verify, tell, exit.

use bulkhead_relays::{answer, bootstrap::Bootstrap, jail, request::Request, verify};
use std::ffi::OsStr;
use std::io::{self, BufReader, BufWriter};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(why) = jail::enter() {
        eprintln!("bulkhead-relays: no jail: {why}");
        return ExitCode::from(answer::NO_JAIL);
    }
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let told = match words.iter().map(|word| word.as_os_str()).collect::<Vec<&OsStr>>().as_slice() {
        [] => relays(),
        [word] if *word == "--bootstrap" => {
            answer::bootstrap(&mut BufWriter::new(io::stdout().lock()), &Bootstrap::public())
                .map(|()| ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("usage: bulkhead-relays [--bootstrap] (a request stands on standard input)");
            return ExitCode::from(answer::NO_JAIL);
        }
    };
    told.unwrap_or_else(|why| {
        eprintln!("bulkhead-relays: cannot answer: {why}");
        ExitCode::FAILURE
    })
}

fn relays() -> io::Result<ExitCode> {
    let request = Request::read(BufReader::new(io::stdin().lock()));
    let verified = request.and_then(|request| verify(&request));
    let mut to = BufWriter::new(io::stdout().lock());
    match verified {
        Ok(verified) => answer::verified(&mut to, &verified).map(|()| ExitCode::SUCCESS),
        Err(refusal) => answer::refused(&mut to, &refusal).map(|()| ExitCode::from(answer::REFUSED)),
    }
}
