# The demo of the Tor gateway inside dom0, after its beginning.
# Given by the host: PAGE and ONION (web pages behind exits and of an onion service).
say step "bulkhead up: netvm, firewallvm, torvm, a Debian AppVM"
bulkhead up || die "bulkhead up"
say step "anon: boots"
await_agent anon
say step "anon: waits for its DHCP lease"
bulkhead run anon -- systemctl start network-online.target || die "AppVM anon has no network"
say step "tor: finds its way into the network"
tries=0
until bulkhead tor status >/run/tor-status 2>&1 && grep -q '100 % *ready' /run/tor-status; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat /run/tor-status; die "torvm does not get into the Tor network"; }
    sleep 2
done

# Through Tor, any stream may fail, the more at first.
fetch() { bulkhead run anon -- wget -q -T 60 -t 8 -O - "$1"; }
say step "anon: fetches $PAGE"
fetch "$PAGE" >/run/page || die "AppVM anon did not get the page"
say show "bulkhead run anon -- wget -q -O - $PAGE"
cat /run/page
say step "anon: fetches the onion page"
fetch "$ONION" >/run/page || die "AppVM anon did not get the onion page"
say show "bulkhead run anon -- wget -q -O - $ONION"
cat /run/page
say show "bulkhead tor status"
bulkhead tor status || die "bulkhead tor status"
bulkhead run anon -- wget -q -T 60 -t 1 -O /dev/null "${PAGE}long" >/dev/null 2>&1 &
download=$!
tries=0
until bulkhead tor circuits 2>/dev/null | grep -q anon || [ $tries -ge 20 ]; do
    tries=$((tries + 1))
    sleep 1
done
say show "bulkhead tor circuits, during a download"
bulkhead tor circuits || die "bulkhead tor circuits"
kill $download 2>/dev/null
say show "bulkhead route anon --via firewall: refused, as anon is anonymous"
bulkhead route anon --via firewall 2>&1 && die "anon was led around Tor"
say show "bulkhead status"
bulkhead status || die "bulkhead status"
say cable

