#!/bin/bash
# What months of running cost: writing logs, stats, health checks, events, stop; beside podman where it
# has the same. The figures of one run may be compared with each other, not with another run's.
#
#   scripts/bench-lifecycle.sh [ROUNDS] [ROW]...   as an unprivileged user with subordinate ids (default 3 rounds, all rows)
#   RBOX_BIN=PATH                                  the program (default: rbox on the PATH; build with --release)
#   MEGABYTES=N                                    how much is logged (default 1000)
#
# Rows: logs memory stats health events stop.
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 3 "$@"
MEGABYTES=${MEGABYTES:-1000}

# A root directory for rbox, the same as an image for podman; the lines to log are a file, so that it
# is not their making that is measured.
ROOT=$WORK/root
mkdir -p "$ROOT"/{bin,dev,etc,proc,sys,tmp}
cp "$(command -v busybox)" "$ROOT/bin/busybox"
for applet in sh cat seq sleep true; do ln -s busybox "$ROOT/bin/$applet"; done
awk 'BEGIN { line = sprintf("%099d", 0); for (i = 0; i < 100000; i++) print line }' >"$ROOT/lines"
tar -C "$ROOT" -cf "$WORK/root.tar" .

LOG="for i in \$(seq $((MEGABYTES / 10))); do cat /lines; done"

# rbox_log DRIVER, podman_log DRIVER: until the container has ended.
rbox_log() {
    "$RBOX" run -d --name log --network none --log-driver "$1" "rootfs:$ROOT" sh -c "$LOG"
    [[ $("$RBOX" wait log) == 0 ]]
}
podman_log() {
    "${PODMAN[@]}" run -d --name log --network none --log-driver "$1" lines sh -c "$LOG"
    [[ $("${PODMAN[@]}" wait log) == 0 ]]
}
prepare_rbox() { "$RBOX" rm -f log; sync; }
prepare_podman() { "${PODMAN[@]}" rm -f -t 0 log; sync; }
rbox_json() { rbox_log json-file; }
rbox_k8s() { rbox_log k8s-file; }
podman_k8s() { podman_log k8s-file; }
podman_json() { podman_log json-file; }
prepare_rbox_json() { prepare_rbox; }
prepare_rbox_k8s() { prepare_rbox; }
prepare_podman_k8s() { prepare_podman; }
prepare_podman_json() { prepare_podman; }

# The most memory (MiB) that the supervisor had of its own while it logged.
bench_memory() {
    local parent most=0 part
    prepare_rbox >/dev/null 2>&1 || true
    "$RBOX" run -d --name log --network none "rootfs:$ROOT" sh -c "$LOG" >/dev/null
    parent=$(awk '/^PPid:/ { print $2 }' "/proc/$("$RBOX" inspect -f '{{.State.Pid}}' log)/status")
    while part=$(awk '/^VmRSS:/ { print $2 }' "/proc/$parent/status" 2>/dev/null) && [[ -n $part ]]; do
        ((part <= most)) || most=$part
        sleep 0.02
    done
    say "memory of the supervisor while it logs (most of VmRSS)"
    awk -v k="$most" 'BEGIN { printf "  %-14s %12.2f MiB\n", "rbox", k / 1024 }'
}

# stats of 100 containers; podman reads no cgroups of another manager's, so there is no peer.
rbox_stats() { "$RBOX" stats --no-stream; }
bench_stats() {
    local number
    for number in {1..100}; do
        "$RBOX" run -d --name "stats$number" --network none "rootfs:$ROOT" sleep 3600
    done >/dev/null
    row "stats --no-stream of 100 containers" "$ROUNDS" rbox rbox_stats
    "$RBOX" ps -q | xargs "$RBOX" rm -f >/dev/null
}

# cpu PID: what it and the children it waited for took, in ticks of 10 ms.
cpu() { awk '{ sub(/.*\) /, ""); print $12 + $13 + $14 + $15 }' "/proc/$1/stat"; }

# Processor time of the supervisor and of its checks, whose shell is part of it.
bench_health() {
    local supervisor before checks
    "$RBOX" run -d --name checked --network none --health-cmd 'echo >>/checks' --health-interval 50ms \
        "rootfs:$ROOT" sleep 3600 >/dev/null
    supervisor=$(awk '/^PPid:/ { print $2 }' "/proc/$("$RBOX" inspect -f '{{.State.Pid}}' checked)/status")
    sleep 1
    before=$(cpu "$supervisor") checks=$("$RBOX" exec checked cat /checks | wc -l)
    sleep 20
    before=$(($(cpu "$supervisor") - before)) checks=$(($("$RBOX" exec checked cat /checks | wc -l) - checks))
    say "processor time of a health check, the shell it runs included"
    awk -v ticks="$before" -v checks="$checks" 'BEGIN { printf "  %-14s %12.2f ms (of %d checks)\n", "rbox", ticks * 10 / checks, checks }'
    "$RBOX" rm -f checked >/dev/null
}

# How long after a command's end its event is read.
bench_events() {
    say "events, after the command that caused them has ended"
    python3 - "$RBOX" <<'PYTHON'
import statistics, subprocess, sys, time
rbox = sys.argv[1]
events = subprocess.Popen([rbox, "events", "--format", "{{.Action}} {{.Actor.ID}}"], stdout=subprocess.PIPE, text=True)
time.sleep(0.5)
late = []
for number in range(50):
    subprocess.run([rbox, "volume", "create", f"v{number}"], check=True, stdout=subprocess.DEVNULL)
    ended = time.time()
    while events.stdout.readline().strip() != f"create v{number}":
        pass
    late.append((time.time() - ended) * 1000)
events.kill()
print(f"  rbox           {statistics.median(late):12.2f} ms (of 50, at most {max(late):.2f})")
PYTHON
    "$RBOX" volume prune -af >/dev/null
}

# A command that ends at SIGTERM.
OBEYS="trap 'exit 0' TERM; while :; do sleep 0.01; done"
prepare_rbox_stop() { "$RBOX" rm -f stops; "$RBOX" run -d --name stops --network none "rootfs:$ROOT" sh -c "$OBEYS"; }
prepare_podman_stop() { "${PODMAN[@]}" rm -f -t 0 stops; "${PODMAN[@]}" run -d --name stops --network none lines sh -c "$OBEYS"; }
rbox_stop() { "$RBOX" stop stops; }
podman_stop() { "${PODMAN[@]}" stop stops; }
bench_stop() {
    local stop=(rbox rbox_stop)
    ((${#PODMAN[@]} == 0)) || stop+=(podman podman_stop)
    row "stop of a container that obeys within 10 ms" 20 "${stop[@]}"
}

bench_logs() {
    local peers=() k8s=()
    ((${#PODMAN[@]})) && peers=("podman k8s" podman_k8s "podman json" podman_json) && k8s=(podman podman_k8s)
    row "log $MEGABYTES MB of 100-byte lines, json-file" "$ROUNDS" rbox rbox_json "${peers[@]}"
    row "the same, k8s-file" "$ROUNDS" rbox rbox_k8s "${k8s[@]}"
}

if have podman; then
    PODMAN=(podman --root "$WORK/podman" --runroot "$WORK/podman-run" --runtime runc --cgroup-manager cgroupfs)
    works podman "${PODMAN[@]}" import -q "$WORK/root.tar" lines || PODMAN=()
fi
for name in logs memory stats health events stop; do
    ! wanted "$name" || "bench_$name"
done
