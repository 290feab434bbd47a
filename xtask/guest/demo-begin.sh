# The beginning of a demo inside dom0. Lines that begin with @@ tell the host what the lines after them are.
# Given by the host: SHELL_AFTER (non-empty: end in a shell).
NIC=0000:01:00.0
export BULKHEAD_LIB=/host/lib PATH=/host/bin:$PATH
say() { echo "@@ $*"; }
die() {
    say fail "$*"
    for log in /var/log/bulkhead/*.log; do
        [ -s "$log" ] && { echo "--- ${log##*/}"; tail -n 25 "$log"; }
    done
    [ -s /run/bulkheadd.log ] && { echo "--- bulkheadd"; tail -n 25 /run/bulkheadd.log; }
    echo "--- kernel"
    dmesg | tail -n 15
    exit 1
}

say step "dom0: KVM and VFIO"
grep -qw svm /proc/cpuinfo && modprobe kvm-amd || modprobe kvm-intel || die "dom0 has no KVM"
modprobe vfio-pci && modprobe vfio_iommu_type1 && modprobe tun || die "dom0 has no VFIO"
modprobe e1000e && [ -e /sys/class/net/eth0 ] || die "dom0 does not see its network card"
say show "dom0 before: it owns the network card"
ls /sys/class/net

say step "dom0: bulkheadd"
mkdir -p /etc/bulkhead/domains /run/bulkhead /var/log/bulkhead
cp /host/domains/*.toml /etc/bulkhead/domains/
bulkheadd >/run/bulkheadd.log 2>&1 </dev/null &
for tenth in $(seq 600); do
    [ -S /run/bulkhead/bulkheadd.sock ] && break
    sleep 0.1
done
[ -S /run/bulkhead/bulkheadd.sock ] || die "bulkheadd did not open its socket"
say show "bulkhead nic list"
bulkhead nic list || die "bulkhead nic list"

say step "bulkhead nic assign $NIC net"
bulkhead nic assign $NIC net || die "the card was not assigned"
say show "dom0 after: no interface but lo"
ls /sys/class/net
[ "$(ls /sys/class/net)" = lo ] || die "dom0 still has a network interface"

# Waits until an AppVM's agent answers.
await_agent() {
    tries=0
    until bulkhead run "$1" -- true >/run/try.log 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { cat /run/try.log; die "the agent in AppVM $1 does not answer"; }
        sleep 1
    done
}

