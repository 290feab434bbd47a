# The end of a demo inside dom0.
if [ -n "$SHELL_AFTER" ]; then
    say shell
    export PS1='dom0:\w# '
    cd /root
    lab-terminal sh -i
fi
bulkhead down >/run/down.log 2>&1 || { cat /run/down.log; die "bulkhead down"; }
say end
