use super::*;
use crate::domain::{check, file};
use insta::assert_snapshot;

fn domains(files: &[(&str, &str)]) -> Domains {
    let read = |(name, text): &(&str, &str)| {
        let domain = file::parse(Path::new(&format!("/d/{name}.toml")), text).unwrap();
        (domain.name.clone(), domain)
    };
    let domains = files.iter().map(read).collect();
    check::all(&domains).unwrap();
    domains
}

fn places(lib: &str) -> Places<'_> {
    Places { lib: Path::new(lib), state: Path::new("/var/lib/bulkhead") }
}

const NET: &str = "kind = \"netvm\"\ndevices = [\"01:00.0\"]\nautostart = true\n";
const FW: &str = "kind = \"firewallvm\"\nnetvm = \"sys-net\"\n";
const APP: &str = "kind = \"appvm\"\nkernel = \"/boot/vmlinuz\"\ninitrd = \"/boot/initrd\"\ncmdline = \"root=/dev/vda\"\n\
                   netvm = \"sys-firewall\"\n[[disks]]\nimage = \"/root.img\"\nmode = \"volatile\"\n";

#[test]
fn chain_with_two_clients() {
    let all = domains(&[("work", APP), ("sys-net", NET), ("personal", APP), ("sys-firewall", FW)]);
    assert_snapshot!(plan(&all, places("/usr/lib/bulkhead"), &mut Numbering::default()));
}

#[test]
fn offline_appvm_and_tap() {
    let vault = "kind = \"appvm\"\nkernel = \"/boot/vmlinuz\"\nid = 9\n";
    let net =
        "kind = \"netvm\"\ntap = \"tap0\"\n[nic]\nipv4 = { address = \"192.0.2.5/24\" }\nipv6 = \"off\"\n";
    let all = domains(&[("vault", vault), ("sys-net", net)]);
    assert_snapshot!(plan(&all, places("/lib"), &mut Numbering::default()));
}

#[test]
fn a_new_domain_moves_nobody() {
    let mut numbering = Numbering::default();
    let before = domains(&[("sys-net", NET), ("sys-firewall", FW), ("work", APP)]);
    let _ = plan(&before, places("/lib"), &mut numbering);
    let seat = numbering.seat(&"work".parse().unwrap()).cloned();
    let after = domains(&[("sys-net", NET), ("sys-firewall", FW), ("work", APP), ("anon", APP)]);
    let _ = plan(&after, places("/lib"), &mut numbering);
    assert_eq!(numbering.seat(&"work".parse().unwrap()).cloned(), seat);
    let anon = numbering.seat(&"anon".parse().unwrap()).unwrap();
    assert_eq!((anon.number, anon.port), (2, 3));
}

#[test]
fn fixed_number_wins_over_a_given_one() {
    let mut numbering = Numbering::default();
    let _ = plan(
        &domains(&[("sys-net", NET), ("sys-firewall", FW), ("work", APP)]),
        places("/lib"),
        &mut numbering,
    );
    let fixed = format!("id = 1\n{APP}");
    let all = domains(&[("sys-net", NET), ("sys-firewall", FW), ("work", APP), ("anon", &fixed)]);
    let _ = plan(&all, places("/lib"), &mut numbering);
    assert_eq!(numbering.seat(&"anon".parse().unwrap()).unwrap().number, 1);
    assert_eq!(numbering.seat(&"work".parse().unwrap()).unwrap().number, 2);
}

#[test]
fn chains_and_what_is_below() {
    let all = domains(&[("work", APP), ("sys-net", NET), ("sys-firewall", FW)]);
    let plan = plan(&all, places("/lib"), &mut Numbering::default());
    let names = |list: Vec<Name>| list.iter().map(Name::to_string).collect::<Vec<_>>();
    assert_eq!(names(plan.chain(&"work".parse().unwrap())), ["sys-net", "sys-firewall", "work"]);
    assert_eq!(names(plan.below(&"sys-net".parse().unwrap())), ["sys-firewall", "work"]);
}

const TOR: &str = "kind = \"torvm\"\nnetvm = \"sys-firewall\"\n";

#[test]
fn torvm_is_a_client_and_has_clients() {
    let anon = APP.replace("sys-firewall", "tor");
    let all =
        domains(&[("sys-net", NET), ("sys-firewall", FW), ("tor", TOR), ("anon", &anon), ("work", APP)]);
    assert_snapshot!(plan(&all, places("/usr/lib/bulkhead"), &mut Numbering::default()));
}

#[test]
fn appvms_have_ipv6_wherever_they_are_and_driver_domains_have_none() {
    let anon = APP.replace("sys-firewall", "tor");
    let all =
        domains(&[("sys-net", NET), ("sys-firewall", FW), ("tor", TOR), ("anon", &anon), ("work", APP)]);
    let mut numbering = Numbering::default();
    let plan = plan(&all, places("/lib"), &mut numbering);
    let client = |name: &str| {
        let planned = plan.machines.iter().find(|planned| planned.name.as_str() == name).unwrap();
        planned.client.as_ref().unwrap().1.clone()
    };
    for name in ["anon", "work"] {
        let number = numbering.seat(&name.parse().unwrap()).unwrap().number;
        assert_eq!(client(name).v6_prefix, Some(address::v6_prefix(number)));
    }
    assert_eq!(client("tor").v6_prefix, None);
}

#[test]
fn who_goes_another_way_keeps_its_number() {
    let mut numbering = Numbering::default();
    let files = |netvm: &str| APP.replace("sys-firewall", netvm);
    let chain = |work: &str| {
        domains(&[("sys-net", NET), ("sys-firewall", FW), ("tor", TOR), ("aa", APP), ("work", work)])
    };
    let place = |numbering: &Numbering| {
        let seat = numbering.seat(&"work".parse().unwrap()).unwrap();
        (seat.number, seat.port)
    };
    let _ = plan(&chain(APP), places("/lib"), &mut numbering);
    let (number, port) = place(&numbering);
    let _ = plan(&chain(&files("tor")), places("/lib"), &mut numbering);
    assert_eq!(place(&numbering), (number, 2), "the first port of another domain");
    let _ = plan(&chain(&APP.replace("netvm = \"sys-firewall\"\n", "")), places("/lib"), &mut numbering);
    assert_eq!(place(&numbering).0, number);
    let _ = plan(&chain(APP), places("/lib"), &mut numbering);
    assert_eq!(place(&numbering), (number, port));
}
