#!/bin/bash
# Compares rbox's networking with the host's own loopback interface, a plain veth pair, slirp4netns
# and pasta, on this machine, in one sitting: the figures of one run may be compared with each other,
# not with another run's. Each row takes turns between the ways and reports medians, and the ratio of
# rbox to each.
#
#   scripts/bench-network.sh [ROUNDS] [ROW]...   as an unprivileged user with subordinate ids (default 5 rounds, all rows)
#   RBOX_BIN=PATH                                the program (default: rbox on the PATH; build with --release)
#   SECONDS_EACH=N                               how long one measurement takes (default 2)
#
# Rows: out in between connections latency datagrams idle cpu starts memory. `scripts/test.sh prepare` installs
# the peers; what is missing is left out. Containers are throw-away views of this machine (rootfs:/).
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 5 "$@"
LENGTH=${SECONDS_EACH:-2}

# A command in the background, remembered for the end.
background() {
    "$@" >>"$WORK/log" 2>&1 &
    PROCESSES+=($!)
}
until_true() {
    local _
    for _ in {1..200}; do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    echo "bench: did not come true: $*" >&2
    tail -n 5 "$WORK/log" >&2
    exit 1
}
# listens PORT [COMMAND...]: whether somebody listens there, here or where the command goes.
listens() {
    local port=$1
    shift
    "$@" ss -Hltn "sport = $port" | grep -q .
}

