# Makes a world of network namespaces, as the root of a user namespace of its own; see world.rs.
#
#   host      the namespace all this starts in; rbox runs here. lan0 10.77.0.2 fd77::2, default routes
#   router    10.77.0.1 fd77::1 to the host; 198.51.100.1 and 203.0.113.1 to the outside
#   one       198.51.100.10 2001:db8:1::10
#   two       203.0.113.10 2001:db8:2::10
#   near      10.77.0.3 fd77::3, on the host's own link
#   vpn       10.99.0.1 fd99::1, behind the host's vpn0, which is down at first
#
# 192.0.2.1: the router has no route. 198.51.100.66: it forbids. 198.51.100.67: silence.
# 198.51.100.99: nobody has the address.
set -e
files=$1
services=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/netns /run/bin /run/user/1000 /run/user/1001
for helper in newuidmap newgidmap; do
    cp "/usr/bin/$helper" /run/bin/
    chmod 4755 "/run/bin/$helper"
done
cp "$RBOX_BIN" /run/bin/rbox
mkdir -p "$files/etc" "$files/home/user" "$files/home/other" "$files/tmp"
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::%s/home/user:/bin/sh\nother:x:1001:1001::%s/home/other:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' \
    "$files" "$files" >"$files/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\nother:x:1001:\nnogroup:x:65534:\n' >"$files/etc/group"
printf 'user:2000:20000\nother:30000:20000\n' >"$files/etc/subuid"
cp "$files/etc/subuid" "$files/etc/subgid"
printf 'nameserver 198.51.100.10\n' >"$files/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n10.77.0.3 near-by-file\n' >"$files/etc/hosts"
for name in passwd group subuid subgid resolv.conf hosts; do
    chmod 644 "$files/etc/$name"
    mount --bind "$files/etc/$name" "/etc/$name"
done
chown -R 1000:1000 "$files/home/user" /run/user/1000
chown -R 1001:1001 "$files/home/other" /run/user/1001
chmod 700 /run/user/*
chmod 1777 "$files/tmp"

for name in router one two near vpn; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
ip link set lo up

# cable NAMESPACE INTERFACE ADDRESS4 ADDRESS6 NAMESPACE INTERFACE ADDRESS4 ADDRESS6, `1` being the host
end() {
    local interface=$2
    ip -n "$1" link set "$interface" up
    [ -z "$3" ] || ip -n "$1" address add "$3" dev "$interface"
    [ -z "$4" ] || ip -n "$1" address add "$4" dev "$interface" nodad
}
cable() {
    ip -n "$1" link add "$2" type veth peer name "$6" netns "$5"
    end "$1" "$2" "$3" "$4"
    end "$5" "$6" "$7" "$8"
}
# The host by name, so that all ends are alike.
touch /run/netns/host
mount --bind /proc/self/ns/net /run/netns/host
# The link the host is on: a bridge in the router's namespace.
ip -n router link add lan type bridge
end router lan 10.77.0.1/24 fd77::1/64
cable host lan0 10.77.0.2/24 fd77::2/64 router lan-host '' ''
cable near lan0 10.77.0.3/24 fd77::3/64 router lan-near '' ''
ip -n router link set lan-host master lan
ip -n router link set lan-near master lan
cable one wan0 198.51.100.10/24 2001:db8:1::10/64 router wan1 198.51.100.1/24 2001:db8:1::1/64
cable two wan0 203.0.113.10/24 2001:db8:2::10/64 router wan2 203.0.113.1/24 2001:db8:2::1/64
cable host vpn0 10.99.0.2/24 fd99::2/64 vpn tun0 10.99.0.1/24 fd99::1/64
ip link set vpn0 down
for route in 'host 10.77.0.1 fd77::1' 'near 10.77.0.1 fd77::1' 'one 198.51.100.1 2001:db8:1::1' 'two 203.0.113.1 2001:db8:2::1'; do
    # shellcheck disable=SC2086 # three words
    set -- $route
    ip -n "$1" route add default via "$2"
    ip -n "$1" -6 route add default via "$3"
done
nsenter --net=/run/netns/router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000 || true
nsenter --net=/run/netns/router nft -f - <<'NFT'
table inet world {
    chain forward {
        type filter hook forward priority 0
        ip daddr 198.51.100.66 reject with icmp admin-prohibited
        ip6 daddr 2001:db8:1::66 reject with icmpv6 admin-prohibited
        ip daddr 198.51.100.67 drop
    }
}
NFT
# Ordinary distributions let everybody ping.
sysctl -qw net.ipv4.ping_group_range='0 60000'
for name in one two near vpn; do
    nsenter --net="/run/netns/$name" python3 "$services" "$name" 0.0.0.0 :: &
done
# Services of the host itself: one to the world, one on its loopback interface only.
python3 "$services" host 10.77.0.2 fd77::2 &
python3 "$services" loopback 127.0.0.1 ::1 &
wait_for() {
    for _ in $(seq 500); do
        ! nsenter --net="/run/netns/$1" ss -Hltn "sport = 8000" | grep -q . || return 0
        sleep 0.02
    done
    echo "the services of $1 did not start" >&2
    exit 1
}
for name in one two near vpn host; do wait_for "$name"; done
echo ready
# The first process of the machine reaps what others leave.
while :; do
    sleep 1000 &
    wait $!
done
