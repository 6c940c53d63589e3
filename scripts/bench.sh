#!/bin/bash
# Compares rbox with the peers Debian packages, on this machine, in one sitting: the figures of
# one run may be compared with each other, not with another run's. Each row takes turns between
# the tools and reports medians, in milliseconds, and the ratio of rbox to each peer.
#
#   scripts/bench.sh [ROUNDS]     as an unprivileged user with subordinate ids (default 20 rounds)
#   RBOX_BIN=PATH                 the program (default: rbox on the PATH; build with --release)
#
# `scripts/test.sh prepare` installs the peers; what is missing is left out. Networking is measured
# last, by bench-network.sh.
set -euo pipefail

ROUNDS=${1:-20}
RBOX=$(command -v "${RBOX_BIN:-rbox}") || { echo "bench: no rbox: set RBOX_BIN" >&2; exit 1; }
((UID != 0)) || { echo "bench: run as an unprivileged user" >&2; exit 1; }

WORK=$(mktemp -d /var/tmp/rbox-bench.XXXXXX)
export RBOX_ROOT=$WORK/store RBOX_RUNROOT=$WORK/run
REGISTRY=
PODMAN=()
finish() {
    "$RBOX" ps -aq 2>/dev/null | xargs -r "$RBOX" rm -f >/dev/null 2>&1 || true
    [[ -z $REGISTRY ]] || kill "$REGISTRY" 2>/dev/null || true
    [[ -z ${PODMAN[*]} ]] || "${PODMAN[@]}" rm -fa -t 0 >/dev/null 2>&1 || true
    unshare --user --map-auto --map-root-user rm -rf "$WORK" 2>/dev/null || rm -rf "$WORK"
}
trap finish EXIT

have() { command -v "$1" >/dev/null 2>&1; }