# measure TITLE UNIT NAME FUNCTION...: each function prints a number; the first is rbox.
measure() {
    local title=$1 unit=$2 round index value
    shift 2
    ways "$@"
    for ((round = 0; round < ROUNDS; round++)); do
        for ((index = 0; index < ${#NAMES[@]}; index++)); do
            value=$("${FUNCTIONS[$index]}" 2>>"$WORK/log") || value=
            [[ $value =~ ^[0-9.e+]+$ ]] || { echo "bench: $title: ${NAMES[$index]} failed" >&2; tail -n 3 "$WORK/log" >&2; value=0; }
            echo "$value" >>"$WORK/value.$index"
        done
    done
    report "$title" "$unit"
}

# --- places: each is a command prefix under which a client or server runs there, and addresses
HOST_PORT=15301 # iperf3 on the host's loopback interface
WEB_PORT=15302  # nginx there
IN_PORT=15311   # published: iperf3 in the place
IN_WEB=15312    # published: nginx in the place

at_host() { "$@"; }
at_rbox() { "$RBOX" exec bench "$@"; }
at_near() { "$RBOX" exec near "$@"; }
at_slirp() { nsenter --target "$SLIRP_NS" --user --net --preserve-credentials "$@"; }
at_pasta() { nsenter --target "$PASTA_NS" --user --net --preserve-credentials "$@"; }
at_veth() { nsenter --target "$VETH_NS" --user --net --preserve-credentials "$@"; }

# A network namespace that stays; sets HOLDER.
hold() {
    unshare --user --map-root-user --net sleep infinity &
    HOLDER=$!
    PROCESSES+=("$HOLDER")
    until_true nsenter --target "$HOLDER" --user --net --preserve-credentials ip link set lo up
}

start_rbox() {
    "$RBOX" run -d --name bench --network bridge:host-loopback -p "127.0.0.1:$IN_PORT:$IN_PORT" \
        -p "127.0.0.1:$IN_PORT:$IN_PORT/udp" -p "127.0.0.1:$IN_WEB:$IN_WEB" rootfs:/ sleep infinity >/dev/null
    "$RBOX" run -d --name near --network bridge rootfs:/ sleep infinity >/dev/null
    RBOX_GATEWAY=$(at_rbox ip -4 route show default | awk '{ print $3 }')
    RBOX_NEAR=$("$RBOX" inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' near)
    ANCHOR=$(pgrep -u "$UID" -f '^rbox anchor' | tail -n 1)
}

start_slirp() {
    SLIRP_NS=
    command -v slirp4netns >/dev/null || return 0
    hold
    local holder=$HOLDER
    # It does not raise its limit of descriptors.
    (ulimit -n "$(ulimit -H -n)" && exec slirp4netns --configure --mtu=65520 --api-socket "$WORK/slirp.sock" "$holder" tap0) >>"$WORK/log" 2>&1 &
    SLIRP_PID=$!
    PROCESSES+=("$SLIRP_PID")
    SLIRP_NS=$holder
    local ready=
    for _ in {1..40}; do
        ! at_slirp ip route | grep -q default || { ready=1; break; }
        sleep 0.05
    done
    [[ $ready ]] || { echo "bench: leaving out slirp4netns: $(tail -n 1 "$WORK/log")" >&2; SLIRP_NS=; return 0; }
    local port
    for port in "tcp $((IN_PORT + 100)) $IN_PORT" "udp $((IN_PORT + 100)) $IN_PORT" "tcp $((IN_WEB + 100)) $IN_WEB"; do
        # shellcheck disable=SC2086 # three words
        forward $port >>"$WORK/log"
    done
    SLIRP_GATEWAY=10.0.2.2
}
forward() {
    printf '{"execute": "add_hostfwd", "arguments": {"proto": "%s", "host_addr": "127.0.0.1", "host_port": %s, "guest_port": %s}}' "$@" |
        socat -t 2 - "UNIX-CONNECT:$WORK/slirp.sock"
}

start_pasta() {
    PASTA_NS=
    command -v pasta >/dev/null || return 0
    hold
    PASTA_NS=$HOLDER
    if ! pasta --config-net --mtu 65520 -t "$((IN_PORT + 200)):$IN_PORT,$((IN_WEB + 200)):$IN_WEB" -u "$((IN_PORT + 200)):$IN_PORT" \
        -T none -U none --pid "$WORK/pasta.pid" "$PASTA_NS" >>"$WORK/log" 2>&1; then
        echo "bench: leaving out pasta: $(tail -n 1 "$WORK/log")" >&2
        PASTA_NS=
        return 0
    fi
    PASTA_PID=$(cat "$WORK/pasta.pid")
    PROCESSES+=("$PASTA_PID")
    PASTA_GATEWAY=$(at_pasta ip -4 route show default | awk '{ print $3 }')
}

# Two namespaces and a veth pair between them.
start_veth() {
    hold
    VETH_NS=$HOLDER
    at_veth bash -c 'ip link add near0 type veth peer name far0; ip address add 10.9.9.1/24 dev near0; ip link set dev near0 up
        unshare --net sleep infinity & echo $! >'"$WORK/peer.pid; wait" >>"$WORK/log" 2>&1 &
    PROCESSES+=($!)
    until_true test -s "$WORK/peer.pid"
    VETH_PEER=$(cat "$WORK/peer.pid")
    PROCESSES+=("$VETH_PEER")
    sleep 0.3
    at_veth ip link set dev far0 netns "$VETH_PEER"
    at_peer bash -c 'ip address add 10.9.9.2/24 dev far0; ip link set dev far0 up; ip link set dev lo up'
}
at_peer() { nsenter --target "$VETH_PEER" --user --net --preserve-credentials "$@"; }

web_conf() {
    cat <<NGINX
daemon off; master_process off; pid /dev/null; error_log /dev/null crit; worker_rlimit_nofile 20000;
events { worker_connections 10000; }
http {
    access_log off; keepalive_requests 100000000; client_body_temp_path /tmp; proxy_temp_path /tmp;
    fastcgi_temp_path /tmp; uwsgi_temp_path /tmp; scgi_temp_path /tmp;
    server { listen $1 backlog=4096; location / { return 200 "hello\n"; } }
}
NGINX
}

# Servers in the host, and in each place.
start_servers() {
    web_conf "127.0.0.1:$WEB_PORT" >"$WORK/host.conf"
    web_conf "$IN_WEB" >"$WORK/in.conf"
    # A container does not show /var/tmp: its file goes in by standard input.
    background iperf3 -s -B 127.0.0.1 -p "$HOST_PORT"
    background nginx -c "$WORK/host.conf"
    local place
    for place in "${PLACES[@]}"; do
        [[ $place != host ]] || continue
        background "at_$place" iperf3 -s -p "$IN_PORT"
        if [[ $place == rbox ]]; then
            "$RBOX" exec -i bench sh -c 'cat >/tmp/in.conf' <"$WORK/in.conf"
            background at_rbox nginx -c /tmp/in.conf
        else
            background "at_$place" nginx -c "$WORK/in.conf"
        fi
        until_true listens "$IN_PORT" "at_$place"
        until_true listens "$IN_WEB" "at_$place"
    done
    background at_near iperf3 -s -p "$IN_PORT"
    background at_peer iperf3 -s -p "$IN_PORT"
    until_true listens "$HOST_PORT"
    until_true listens "$WEB_PORT"
    until_true listens "$IN_PORT" at_near
    until_true listens "$IN_PORT" at_peer
}

gateway() {
    case $1 in
        host) echo 127.0.0.1 ;;
        rbox) echo "$RBOX_GATEWAY" ;;
        slirp) echo "$SLIRP_GATEWAY" ;;
        pasta) echo "$PASTA_GATEWAY" ;;
    esac
}
# published PLACE PORT: where the place's port is on the host.
published() {
    case $1 in
        host) echo $((HOST_PORT + $2 - IN_PORT)) ;;
        rbox) echo "$2" ;;
        slirp) echo $(($2 + 100)) ;;
        pasta) echo $(($2 + 200)) ;;
    esac
}

