//! The manual page, from the same table as the help.

use crate::domain::file::FIELDS;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Prints the page: the command, each of its subcommands, the domain files.
pub(super) fn print(command: &clap::Command, out: &mut impl Write) -> io::Result<()> {
    let mut command = command.clone();
    command.build();
    let man = Man::new(command.clone()).section("8");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    subcommands(&command, "", "", &mut roff);
    domain_files(&mut roff);
    roff.control("SH", ["FILES"]);
    let files = [
        ("/etc/bulkhead/domains/NAME.toml", "one file per domain"),
        (
            "/etc/bulkhead/rules/NAME.rules",
            "firewall rules of an AppVM; without the file it may connect to anywhere; a torvm has none",
        ),
        (
            "/usr/lib/bulkhead",
            "bulkhead-vmm, bulkhead-relays (for torvms) and the images of netvm, firewallvm and torvm (with torvm.bundle); \
             BULKHEAD_LIB names another directory",
        ),
        ("/var/lib/bulkhead/NAME.store", "the disk on which a torvm keeps its guards; readable to root only"),
        ("/var/lib/bulkhead/NAME.relays", "the relays that a torvm was last shown to be allowed to reach"),
        ("/var/log/bulkhead/NAME.gateway", "what the gateway program of a torvm reported, as JSON lines"),
        ("/run/bulkhead/bulkheadd.sock", "the daemon's socket, for root and the group bulkhead"),
        ("/var/log/bulkhead/NAME.log", "what a domain printed on its console"),
        (
            "/var/log/bulkhead/NAME.decisions",
            "what rules of an AppVM that say log=yes have decided, as JSON lines",
        ),
    ];
    for (file, meaning) in files {
        roff.control("TP", []).text([bold(file)]).text([roman(meaning)]);
    }
    roff.to_writer(out)
}

/// `behind`: the options that all subcommands of this one take.
fn subcommands(command: &clap::Command, above: &str, behind: &str, roff: &mut Roff) {
    let everywhere = |id: &clap::Id| command.get_arguments().any(|a| a.is_global_set() && a.get_id() == id);
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        let name = format!("{above}{}", sub.get_name());
        if sub.has_subcommands() {
            let common = sub.get_arguments().filter(|a| a.is_global_set() && !everywhere(a.get_id()));
            let common: String = common.map(|argument| format!(" {argument}")).collect();
            subcommands(sub, &format!("{name} "), &format!("{behind}{common}"), roff);
            continue;
        }
        let mut usage = name;
        for argument in sub.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help") {
            usage.push(' ');
            usage.push_str(&argument.to_string());
        }
        usage.push_str(behind);
        roff.control("TP", []).text([bold(usage)]);
        roff.text([roman(sub.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

fn domain_files(roff: &mut Roff) {
    roff.control("SH", ["DOMAIN FILES"]);
    roff.text([roman(
        "A domain is described by a TOML file; the file's name without .toml is the domain's name. Fields:",
    )]);
    for (field, meaning) in FIELDS {
        roff.control("TP", []).text([bold(field)]).text([roman(meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn page_names_every_command_and_field() {
        let mut page = Vec::new();
        super::print(&crate::cli::Typed::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for word in [
            "nic assign",
            "rules edit",
            "tor bridges add",
            "\\-\\-domain <NAME>",
            "route",
            "completions",
            "strict_reset",
            "DOMAIN FILES",
        ] {
            assert!(page.contains(word) || page.contains(&word.replace(' ', "\\ ")), "{word} in {page}");
        }
    }
}
