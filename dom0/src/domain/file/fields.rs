//! Every field of a domain file in words, for the manual page; a test compares it with what is read.

/// Field and meaning.
pub const FIELDS: [(&str, &str); 15] = [
    (
        "kind",
        "\"netvm\" (owns the network card), \"firewallvm\" (judges packets) or \"appvm\" (a Linux machine). Required.",
    ),
    ("memory", "RAM in MiB; 16 for netvm and firewallvm, 512 for AppVMs when absent."),
    ("vcpus", "Virtual processors of an AppVM; 1 when absent."),
    (
        "netvm",
        "The domain through which this one reaches the network: a firewallvm for an AppVM, a netvm for a \
               firewallvm. Offline when absent.",
    ),
    ("devices", "PCI addresses of the network card of a netvm; see `bulkhead nic assign`."),
    ("kernel", "Absolute path of the kernel (bzImage, or ELF with a PVH note). Required for AppVMs."),
    ("initrd", "Absolute path of an AppVM's initial RAM disk."),
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
];
