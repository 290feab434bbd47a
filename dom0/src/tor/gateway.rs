//! What is known of a gateway program, by its own word.

use crate::name::Name;
use crate::vmm::clean;
use control::message::Program;
use control::tor::{GatewayReport, Level, Status};

/// One gateway program.
#[derive(Debug, Default)]
pub struct Gateway {
    /// Whether it runs.
    pub state: State,
    /// How often it was started since the domain was.
    pub runs: u32,
    /// Version, as it says.
    pub version: Option<String>,
    /// How far it is.
    pub status: Option<Status>,
}

/// What the program does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was heard of it.
    #[default]
    Unknown,
    /// It runs.
    Running,
    /// It ended.
    Ended(String),
    /// It cannot be started.
    Refused(String),
}

impl Gateway {
    /// Torvm said what its program does.
    pub fn program(&mut self, name: &Name, program: Program) {
        (self.status, self.version) = (None, None);
        match program {
            Program::Started { run } => {
                tracing::info!(%name, run, "gateway program started");
                (self.state, self.runs) = (State::Running, run);
            }
            Program::Ended { run, how } => {
                let how = clean(&how);
                tracing::warn!(%name, run, how, "gateway program ended");
                (self.state, self.runs) = (State::Ended(how), run);
            }
            Program::Refused { why } => {
                let why = clean(&why);
                tracing::error!(%name, why, "gateway program cannot be started");
                self.state = State::Refused(why);
            }
        }
    }

    /// The program said something.
    pub fn report(&mut self, name: &Name, report: GatewayReport) {
        match report {
            GatewayReport::Started { version } => self.version = Some(clean(&version)),
            GatewayReport::Status(status) => self.status = Some(status),
            GatewayReport::Log { level: Level::Error, text } => {
                tracing::error!(%name, "{}", clean(&text));
            }
            GatewayReport::Log { level: Level::Warning, text } => {
                tracing::warn!(%name, "{}", clean(&text));
            }
            _ => {}
        }
    }
}
