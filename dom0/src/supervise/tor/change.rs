//! Changes of a torvm's `[tor]` table while it runs: into its file, then to its program. Another isolation it takes over as
//! it runs; with other bridges it starts again, as what is open goes through a relay that must not be contacted any more.

use super::super::jobs::progress;
use super::super::{Reply, Supervisor};
use crate::domain::edit::{self, TorChange};
use crate::domain::{Domain, file, tor};
use crate::name::Name;
use crate::problem::{Problem, Problems};
use crate::protocol::Outcome;
use crate::tor::configuration::configuration;

impl Supervisor {
    pub(in super::super) fn tor_change(
        &mut self,
        torvm: Option<&Name>,
        change: &TorChange,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let name = self.torvm(torvm)?;
        if let TorChange::AddBridge(line) = change
            && let Err(why) = tor::check_bridge(line)
        {
            return Err(Problem::new(name.to_string(), why, tor::BRIDGE_REMEDY).into());
        }
        let Some(path) = self.domains.get(&name).map(|d| d.file.clone()) else {
            return Ok(Some(Outcome::Done));
        };
        let before = std::fs::read_to_string(&path).ok();
        edit::tor(&path, change)?;
        // What the change makes of the file is read like a file, and a configuration made of it.
        let usable =
            |domain: Domain| configuration(&domain.tor.value).map(|_| domain).map_err(Problems::from);
        let changed = file::read(&path).and_then(usable).inspect_err(|_| {
            let restored = before.is_some_and(|text| edit::whole(&path, &text).is_ok());
            if !restored {
                tracing::error!(%name, "its file could not be put back");
            }
        })?;
        if let Some(domain) = self.domains.get_mut(&name) {
            domain.tor = changed.tor;
        }
        if self.runtimes.get(&name).is_some_and(|r| r.vmm.is_some()) {
            // The firewall lets the program through before it starts.
            self.take_up_configuration(&name);
            self.renew_rules(&name);
            if matches!(change, TorChange::Isolation(_)) && self.isolate(&name, reply) {
                return Ok(None);
            }
            self.configure(&name);
            progress(
                Some(reply),
                format!("{name}: saved; its program starts again with it, open connections end"),
            );
        } else {
            progress(Some(reply), format!("{name}: saved; takes effect at its start"));
        }
        Ok(Some(Outcome::Done))
    }
}
