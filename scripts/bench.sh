#!/bin/bash
# Compares rbox with the peers Debian packages, on this machine, in one sitting: the figures of
# one run may be compared with each other, not with another run's. Each row takes turns between
# the tools and reports medians, in milliseconds, and the ratio of rbox to each peer.
#
#   scripts/bench.sh [ROUNDS]     as an unprivileged user with subordinate ids (default 20 rounds)
#   RBOX_BIN=PATH                 the program (default: rbox on the PATH; build with --release)
#
# `scripts/test.sh prepare` installs the peers; what is missing is left out. Images and networking
# are measured last, by bench-images.sh and bench-network.sh; bench-storage.sh and bench-lifecycle.sh are run
# by themselves.
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 20 "$@"

# --- a busybox image in a registry on the loopback interface
make_image() {
    ROOT=$WORK/bundle/rootfs
    mkdir -p "$ROOT"/{bin,dev,etc,proc,sys,tmp,root}
    cp "$(command -v busybox)" "$ROOT/bin/busybox"
    local applet
    for applet in sh true sleep cat; do ln -s busybox "$ROOT/bin/$applet"; done
    umoci init --layout "$WORK/oci"
    image small "$ROOT"
}

# image TAG DIRECTORY: an image of one layer, pushed as 127.0.0.1:PORT/TAG
image() {
    umoci new --image "$WORK/oci:$1"
    umoci unpack --rootless --image "$WORK/oci:$1" "$WORK/unpacked-$1"
    cp -a "$2/." "$WORK/unpacked-$1/rootfs/"
    umoci repack --image "$WORK/oci:$1" "$WORK/unpacked-$1"
    umoci config --image "$WORK/oci:$1" --config.cmd /bin/sh
    skopeo copy -q --dest-tls-verify=false "oci:$WORK/oci:$1" "docker://$HOST/$1:latest"
}

# --- the work, one function a tool
rbox_run() { "$RBOX" run --rm --network none "$HOST/small" true; }
bwrap_run() { bwrap --unshare-all --bind "$ROOT" / --proc /proc --dev /dev true; }
crun_run() { (cd "$WORK/bundle" && crun --root "$WORK/crun" --cgroup-manager=disabled run "bench-$BASHPID"); }
podman_run() { "${PODMAN[@]}" run --rm --network none --tls-verify=false "$HOST/small" true; }

rbox_exec() { "$RBOX" exec bench true; }
podman_exec() { "${PODMAN[@]}" exec peer true; }
nsenter_exec() { nsenter --target "$PID" --user --mount --pid --net --uts --ipc --preserve-credentials true; }

rbox_many() {
    seq 20 | xargs -P4 -I{} "$RBOX" run -d --name many{} --network none "$HOST/small" sleep 60
    "$RBOX" rm -f many{1..20}
}
podman_many() {
    seq 20 | xargs -P4 -I{} "${PODMAN[@]}" run -d --name peer{} --network none "$HOST/small" sleep 60
    "${PODMAN[@]}" rm -f -t 0 peer{1..20}
}

rbox_ps() { "$RBOX" ps -a; }
podman_ps() { "${PODMAN[@]}" ps -a; }
# Proportional memory (KiB) of all processes that run the rbox program.
rbox_memory() {
    local exe total=0 part
    for exe in /proc/[0-9]*/exe; do
        [[ $(readlink "$exe" 2>/dev/null) == "$RBOX" ]] || continue
        part=$(awk '/^Pss:/ { print $2 }' "${exe%exe}smaps_rollup" 2>/dev/null || echo 0)
        total=$((total + ${part:-0}))
    done
    echo "$total"
}

