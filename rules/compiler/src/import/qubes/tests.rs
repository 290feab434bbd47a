use super::*;
use proptest::prelude::*;

fn read(xml: &str) -> (String, Vec<String>) {
    let imported = import_qubes_xml(xml).unwrap();
    (imported.file.to_string(), imported.unsaid.iter().map(ToString::to_string).collect())
}

fn version_2(rules: &[&[(&str, &str)]]) -> String {
    let property = |(name, value): &(&str, &str)| format!("<property name=\"{name}\">{value}</property>");
    let rule = |fields: &&[(&str, &str)]| {
        let all: String = fields.iter().map(property).collect();
        format!("<rule><properties>{all}</properties></rule>\n")
    };
    let rules: String = rules.iter().map(rule).collect();
    format!("<firewall version=\"2\"><rules>{rules}</rules></firewall>")
}

#[test]
fn a_rule_that_qubes_would_not_take_opens_nothing() {
    let cases: [&[(&str, &str)]; 10] = [
        &[("action", "accept"), ("dsthost", "1.2.3.4\naction=accept")],
        &[("action", "accept"), ("dsthost", "1.2.3.4,5.6.7.8")],
        &[("action", "accept"), ("dsthost", "")],
        &[("action", "accept"), ("dstports", "53")],
        &[("action", "accept"), ("proto", "tcp"), ("dstports", "65536")],
        &[("action", "accept"), ("proto", "tcp"), ("icmptype", "8")],
        &[("action", "accept"), ("nonsense", "8")],
        &[("action", "accept"), ("proto", "tcp,udp")],
        &[("action", "accept"), ("specialtarget", "ntp")],
        &[("action", "accept"), ("comment", "a=b")],
    ];
    for fields in cases {
        let (text, unsaid) = read(&version_2(&[fields]));
        assert_eq!((text.as_str(), unsaid.len()), ("", 1), "{fields:?}");
        assert!(
            unsaid[0].starts_with("line 1, column 30: ") && unsaid[0].ends_with(": left out"),
            "{unsaid:?}"
        );
    }
    for fields in
        [&[("action", "drop"), ("dsthost", "a b")][..], &[("action", "forward")], &[("proto", "tcp")], &[]]
    {
        let (text, unsaid) = read(&version_2(&[fields, &[("action", "accept")]]));
        assert_eq!((text.as_str(), unsaid.len()), ("action=drop\naction=accept\n", 1), "{fields:?}");
    }
    let twice = version_2(&[&[("action", "accept"), ("action", "accept")]]);
    assert_eq!(read(&twice).0, "action=drop\n", "nobody knows which");
}

#[test]
fn what_is_no_firewall_xml_is_refused() {
    for (xml, why) in [
        ("", "root"),
        ("<firewall version=\"3\"/>", "version 3"),
        ("<firewall version=\"2\"/>", "no element `rules`"),
        ("<firewall/>", "policy"),
        ("<domain/>", "not `firewall`"),
        ("<!DOCTYPE x [<!ENTITY a \"b\">]><firewall version=\"2\"><rules/></firewall>", "DTD"),
    ] {
        let wrong = import_qubes_xml(xml).unwrap_err().to_string();
        assert!(wrong.contains(why), "{xml}: {wrong}");
    }
    assert!(import_qubes_xml(&" ".repeat(super::super::MAX_INPUT + 1)).is_err());
}

proptest! {
    #[test]
    fn whatever_is_read_can_be_compiled(value in "[ -~\n]{0,40}", property in 0..8usize) {
        let value = value.replace(['<', '&', '>'], "");
        let fields = [("action", "accept"), (PROPERTIES[property], value.as_str())];
        let read = import_qubes_xml(&version_2(&[&fields]));
        if let Ok(imported) = read {
            let text = imported.file.to_string();
            let compiled = crate::compile(&text, 0);
            prop_assert!(compiled.is_ok_and(|compiled| compiled.file.rules.len() <= 1), "{}", text);
        }
    }
}