# rows FUNCTION: the arguments of measure for all places.
rows() {
    local place
    ARGUMENTS=()
    for place in rbox "${PLACES[@]}"; do
        [[ $place != rbox || ${#ARGUMENTS[@]} == 0 ]] || continue
        eval "$1_$place() { $1 $place; }"
        ARGUMENTS+=("$place" "$1_$place")
    done
}

gbits() { jq -e '.end.sum_received.bits_per_second / 1e9'; }
upload() { "at_$1" iperf3 -J -c "$(gateway "$1")" -p "$HOST_PORT" -t "$LENGTH" | gbits; }
download() { "at_$1" iperf3 -J -R -c "$(gateway "$1")" -p "$HOST_PORT" -t "$LENGTH" | gbits; }
inbound() { iperf3 -J -c 127.0.0.1 -p "$(published "$1" "$IN_PORT")" -t "$LENGTH" | gbits; }
inbound_back() { iperf3 -J -R -c 127.0.0.1 -p "$(published "$1" "$IN_PORT")" -t "$LENGTH" | gbits; }
between_rbox() { at_rbox iperf3 -J -c "$RBOX_NEAR" -p "$IN_PORT" -t "$LENGTH" | gbits; }
between_veth() { at_veth iperf3 -J -c 10.9.9.2 -p "$IN_PORT" -t "$LENGTH" | gbits; }

rate() { awk '/^Requests\/sec:/ { print $2; found = 1 } END { exit !found }'; }
connect_out() { "at_$1" wrk -t1 -c16 -d"$LENGTH" -H 'Connection: close' "http://$(gateway "$1"):$WEB_PORT/" | rate; }
connect_in() { wrk -t1 -c16 -d"$LENGTH" -H 'Connection: close' "http://127.0.0.1:$(published "$1" "$IN_WEB")/" | rate; }
latency() { awk '/^Requests\/sec:/ { print 1e6 / $2; found = 1 } END { exit !found }'; }
latency_out() { "at_$1" wrk -t1 -c1 -d"$LENGTH" "http://$(gateway "$1"):$WEB_PORT/" | latency; }
latency_in() { wrk -t1 -c1 -d"$LENGTH" "http://127.0.0.1:$(published "$1" "$IN_WEB")/" | latency; }

# Thousands of datagrams of 64 bytes a second that arrive; the loss goes to a file of its own.
datagrams() {
    "at_$1" iperf3 -J -u -b 0 -l 64 -c "$(gateway "$1")" -p "$HOST_PORT" -t "$LENGTH" >"$WORK/udp.json"
    jq '.end.sum.lost_percent' "$WORK/udp.json" >>"$WORK/loss.$1"
    jq -e '(.end.sum.packets - .end.sum.lost_packets) / .end.sum.seconds / 1e3' "$WORK/udp.json"
}
# The same at a rate that all can bear: loss alone.
calm_loss() {
    "at_$1" iperf3 -J -u -b 10M -l 64 -c "$(gateway "$1")" -p "$HOST_PORT" -t "$LENGTH" | jq -e '.end.sum.lost_percent + 0.0001'
}
bench_datagrams() {
    rm -f "$WORK"/loss.*
    rows datagrams
    measure "UDP, 64 bytes, as fast as the sender can: thousands that arrive a second" k/s "${ARGUMENTS[@]}"
    local place
    for place in "${PLACES[@]}"; do printf '  %-14s %12.2f %% lost\n' "$place" "$(median <"$WORK/loss.$place")"; done
    rows calm_loss
    measure "UDP, 64 bytes at 20,000 a second: lost" % "${ARGUMENTS[@]}"
}

# Clock ticks of a process, all its threads; and of the whole machine.
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat" 2>/dev/null || echo 0; }
machine_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
relay_of() {
    case $1 in
        rbox) echo "$ANCHOR" ;;
        slirp) echo "$SLIRP_PID" ;;
        pasta) echo "$PASTA_PID" ;;
        *) echo 0 ;;
    esac
}
cpu() {
    local relay before machine
    relay=$(relay_of "$1")
    machine=$(machine_ticks)
    before=$(ticks "$relay")
    "at_$1" iperf3 -c "$(gateway "$1")" -p "$HOST_PORT" -n 1G >/dev/null
    echo $((($(machine_ticks) - machine) * 10)) >>"$WORK/machine.$1"
    echo $((($(ticks "$relay") - before) * 10))
}
bench_cpu() {
    rm -f "$WORK"/machine.*
    rows cpu
    measure "processor time of the relay for 1 GB out" ms "${ARGUMENTS[@]}"
    local place
    for place in "${PLACES[@]}"; do
        printf '  %-14s %12.0f ms     of the whole machine, client and server included\n' "$place" "$(median <"$WORK/machine.$place")"
    done
}

