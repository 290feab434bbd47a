# The demo inside dom0, after its beginning.
# Given by the host: PAGE (address of a web page outside), PORT (its port), LONG (a download there that takes long).
say step "bulkhead up: netvm, firewallvm, two Debian AppVMs"
bulkhead up || die "bulkhead up"
say step "work: boots"
await_agent work
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

