//! A second archive behind the AppVM initramfs: the kernel unpacks both, and what comes later wins.

use std::path::Path;

const INIT: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /etc/boot-modules) virtio_rng vmw_vsock_virtio_transport virtio_net ext4; do
    modprobe -q $module
done
exec /bin/bulkhead-agent
";

/// The initramfs at `base` with an init that does nothing but start the agent.
pub(crate) fn with_agent(base: &Path, agent: &Path) -> Vec<u8> {
    let mut archive = std::fs::read(base).unwrap();
    archive.resize(archive.len().next_multiple_of(512), 0);
    for (name, mode, content) in [
        ("init", 0o100_755, INIT.as_bytes().to_vec()),
        ("bin/bulkhead-agent", 0o100_755, std::fs::read(agent).unwrap()),
        ("TRAILER!!!", 0, Vec::new()),
    ] {
        add(&mut archive, name, mode, &content);
    }
    archive
}

/// One file in the "newc" format (`cpio(5)`).
fn add(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let (size, name_len) = (content.len(), name.len() + 1);
    let head = format!(
        "070701{0:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_len:08x}{0:08x}{name}\0",
        0, 1
    );
    archive.extend(head.as_bytes());
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
