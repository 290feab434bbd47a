//! `firewall.xml` of Qubes OS, the current version 2 and version 1 of Qubes before 4.0.

use super::{Became, ImportError, Imported, within_bounds};
use crate::{ast::Rule, parse_rule};
use roxmltree::{Document, Node, ParsingOptions};
use rules_program::policy::Action;

/// Elements and attributes at most.
const MAX_NODES: u32 = 1 << 20;
/// Properties of a version 2 rule, in the order of our text; `comment` must be last.
const PROPERTIES: [&str; 8] =
    ["action", "specialtarget", "dsthost", "proto", "dstports", "icmptype", "expire", "comment"];

/// Reads a `firewall.xml`.
///
/// A rule that Qubes would not take either becomes, if it accepts, nothing, and otherwise `drop`: Qubes drops all
/// traffic of a qube whose rules it cannot read. Rules that drop do so silently here; Qubes answers them.
///
/// # Errors
/// What is no `firewall.xml` of a version that is known.
pub fn import_qubes_xml(text: &str) -> Result<Imported, ImportError> {
    within_bounds(text)?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|e| ImportError(e.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name("firewall") && !root.has_tag_name("QubesFirewallRules") {
        return Err(ImportError(format!("the root element is `{}`, not `firewall`", root.tag_name().name())));
    }
    match root.attribute("version") {
        Some("2") => version_2(&root),
        None | Some("1") => version_1(&root),
        Some(other) => Err(ImportError(format!("version {other} of firewall.xml is not known here"))),
    }
}

fn at(node: &Node<'_, '_>) -> String {
    let position = node.document().text_pos_at(node.range().start);
    format!("line {}, column {}", position.row, position.col)
}

fn version_2(root: &Node<'_, '_>) -> Result<Imported, ImportError> {
    let rules = root.children().find(|node| node.has_tag_name("rules"));
    let rules = rules.ok_or_else(|| ImportError("there is no element `rules`".to_owned()))?;
    let mut imported = Imported::default();
    for node in rules.children().filter(Node::is_element) {
        match properties(&node).and_then(|fields| line(&fields).map_err(|why| (why, action_of(&fields)))) {
            Ok(rule) => imported.push(rule),
            Err((why, action)) => refuse(&mut imported, &node, (why, action)),
        }
    }
    Ok(imported)
}

type Fields<'t> = Vec<(&'static str, &'t str)>;

/// The properties of a rule by name; without the action where they cannot be read.
fn properties<'t>(rule: &Node<'t, '_>) -> Result<Fields<'t>, (String, Option<String>)> {
    let list = rule.children().find(|node| node.has_tag_name("properties"));
    let list = list.filter(|_| rule.has_tag_name("rule"));
    let list = list.ok_or_else(|| (format!("`{}` has no properties", rule.tag_name().name()), None))?;
    let mut fields = Fields::new();
    for property in list.children().filter(Node::is_element) {
        let name = property.attribute("name").unwrap_or_default();
        let Some(known) = PROPERTIES.into_iter().find(|known| *known == name) else {
            return Err((format!("there is no property `{name}`"), action_of(&fields)));
        };
        if fields.iter().any(|(seen, _)| *seen == known) {
            return Err((format!("two properties `{name}`"), None));
        }
        fields.push((known, property.text().unwrap_or_default().trim()));
    }
    Ok(fields)
}

fn action_of(fields: &Fields<'_>) -> Option<String> {
    fields.iter().find(|(name, _)| *name == "action").map(|(_, action)| (*action).to_owned())
}

/// A rule of Qubes' fields: their text is our text.
fn line(fields: &Fields<'_>) -> Result<Rule, String> {
    let mut line = String::new();
    for known in PROPERTIES {
        let Some((name, value)) = fields.iter().find(|(name, _)| *name == known) else { continue };
        if *name == "action" && !matches!(*value, "accept" | "drop") {
            return Err(format!("action `{value}` is not one of Qubes"));
        }
        // Letters that Qubes allows, less those that would make one value several.
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":./-_".contains(c);
        let allowed_in_comment = |c: char| c.is_ascii_alphanumeric() || ":;,./-_[] ".contains(c);
        let sound = match known {
            "comment" => value.chars().all(allowed_in_comment),
            _ => !value.is_empty() && value.chars().all(allowed),
        };
        if !sound {
            return Err(format!("`{name}` has a value that Qubes does not allow"));
        }
        if !value.is_empty() {
            line.push_str(&format!("{name}={value} "));
        }
    }
    let wrong = |diagnostics: Vec<crate::Diagnostic>| {
        diagnostics.first().map_or_else(|| "not a rule".to_owned(), |wrong| wrong.message.clone())
    };
    parse_rule(line.trim_end()).map_err(wrong)
}

/// In place of a rule that is none.
fn refuse(imported: &mut Imported, node: &Node<'_, '_>, (why, action): (String, Option<String>)) {
    if action.as_deref() == Some("accept") {
        imported.unsaid(at(node), why, Became::LeftOut);
    } else {
        imported.unsaid(at(node), why, Became::Wider);
        imported.push(Rule::new(Action::Drop));
    }
}

/// The policy and the defaults for name servers and ICMP are attributes; the rules are its exceptions.
fn version_1(root: &Node<'_, '_>) -> Result<Imported, ImportError> {
    let policy = match root.attribute("policy") {
        Some("allow") => "accept",
        Some("deny") => "drop",
        other => return Err(ImportError(format!("policy `{}` is unknown", other.unwrap_or_default()))),
    };
    let mut imported = Imported::default();
    let action = |name: &str| match root.attribute(name) {
        None => policy,
        Some("allow") => "accept",
        Some(_) => "drop",
    };
    let first = [
        vec![("action", action("dns")), ("specialtarget", "dns")],
        vec![("action", action("icmp")), ("proto", "icmp")],
    ];
    for fields in first {
        imported.push(line(&fields).map_err(ImportError)?);
    }
    let exception = if policy == "accept" { "drop" } else { "accept" };
    for node in root.children().filter(Node::is_element) {
        match line_v1(&node, exception) {
            Ok(rule) => imported.push(rule),
            Err(why) => refuse(&mut imported, &node, (why, Some(exception.to_owned()))),
        }
    }
    if policy == "accept" {
        imported.push(Rule::new(Action::Accept));
    }
    Ok(imported)
}

fn line_v1(node: &Node<'_, '_>, action: &'static str) -> Result<Rule, String> {
    let given = |name: &str| node.attribute(name).map(str::trim).filter(|value| !value.is_empty());
    let host = given("address").map(|address| match given("netmask") {
        Some(length) if !address.contains('/') => format!("{address}/{length}"),
        _ => address.to_owned(),
    });
    let ports = given("port").map(|port| match given("toport") {
        Some(last) => format!("{port}-{last}"),
        None => port.to_owned(),
    });
    // Ports without a protocol are TCP's.
    let protocol = match given("proto") {
        Some("any") => None,
        None if ports.is_some() => Some("tcp"),
        other => other,
    };
    let mut fields: Fields<'_> = vec![("action", action)];
    fields.extend(host.as_deref().map(|host| ("dsthost", host)));
    fields.extend(protocol.map(|protocol| ("proto", protocol)));
    fields.extend(ports.as_deref().map(|ports| ("dstports", ports)));
    fields.extend(given("expire").filter(|expire| *expire != "0").map(|expire| ("expire", expire)));
    line(&fields)
}

#[cfg(test)]
mod tests;