now() { echo "${EPOCHREALTIME/[.,]/}"; }

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# row TITLE ROUNDS NAME FUNCTION [NAME FUNCTION]... : the first is rbox. Functions of absent
# programs are left out by the caller.
row() {
    local title=$1 rounds=$2 round index start names=() functions=()
    shift 2
    while (($#)); do
        names+=("$1")
        functions+=("$2")
        shift 2
    done
    for ((index = 0; index < ${#names[@]}; index++)); do : >"$WORK/times.$index"; done
    for ((round = 0; round < rounds; round++)); do
        for ((index = 0; index < ${#names[@]}; index++)); do
            start=$(now)
            "${functions[$index]}" >/dev/null 2>"$WORK/error" || { echo "bench: $title: ${names[$index]} failed:" >&2; cat "$WORK/error" >&2; exit 1; }
            echo $(($(now) - start)) >>"$WORK/times.$index"
        done
    done
    printf '\n%s\n' "$title"
    local ours theirs
    ours=$(median <"$WORK/times.0")
    for ((index = 0; index < ${#names[@]}; index++)); do
        theirs=$(median <"$WORK/times.$index")
        awk -v n="${names[$index]}" -v t="$theirs" -v o="$ours" \
            'BEGIN { printf "  %-14s %9.1f ms   rbox takes %.2fx of it\n", n, t / 1000, o / t }'
    done
}

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

start_registry() {
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    HOST=127.0.0.1:$port
    cat >"$WORK/registry.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $WORK/registry}}
http: {addr: $HOST}
YAML
    docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
    REGISTRY=$!
    for _ in {1..100}; do
        curl -fs "http://$HOST/v2/" >/dev/null && return
        sleep 0.1
    done
    echo "bench: the registry did not start" >&2
    exit 1
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

rbox_pull() { "$RBOX" rmi -f "$HOST/large" || true; "$RBOX" pull -q "$HOST/large"; }
podman_pull() { "${PODMAN[@]}" rmi -f "$HOST/large" || true; "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/large"; }
tar_pull() {
    rm -rf "$WORK/untar"
    mkdir "$WORK/untar"
    curl -fs "http://$HOST/v2/large/blobs/$LAYER" | tar -xz -C "$WORK/untar"
}

rbox_ps() { "$RBOX" ps -a; }
podman_ps() { "${PODMAN[@]}" ps -a; }
rbox_images() { "$RBOX" images; }
podman_images() { "${PODMAN[@]}" images; }

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

bench_pull() {
    local peers=()
    python3 - "$WORK/large" <<'PYTHON'
import os, random, sys
source = random.Random(1)
for number in range(10_000):
    directory = f"{sys.argv[1]}/d{number % 100}"
    os.makedirs(directory, exist_ok=True)
    half = source.randbytes(14_000)
    open(f"{directory}/f{number}", "wb").write(half + half[:7_000].hex().encode())
PYTHON
    image large "$WORK/large"
    LAYER=$(skopeo inspect --tls-verify=false --raw "docker://$HOST/large" | jq -r '.layers[-1].digest')
    ((${#PODMAN[@]})) && peers+=(podman podman_pull)
    peers+=("curl | tar xz" tar_pull)
    row "pull of one large layer (10,000 files)" 3 rbox rbox_pull "${peers[@]}"
}

# Lists of 1,000. podman needs minutes to make so many and lists a tenth.
bench_lists() {
    local ps=(rbox rbox_ps) images=(rbox rbox_images) number
    for ((number = 0; number < 1000; number++)); do
        "$RBOX" create --label "number=$number" --network none "$HOST/small" sleep 60
    done >/dev/null
    push_many 1000
    seq 0 999 | sed "s,.*,$HOST/many/image&:1," | xargs -n 50 "$RBOX" pull -q >/dev/null
    if ((${#PODMAN[@]})); then
        for ((number = 0; number < 100; number++)); do
            "${PODMAN[@]}" create --label "number=$number" --network none --tls-verify=false "$HOST/small" sleep 60
            "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/many/image$number:1"
        done >/dev/null
        ps+=("podman (100)" podman_ps)
        images+=("podman (100)" podman_images)
    fi
    row "ps -a with 1,000 containers" "$ROUNDS" "${ps[@]}"
    row "images with 1,000 images" "$ROUNDS" "${images[@]}"
    "$RBOX" ps -aq | xargs "$RBOX" rm >/dev/null
    ! ((${#PODMAN[@]})) || "${PODMAN[@]}" rm -fa -t 0 >/dev/null
}

# push_many COUNT: the small image with other labels, as HOST/many/imageN:1
push_many() {
    python3 - "$HOST" "$1" <<'PYTHON'
import hashlib, http.client, json, sys
host, count = sys.argv[1], int(sys.argv[2])
manifest_type = "application/vnd.oci.image.manifest.v1+json"
connection = http.client.HTTPConnection(host)

def call(method, path, body=b"", headers={}):
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 300:
        sys.exit(f"bench: {method} {path}: {answer.status}")
    return answer, data

manifest = json.loads(call("GET", "/v2/small/manifests/latest", headers={"Accept": manifest_type})[1])
config = json.loads(call("GET", f"/v2/small/blobs/{manifest['config']['digest']}")[1])
for number in range(count):
    uploads = f"/v2/many/image{number}/blobs/uploads/"
    for layer in manifest["layers"]:
        call("POST", f"{uploads}?mount={layer['digest']}&from=small")
    config["config"]["Labels"] = {"number": str(number)}
    text = json.dumps(config).encode()
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    place = call("POST", uploads)[0].getheader("Location").split(host)[-1]
    place += ("&" if "?" in place else "?") + "digest=" + digest
    call("PUT", place, text, {"Content-Type": "application/octet-stream"})
    manifest["config"].update(digest=digest, size=len(text))
    path = f"/v2/many/image{number}/manifests/1"
    call("PUT", path, json.dumps(manifest).encode(), {"Content-Type": manifest_type})
PYTHON
}

# works NAME COMMAND...: whether a peer can do its work here at all (crun refuses hybrid cgroups).
works() {
    local name=$1
    shift
    "$@" >/dev/null 2>"$WORK/error" && return
    echo "bench: leaving out $name: $(tail -n 1 "$WORK/error")" >&2
    return 1
}

# Sets PODMAN to a podman command line that can start containers, or to nothing.
find_podman() {
    have podman && podman pull -q --tls-verify=false "$HOST/small" >/dev/null || return 0
    PODMAN=(podman)
    podman_run >/dev/null 2>&1 && return
    PODMAN=(podman --runtime runc --cgroup-manager cgroupfs)
    works "podman with runc" podman_run || PODMAN=()
}

start_registry
make_image
find_podman
"$RBOX" pull -q "$HOST/small" >/dev/null
bench_starts
bench_exec
bench_many
bench_memory
bench_completion
bench_lists
bench_pull
RBOX_BIN=$RBOX "$(dirname "$0")/bench-network.sh"