bench_starts() {
    local peers=()
    works bwrap bwrap_run && peers+=(bwrap bwrap_run)
    if have crun; then
        (cd "$WORK/bundle" && crun spec --rootless &&
            sed -i -e 's/"terminal": true/"terminal": false/' -e 's/^\(\s*\)"sh"$/\1"true"/' config.json)
        works crun crun_run && peers+=(crun crun_run)
    fi
    ((${#PODMAN[@]})) && peers+=(podman podman_run)
    row "run --rm --network none IMAGE true" "$ROUNDS" rbox rbox_run "${peers[@]}"
}

bench_exec() {
    local peers=(nsenter nsenter_exec)
    "$RBOX" run -d --name bench --network none "$HOST/small" sleep 3600 >/dev/null
    PID=$("$RBOX" inspect -f '{{.State.Pid}}' bench)
    if ((${#PODMAN[@]})); then
        "${PODMAN[@]}" run -d --name peer --network none --tls-verify=false "$HOST/small" sleep 3600 >/dev/null
        peers+=(podman podman_exec)
    fi
    row "exec true" "$ROUNDS" rbox rbox_exec "${peers[@]}"
    "$RBOX" rm -f bench >/dev/null
    ! ((${#PODMAN[@]})) || "${PODMAN[@]}" rm -f -t 0 peer >/dev/null
}

bench_many() {
    local peers=()
    ((${#PODMAN[@]})) && peers=(podman podman_many)
    row "20 detached starts, 4 at a time, and their removal" 3 rbox rbox_many "${peers[@]}"
}

bench_memory() {
    local number
    for number in {1..10}; do "$RBOX" run -d --name "idle$number" --network none "$HOST/small" sleep 600 >/dev/null; done
    sleep 1
    printf '\nmemory that an idle detached container adds\n  %-14s %9.2f MiB (PSS of its supervisor, mean of 10)\n' \
        rbox "$(awk -v kib="$(rbox_memory)" 'BEGIN { print kib / 10 / 1024 }')"
    "$RBOX" rm -f idle{1..10} >/dev/null
}

rbox_complete() { "$RBOX" __complete "$@"; }
complete_bash() { rbox_complete bash ' :=' 'rbox rm '; }
complete_bash_stopped() { rbox_complete bash ' :=' 'rbox start '; }
complete_zsh() { rbox_complete zsh rbox rm ''; }

# In a store of its own, which goes with $WORK.
bench_completion() {
    local RBOX_ROOT=$WORK/many number
    export RBOX_ROOT
    for number in {1..1000}; do "$RBOX" create --name "container$number" rootfs:/ true; done >/dev/null
    [[ $(complete_bash_stopped | wc -l) == 1001 ]] || { echo "bench: not every container is offered" >&2; exit 1; }
    row "completion of container names with 1,000 containers, all" "$ROUNDS" rbox complete_bash
    row "the same, those that do not run" "$ROUNDS" rbox complete_bash_stopped
    row "the same, all with descriptions" "$ROUNDS" rbox complete_zsh
}

# Lists of 1,000. podman needs minutes to make so many and lists a tenth.
bench_lists() {
    local ps=(rbox rbox_ps) number
    for ((number = 0; number < 1000; number++)); do
        "$RBOX" create --label "number=$number" --network none "$HOST/small" sleep 60
    done >/dev/null
    if ((${#PODMAN[@]})); then
        for ((number = 0; number < 100; number++)); do
            "${PODMAN[@]}" create --label "number=$number" --network none --tls-verify=false "$HOST/small" sleep 60
        done >/dev/null
        ps+=("podman (100)" podman_ps)
    fi
    row "ps -a with 1,000 containers" "$ROUNDS" "${ps[@]}"
    "$RBOX" ps -aq | xargs "$RBOX" rm >/dev/null
    ! ((${#PODMAN[@]})) || "${PODMAN[@]}" rm -fa -t 0 >/dev/null
}

# Sets PODMAN to a podman command line that can start containers, or to nothing.
find_podman() {
    have podman && podman pull -q --tls-verify=false "$HOST/small" >/dev/null || return 0
    PODMAN=(podman)
    podman_run >/dev/null 2>&1 && return
    PODMAN=(podman --runtime runc --cgroup-manager cgroupfs)
    works "podman with runc" podman_run || PODMAN=()
}

PORT=$(free_port)
start_registry registry "$PORT"
HOST=127.0.0.1:$PORT
make_image
find_podman
"$RBOX" pull -q "$HOST/small" >/dev/null
bench_starts
bench_exec
bench_many
bench_memory
bench_completion
bench_lists
RBOX_BIN=$RBOX "$(dirname "$0")/bench-images.sh"
RBOX_BIN=$RBOX "$(dirname "$0")/bench-network.sh"