# Proportional memory in KiB; of a process that does not show it (pasta), what is resident.
pss() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup" 2>/dev/null || awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
IDLE_CLIENT='
import resource, socket, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
count = min(int(sys.argv[3]), hard - 50)
socks = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) for _ in range(count)]
print(len(socks), flush=True)
time.sleep(60)
'
IDLE_SERVER='
import resource, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 15303)); s.listen(4096)
held = []
while True: held.append(s.accept())
'
bench_idle() {
    local place relay before count client after
    background python3 -c "$IDLE_SERVER"
    until_true listens 15303
    say "memory of the relay for each of 5,000 idle connections out"
    for place in "${PLACES[@]}"; do
        relay=$(relay_of "$place")
        ((relay)) || continue
        before=$(pss "$relay")
        : >"$WORK/count"
        "at_$place" timeout 60 python3 -c "$IDLE_CLIENT" "$(gateway "$place")" 15303 5000 >"$WORK/count" 2>>"$WORK/log" &
        client=$!
        for _ in {1..400}; do
            if [[ -s $WORK/count ]] || ! kill -0 "$client" 2>/dev/null; then break; fi
            sleep 0.05
        done
        count=$(cat "$WORK/count")
        sleep 0.5
        after=$(pss "$relay")
        kill "$client" 2>/dev/null || true
        [[ $place != rbox ]] || at_rbox pkill -f 'import resource' || true
        wait "$client" 2>/dev/null || true
        if [[ ! $count ]]; then
            printf '  %-14s could not hold them\n' "$place"
            continue
        fi
        awk -v n="$place" -v k="$((after - before))" -v c="$count" 'BEGIN { printf "  %-14s %12.2f KiB    (%d connections)\n", n, k / c, c }'
    done
}

