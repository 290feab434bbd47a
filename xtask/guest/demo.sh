# The demo inside dom0. Lines that begin with @@ tell the host what the lines after them are.
# Given by the host: PAGE (address of a web page outside), PORT (its port), LONG (a download there that takes long),
# SHELL_AFTER (non-empty: end in a shell).
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
for tenth in $(seq 100); do
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

say step "bulkhead up: netvm, firewallvm, two Debian AppVMs"
bulkhead up || die "bulkhead up"
say step "work: boots"
tries=0
until bulkhead run work -- true >/run/try.log 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 120 ] || { cat /run/try.log; die "the agent in AppVM work does not answer"; }
    sleep 1
done
say step "work: waits for its DHCP lease"
bulkhead run work -- systemctl start network-online.target || die "AppVM work has no network"

say step "work: fetches $PAGE"
bulkhead run work -- wget -q -O - "$PAGE" >/run/page || die "AppVM work did not get the page"
say show "bulkhead run work -- wget -q -O - $PAGE"
cat /run/page
say show "bulkhead run work -- ip -4 -brief address"
bulkhead run work -- ip -4 -brief address

say step "work: a long download"
bulkhead run work -- wget -q -T 900 -t 1 -O /tmp/long "$PAGE$LONG" >/dev/null 2>&1 &
download=$!
received() { bulkhead run work -- stat -c %s /tmp/long 2>/dev/null || echo 0; }
tries=0
until [ "$(received)" -gt 100000 ]; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || die "the download does not begin"
    sleep 1
done
before=$(received)
sleep 2
now=$(received)
[ "$now" -gt "$before" ] || die "the download does not go on ($before bytes, then $now)"
say show "bulkhead rules add --before 0 work drop proto=tcp dstports=$PORT"
echo "before: the download has $before bytes, two seconds later $now"
bulkhead rules add --before 0 work drop proto=tcp "dstports=$PORT" || die "the rule was not added"
before=$(received)
sleep 4
now=$(received)
echo "after:  the download has $before bytes, four seconds later $now"
[ "$now" = "$before" ] || die "the rule did not cut the download"
bulkhead run work -- wget -q -T 5 -t 1 -O - "$PAGE" >/run/page 2>&1 && die "the rule lets a new connection pass"
echo "after:  a new connection to port $PORT does not come up"
say show "bulkhead rules list work"
bulkhead rules list work || die "bulkhead rules list"
say show "bulkhead rules del work 0"
bulkhead rules del work 0 || die "the rule was not deleted"
bulkhead run work -- wget -q -T 30 -t 1 -O - "$PAGE" >/run/page || die "AppVM work is not online again"
cat /run/page
kill $download 2>/dev/null
say show "bulkhead status"
bulkhead status || die "bulkhead status"
say cable

if [ -n "$SHELL_AFTER" ]; then
    say shell
    export PS1='dom0:\w# '
    cd /root
    lab-terminal sh -i
fi
bulkhead down >/run/down.log 2>&1 || { cat /run/down.log; die "bulkhead down"; }
say end
