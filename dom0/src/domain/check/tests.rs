use super::*;
use crate::domain::file;
use insta::assert_snapshot;

/// The domains of `(name, text)` pairs.
fn domains(files: &[(&str, &str)]) -> Domains {
    let read = |(name, text): &(&str, &str)| {
        let domain = file::parse(Path::new(&format!("/d/{name}.toml")), text).unwrap();
        (domain.name.clone(), domain)
    };
    files.iter().map(read).collect()
}

fn wrong(files: &[(&str, &str)]) -> String {
    all(&domains(files)).unwrap_err().to_string()
}

const APP: &str = "kind = \"appvm\"\nkernel = \"/k\"\n";

fn app(netvm: &str) -> String {
    format!("{APP}netvm = \"{netvm}\"\n")
}

#[test]
fn ordinary_chain_is_fine() {
    let files = [
        ("net", "kind = \"netvm\"\ndevices = [\"01:00.0\"]\n"),
        ("fw", "kind = \"firewallvm\"\nnetvm = \"net\"\n"),
        ("work", &app("fw")),
        ("vault", APP),
    ];
    all(&domains(&files)).unwrap();
}

#[test]
fn unknown_netvm() {
    assert_snapshot!(wrong(&[("fw", "kind = \"firewallvm\""), ("work", &app("wf"))]));
}

#[test]
fn appvm_directly_behind_netvm() {
    let files = [("net", "kind = \"netvm\""), ("fw", "kind = \"firewallvm\""), ("work", &app("net"))];
    assert_snapshot!(wrong(&files));
}

#[test]
fn loop_of_domains() {
    let files =
        [("a", "kind = \"firewallvm\"\nnetvm = \"b\""), ("b", "kind = \"firewallvm\"\nnetvm = \"a\"")];
    assert_snapshot!(wrong(&files));
}

#[test]
fn domain_behind_itself() {
    assert!(wrong(&[("a", "kind = \"firewallvm\"\nnetvm = \"a\"")]).contains("a -> a"));
}

#[test]
fn two_owners_of_a_device() {
    let files = [
        ("net", "kind = \"netvm\"\ndevices = [\"01:00.0\"]"),
        ("net2", "kind = \"netvm\"\ndevices = [\"0000:01:00.0\"]"),
    ];
    assert_snapshot!(wrong(&files));
}

#[test]
fn fields_that_do_not_fit_the_kind() {
    let text = "kind = \"firewallvm\"\nvcpus = 2\ndevices = [\"01:00.0\"]\nid = 3\n[nic]\n[[disks]]\nimage = \"/x\"\n";
    assert_snapshot!(wrong(&[("fw", text)]));
}

#[test]
fn appvm_without_kernel() {
    assert_snapshot!(wrong(&[("work", "kind = \"appvm\"")]));
}

#[test]
fn two_firewalls_on_one_netvm() {
    let fw = "kind = \"firewallvm\"\nnetvm = \"net\"\n";
    assert_snapshot!(wrong(&[("net", "kind = \"netvm\""), ("fw", fw), ("fw2", fw)]));
}

#[test]
fn too_many_clients() {
    let names: Vec<String> = (0..31).map(|n| format!("app{n:02}")).collect();
    let text = app("fw");
    let mut files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), text.as_str())).collect();
    files.push(("fw", "kind = \"firewallvm\""));
    let said = wrong(&files);
    assert!(said.starts_with("/d/app30.toml:3: netvm: fw already serves app00, "), "{said}");
    assert!(said.contains("no more than 30"), "{said}");
}

#[test]
fn two_clients_with_one_number() {
    let text = format!("{APP}id = 7\n");
    assert_snapshot!(wrong(&[("a", &text), ("b", &text)]));
}

#[test]
fn two_writers_of_an_image() {
    let disk = |mode: &str| format!("{APP}[[disks]]\nimage = \"/root.img\"\nmode = \"{mode}\"\n");
    assert_snapshot!(wrong(&[("a", &disk("ro")), ("b", &disk("rw"))]));
    all(&domains(&[("a", &disk("volatile")), ("b", &disk("volatile"))])).unwrap();
}

#[test]
fn missing_kernel_file() {
    let all = domains(&[
        ("work", "kind = \"appvm\"\nkernel = \"/nowhere/vmlinuz\"\n"),
        ("fw", "kind = \"firewallvm\""),
    ]);
    let said: Vec<Problem> = all.values().flat_map(|d| files(d, Path::new("/nowhere/lib"))).collect();
    assert_snapshot!(Problems(said));
}

const CHAIN: [(&str, &str); 3] = [
    ("net", "kind = \"netvm\""),
    ("fw", "kind = \"firewallvm\"\nnetvm = \"net\""),
    ("tor", "kind = \"torvm\"\nnetvm = \"fw\""),
];

fn with_chain<'f>(more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    CHAIN.iter().chain(more).copied().collect()
}

#[test]
fn anonymous_appvm_behind_a_torvm_or_offline() {
    let (behind, offline) = (format!("{}anonymous = true\n", app("tor")), format!("{APP}anonymous = true\n"));
    all(&domains(&with_chain(&[("anon", &behind), ("alone", &offline), ("plain", &app("tor"))]))).unwrap();
}

#[test]
fn anonymous_appvm_behind_a_firewall() {
    let text = format!("{}anonymous = true\n", app("fw"));
    assert_snapshot!(wrong(&with_chain(&[("anon", &text)])));
}

#[test]
fn torvm_in_the_wrong_place() {
    let files = with_chain(&[
        ("tor2", "kind = \"torvm\"\nnetvm = \"net\""),
        ("tor3", "kind = \"torvm\"\nnetvm = \"tor\""),
    ]);
    assert_snapshot!(wrong(&files));
}

#[test]
fn tor_fields_elsewhere() {
    let files = [
        ("fw", "kind = \"firewallvm\"\nanonymous = true\n[tor]\n"),
        ("tor", "kind = \"torvm\"\n[[disks]]\nimage = \"/x\"\n"),
    ];
    assert_snapshot!(wrong(&files));
}
