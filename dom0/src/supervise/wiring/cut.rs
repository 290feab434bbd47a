//! A new plan's links: those that stay, and those that are taken away from both ends.

use super::super::Supervisor;
use super::{Pending, Purpose, Side, Wire, domain_end};
use crate::name::Name;
use crate::plan::Party;
use vmm_api::message::What;

impl Supervisor {
    /// Whether a domain's VMM or the one above has yet to let go of a link of this client.
    pub(in super::super) fn is_being_cut(&self, name: &Name) -> bool {
        let about = |p: &Pending| matches!(&p.purpose, Purpose::Cut { client } if client == name);
        self.pending.values().any(about)
    }

    /// Takes over the links of a new plan; those that exist go on, those that it does not have are taken away.
    pub(in super::super) fn rewire(&mut self) {
        let mut old = std::mem::take(&mut self.wires);
        for link in &self.plan.links {
            let kept = old.iter().position(|w| w.link == *link).map(|i| old.swap_remove(i));
            self.wires.push(kept.unwrap_or_else(|| Wire::new(link.clone())));
        }
        for wire in old.into_iter().filter(Wire::is_begun) {
            let Party::Domain(client, _) = &wire.link.lower else { continue };
            tracing::info!(link = %wire.link, "link cut");
            for (name, end) in
                [Side::Upper, Side::Lower].into_iter().filter_map(|s| domain_end(&wire.link, s))
            {
                let purpose = Purpose::Cut { client: client.clone() };
                self.ask(&name, What::DetachLink { end }, &[], purpose);
            }
        }
    }
}