start_none() { "$RBOX" run --rm --network none rootfs:/ true; }
start_default() { "$RBOX" run --rm --network "$1" rootfs:/ true; }
milliseconds() {
    local start
    start=$(now)
    "$@" >/dev/null
    awk -v t=$(($(now) - start)) 'BEGIN { print t / 1000 }'
}
time_up() { milliseconds start_default bridge; }
time_cold() { milliseconds start_default other; }
time_none() { milliseconds start_none; }
bench_starts() {
    "$RBOX" network create other >/dev/null
    local ROUNDS=$((ROUNDS * 4))
    measure "run --rm rootfs:/ true, the network already up" ms "up" time_up "none" time_none
    measure "run --rm rootfs:/ true, the first on its network" ms "cold" time_cold "none" time_none
}

# Of all processes that run the program.
rbox_memory() {
    local exe total=0 part
    for exe in /proc/[0-9]*/exe; do
        [[ $(readlink "$exe" 2>/dev/null) == "$RBOX" ]] || continue
        part=$(pss "$(basename "${exe%/exe}")" 2>/dev/null || echo 0)
        total=$((total + ${part:-0}))
    done
    echo "$total"
}
bench_memory() {
    local number
    "$RBOX" rm -f bench near >/dev/null
    sleep 1
    for number in {1..10}; do "$RBOX" run -d --name "idle$number" rootfs:/ sleep 600 >/dev/null; done
    sleep 1
    say "memory that an idle detached container adds"
    printf '  %-14s %12.2f MiB    (PSS of its supervisor and its part of the relay, mean of 10)\n' rbox \
        "$(awk -v kib="$(rbox_memory)" 'BEGIN { print kib / 10 / 1024 }')"
    printf '  %-14s %12.2f MiB    (PSS)\n' "the relay" "$(awk -v kib="$(pss "$(pgrep -u "$UID" -f '^rbox anchor' | tail -n 1)")" 'BEGIN { print kib / 1024 }')"
    [[ ! $SLIRP_NS ]] || printf '  %-14s %12.2f MiB    (PSS, one each container)\n' slirp4netns "$(awk -v kib="$(pss "$SLIRP_PID")" 'BEGIN { print kib / 1024 }')"
    [[ ! $PASTA_NS ]] || printf '  %-14s %12.2f MiB    (PSS, one each container)\n' pasta "$(awk -v kib="$(pss "$PASTA_PID")" 'BEGIN { print kib / 1024 }')"
    "$RBOX" rm -f idle{1..10} >/dev/null
}

start_rbox
start_slirp
start_pasta
start_veth
PLACES=(rbox host)
[[ ! $SLIRP_NS ]] || PLACES+=(slirp)
[[ ! $PASTA_NS ]] || PLACES+=(pasta)
start_servers

if wanted out; then
    rows upload
    measure "TCP out, one stream, to a server on the host's loopback interface" Gbit/s "${ARGUMENTS[@]}"
    rows download
    measure "the same, towards the container" Gbit/s "${ARGUMENTS[@]}"
fi
if wanted in; then
    rows inbound
    measure "TCP in through a published port" Gbit/s "${ARGUMENTS[@]}"
    rows inbound_back
    measure "the same, from the container" Gbit/s "${ARGUMENTS[@]}"
fi
if wanted between; then
    measure "TCP between two containers" Gbit/s rbox between_rbox "a veth pair" between_veth
fi
if wanted connections; then
    rows connect_out
    measure "connections out, a request each" "/s" "${ARGUMENTS[@]}"
    rows connect_in
    measure "connections through a published port, a request each" "/s" "${ARGUMENTS[@]}"
fi
if wanted latency; then
    rows latency_out
    measure "a request and its response, out" us "${ARGUMENTS[@]}"
    rows latency_in
    measure "a request and its response, through a published port" us "${ARGUMENTS[@]}"
fi
! wanted datagrams || bench_datagrams
! wanted cpu || bench_cpu
! wanted idle || bench_idle
! wanted starts || bench_starts
! wanted memory || bench_memory
