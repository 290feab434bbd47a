//! Every field of a domain file in words, for the manual page; a test compares it with what is read.

/// Field and meaning.
pub const FIELDS: [(&str, &str); 17] = [
    (
        "kind",
        "\"netvm\" (owns the network card), \"firewallvm\" (judges packets), \"torvm\" (brings its clients into the \
               Tor network) or \"appvm\" (a Linux machine). Required.",
    ),
    ("memory", "RAM in MiB; 16 for netvm and firewallvm, 128 for torvm, 512 for AppVMs when absent."),
    ("vcpus", "Virtual processors of an AppVM; 1 when absent."),
    (
        "netvm",
        "The domain through which this one reaches the network: a firewallvm or a torvm for an AppVM, a \
               firewallvm for a torvm, a netvm for a firewallvm. Offline when absent.",
    ),
    ("devices", "PCI addresses of the network card of a netvm; see `bulkhead nic assign`."),
    ("kernel", "Absolute path of the kernel (bzImage, or ELF with a PVH note). Required for AppVMs."),
    ("initrd", "Absolute path of an AppVM's initial RAM disk, or of another bundle for a torvm."),
    ("cmdline", "Kernel command line."),
    (
        "disks",
        "Tables [[disks]]: image (absolute path) and mode (\"ro\", the default; \"rw\"; \"volatile\": writes are \
               forgotten when the domain ends).",
    ),
    ("label", "Trust colour: red, orange, yellow, green, gray, blue, purple or black."),
    ("autostart", "true: bulkheadd starts the domain by itself."),
    ("id", "Client number, 1 to 4095, for an address that never changes; the lowest free one when absent."),
    (
        "nic",
        "Table [nic] of a netvm: ipv4 (\"dhcp\", \"off\" or { address = \"A/N\", gateway = \"G\", dns = [\"D\"] }) and \
             ipv6 (\"auto\", \"off\" or the same table).",
    ),
    ("tap", "Tap device of this machine that stands in for a network card."),
    ("strict_reset", "false: the network card may be one that cannot be reset from outside."),
    (
        "anonymous",
        "true: the AppVM reaches the network through a torvm or not at all; any other netvm is refused, in its file and \
             by `bulkhead route`.",
    ),
    (
        "tor",
        "Table [tor] of a torvm: network (file that describes another Tor network than the public one), bridges (list of \
             bridge lines), vanguards (\"lite\", the default; \"full\"; \"disabled\") and the table isolation \
             (destination_address, destination_port, socks_credentials: true or false; port_classes: list of lists of \
             ports).",
    ),
];
