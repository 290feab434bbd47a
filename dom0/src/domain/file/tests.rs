use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

fn wrong(text: &str) -> String {
    parse(Path::new("/etc/bulkhead/domains/work.toml"), text).unwrap_err().to_string()
}

#[test]
fn full_file_is_understood() {
    let text = r#"
kind = "netvm"
memory = 24
vcpus = 2
devices = ["0000:01:00.0", "02:00.0"]
label = "red"
autostart = true

[nic]
ipv4 = { address = "192.0.2.5/24", gateway = "192.0.2.1", dns = ["192.0.2.53"] }
ipv6 = "off"

[[disks]]
image = "/var/lib/bulkhead/x.img"
mode = "volatile"
"#;
    let domain = parse(Path::new("/etc/bulkhead/domains/net.toml"), text).unwrap();
    assert_eq!(domain.name.as_str(), "net");
    assert_eq!((domain.memory_mib, domain.vcpus, domain.label), (24, 2, Label::Red));
    assert_eq!(
        domain.devices.iter().map(|d| d.value.to_string()).collect::<Vec<_>>(),
        ["0000:01:00.0", "0000:02:00.0"]
    );
    assert_eq!(domain.devices[0].line, 5);
    assert_eq!(domain.disks[0].mode, DiskMode::Volatile);
    assert!(
        matches!(&domain.nic.unwrap().value.v4, control::message::V4Config::Static(v4) if v4.prefix == 24)
    );
}

#[test]
fn defaults_are_small_for_driver_domains() {
    let net = parse(Path::new("n.toml"), "kind = \"netvm\"").unwrap();
    let app = parse(Path::new("a.toml"), "kind = \"appvm\"").unwrap();
    let tor = parse(Path::new("t.toml"), "kind = \"torvm\"").unwrap();
    assert_eq!((net.memory_mib, tor.memory_mib, app.memory_mib, app.vcpus), (16, 128, 512, 1));
}

#[test]
fn unknown_field() {
    assert_snapshot!(wrong("kind = \"appvm\"\nmemroy = 12\n"));
}

#[test]
fn every_field_is_in_the_manual() {
    let said = wrong("kind = \"appvm\"\nx = 1\n");
    let listed: Vec<&str> = said.split('`').skip(3).step_by(2).take_while(|w| *w != "bulkhead man").collect();
    assert_eq!(listed, FIELDS.map(|(field, _)| field));
}

#[test]
fn missing_kind() {
    assert_snapshot!(wrong("memory = 12\n"));
}

#[test]
fn unknown_kind() {
    assert_snapshot!(wrong("kind = \"router\"\n"));
}

#[test]
fn not_toml() {
    assert_snapshot!(wrong("kind = \"appvm\"\nmemory = = 3\n"));
}

#[test]
fn several_values_out_of_range_are_all_named() {
    let text = "kind = \"appvm\"\nmemory = 1\nvcpus = 0\nkernel = \"vmlinuz\"\ncmdline = \"a\\nb\"\n";
    assert_snapshot!(wrong(text));
}

#[test]
fn bad_device_address() {
    assert_snapshot!(wrong("kind = \"netvm\"\ndevices = [\"01:00\"]\n"));
}

#[test]
fn bad_name_of_netvm() {
    assert_snapshot!(wrong("kind = \"appvm\"\nnetvm = \"../fw\"\n"));
}

#[test]
fn bad_static_address() {
    let text = "kind = \"netvm\"\n\n[nic]\nipv4 = { address = \"192.0.2.5\" }\nipv6 = \"dhcp\"\n";
    assert_snapshot!(wrong(text));
}

#[test]
fn gateway_elsewhere() {
    let text = "kind = \"netvm\"\n[nic]\nipv4 = { address = \"192.0.2.5/24\", gateway = \"198.51.100.1\" }\n";
    assert_snapshot!(wrong(text));
}

#[test]
fn file_name_is_no_domain_name() {
    let error = parse(Path::new("/etc/bulkhead/domains/My VM.toml"), "kind = \"appvm\"").unwrap_err();
    assert_snapshot!(error);
}

#[test]
fn missing_directory() {
    let error = read_all(Path::new("/nowhere/domains")).unwrap_err();
    assert_snapshot!(error);
}

#[test]
fn all_files_are_reported_together() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.toml"), "kind = 1").unwrap();
    std::fs::write(directory.path().join("b.toml"), "kind = \"appvm\"\nx = 1").unwrap();
    std::fs::write(directory.path().join("c.toml"), vec![b'#'; 70_000]).unwrap();
    std::fs::write(directory.path().join("notes.txt"), "not a domain").unwrap();
    assert_eq!(read_all(directory.path()).unwrap_err().0.len(), 3);
}

#[test]
fn tor_table_is_understood() {
    let bridge = format!("192.0.2.7:443 {}", "A".repeat(40));
    let text = format!(
        "kind = \"torvm\"\n[tor]\nnetwork = \"/etc/net.toml\"\nbridges = [{bridge:?}]\nvanguards = \"full\"\n\
         [tor.isolation]\ndestination_address = true\nport_classes = [[22], [25, 587]]\n"
    );
    let tor = parse(Path::new("t.toml"), &text).unwrap().tor.value;
    assert_eq!(tor.bridges, [bridge]);
    assert!(tor.isolation.destination_address && tor.isolation.socks_credentials);
    assert_eq!((tor.isolation.port_classes.len(), tor.vanguards), (2, crate::domain::tor::Vanguards::Full));
}

#[test]
fn wrong_tor_table() {
    let text = "kind = \"torvm\"\n\n[tor]\nnetwork = \"net.toml\"\nbridges = [\"obfs4 192.0.2.7:443\"]\n\
                isolation = { port_classes = [[22], [22]] }\n";
    assert_snapshot!(wrong(text));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = parse(Path::new("x.toml"), &text);
    }

    #[test]
    fn no_values_panic(memory in any::<i64>(), vcpus in any::<i64>(), word in ".*") {
        let text = format!("kind = \"netvm\"\nmemory = {memory}\nvcpus = {vcpus}\nlabel = {word:?}\n[nic]\nipv4 = {word:?}");
        let _ = parse(Path::new("x.toml"), &text);
    }
}
