#!/bin/bash
# Compares rbox's work with images with podman, skopeo, and curl piped into tar, on this machine, in
# one sitting: the figures of one run may be compared with each other, not with another run's. Each
# row takes turns between the tools and reports medians, and the ratio of rbox to each.
#
#   scripts/bench-images.sh [ROUNDS] [ROW]...   as an unprivileged user with subordinate ids (default 3 rounds, all rows)
#   RBOX_BIN=PATH                               the program (default: rbox on the PATH; build with --release)
#
# Rows: pull layers push load save commit lists memory. `scripts/test.sh prepare` installs the peers;
# what is missing is left out. Needs 4 GB below /var/tmp.
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 3 "$@"

# make_image TAG LAYERS FILES SIZE: an image in $WORK/oci of so many gzip layers, each with so many
# files of about SIZE bytes, of which the first half does not compress; the first has busybox, too.
make_image() {
    python3 - "$WORK/oci" "$(command -v busybox)" "$@" <<'PYTHON'
import gzip, hashlib, io, json, os, random, sys, tarfile
layout, busybox, tag, layers, files, size = sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])
blobs = f"{layout}/blobs/sha256"
os.makedirs(blobs, exist_ok=True)
source = random.Random(tag)

def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{blobs}/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}

def entry(archive, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, len(data), mode, link
    archive.addfile(info, io.BytesIO(data))

def layer(number):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        if number == 0:
            for name in "bin", "dev", "proc", "sys", "tmp", "etc":
                entry(archive, name, tarfile.DIRTYPE, mode=0o755)
            entry(archive, "bin/busybox", data=open(busybox, "rb").read(), mode=0o755)
            for applet in "sh", "true", "sleep", "mkdir":
                entry(archive, f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
        for file in range(files):
            if file % 100 == 0:
                entry(archive, f"l{number}d{file // 100}", tarfile.DIRTYPE, mode=0o755)
            half = source.randbytes(size // 2)
            entry(archive, f"l{number}d{file // 100}/f{file}", data=half + half[: size // 4].hex().encode())
    raw = raw.getvalue()
    return "sha256:" + hashlib.sha256(raw).hexdigest(), blob(gzip.compress(raw, 6, mtime=0))

made = [layer(number) for number in range(layers)]
config = {"architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
          "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
          "rootfs": {"type": "layers", "diff_ids": [diff for diff, _ in made]}}
media = "application/vnd.oci.image"
manifest = {"schemaVersion": 2, "mediaType": f"{media}.manifest.v1+json",
            "config": {"mediaType": f"{media}.config.v1+json", **blob(json.dumps(config).encode())},
            "layers": [{"mediaType": f"{media}.layer.v1.tar+gzip", **data} for _, data in made]}
index = {"schemaVersion": 2, "manifests": []}
if os.path.exists(f"{layout}/index.json"):
    index = json.load(open(f"{layout}/index.json"))
index["manifests"].append({"mediaType": f"{media}.manifest.v1+json", **blob(json.dumps(manifest).encode()),
                           "annotations": {"org.opencontainers.image.ref.name": tag}})
json.dump(index, open(f"{layout}/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(f"{layout}/oci-layout", "w"))
PYTHON
    skopeo copy -q --dest-tls-verify=false "oci:$WORK/oci:$1" "docker://$HOST/$1:latest"
}

# offers COMMAND: whether rbox has it.
offers() {
    "$RBOX" "$1" --help >/dev/null 2>&1 && return
    echo "bench: leaving out $1: this rbox has no such command" >&2
    return 1
}

# peers NAME FUNCTION...: those that are here, as PEERS. A name begins with its program's.
peers() {
    PEERS=()
    while (($#)); do
        case $1 in
            podman*) ! ((${#PODMAN[@]})) || PEERS+=("$1" "$2") ;;
            *) ! have "${1%% *}" || PEERS+=("$1" "$2") ;;
        esac
        shift 2
    done
}

# --- pull: IMAGE is which
prepare_rbox_pull() { "$RBOX" rmi -f "$HOST/$IMAGE" || true; }
rbox_pull() { "$RBOX" pull -q "$HOST/$IMAGE"; }
prepare_podman_pull() { "${PODMAN[@]}" rmi -f "$HOST/$IMAGE" || true; }
podman_pull() { "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/$IMAGE"; }
prepare_tar_pull() { rm -rf "$WORK/untar"; mkdir "$WORK/untar"; }
# Nothing is verified or kept, but it is on disk at the end, as a pull's work is.
tar_pull() {
    local layer
    for layer in $(skopeo inspect --tls-verify=false --raw "docker://$HOST/$IMAGE" | jq -r '.layers[].digest'); do
        curl -fs "http://$HOST/v2/$IMAGE/blobs/$layer" | tar -xz -C "$WORK/untar"
    done
    sync -f "$WORK/untar"
}
bench_pull() {
    IMAGE=$1
    peers podman podman_pull "curl | tar xz" tar_pull
    row "$2" "$ROUNDS" rbox rbox_pull "${PEERS[@]}"
    prepare_tar_pull
}

# --- push, always to an empty registry
empty_target() {
    [[ -z ${TARGET:-} ]] || { kill "$TARGET"; wait "$TARGET" || true; }
    rm -rf "$WORK/target"
    TARGET_PORT=${TARGET_PORT:-$(free_port)}
    start_registry target "$TARGET_PORT"
    TARGET=${PROCESSES[-1]} TO=127.0.0.1:$TARGET_PORT/pushed
}
prepare_rbox_push() { empty_target; "$RBOX" tag "$HOST/large" "$TO"; }
rbox_push() { "$RBOX" push -q "$TO"; }
prepare_podman_push() { empty_target; }
podman_push() { "${PODMAN[@]}" push -q --tls-verify=false "$HOST/large" "$TO"; }
prepare_skopeo_push() { empty_target; }
skopeo_push() { skopeo copy -q --dest-tls-verify=false "oci:$WORK/oci:large" "docker://$TO"; }

# --- archives
# By its id: a name that it was pushed under would keep its layers.
prepare_rbox_load() { "$RBOX" rmi -f "$("$RBOX" image inspect -f '{{.Id}}' "$HOST/large")" || true; }
rbox_load() { "$RBOX" load -q -i "$WORK/large.tar"; }
prepare_podman_load() { "${PODMAN[@]}" rmi -f "$HOST/large" || true; }
podman_load() { "${PODMAN[@]}" load -q -i "$WORK/large.tar"; }
prepare_rbox_save() { rm -f "$WORK/saved.tar"; }
rbox_save() { "$RBOX" save -o "$WORK/saved.tar" "$HOST/large"; }
prepare_podman_save() { rm -f "$WORK/saved.tar"; }
podman_save() { "${PODMAN[@]}" save -q -o "$WORK/saved.tar" "$HOST/large"; }
prepare_skopeo_save() { rm -f "$WORK/saved.tar"; }
skopeo_save() { skopeo copy -q "oci:$WORK/oci:large" "docker-archive:$WORK/saved.tar:$HOST/large:latest"; }

# --- commit of a change of 10,000 files
# shellcheck disable=SC2016
CHANGE='mkdir /new; i=0; while [ $i -lt 10000 ]; do echo "file $i of the change" >/new/$i; i=$((i + 1)); done'
prepare_rbox_commit() { "$RBOX" rmi -f committed || true; }
rbox_commit() { "$RBOX" commit change committed; }
prepare_podman_commit() { "${PODMAN[@]}" rmi -f committed || true; }
podman_commit() { "${PODMAN[@]}" commit -q change committed; }
bench_commit() {
    "$RBOX" run --name change --network none "$HOST/small" sh -c "$CHANGE" >/dev/null
    peers podman podman_commit
    ! ((${#PODMAN[@]})) || "${PODMAN[@]}" run --name change --network none "$HOST/small" sh -c "$CHANGE" >/dev/null
    row "commit of a change of 10,000 files" "$ROUNDS" rbox rbox_commit "${PEERS[@]}"
}

# --- 1,000 images; podman needs minutes to get so many and has a tenth
rbox_images() { "$RBOX" images; }
podman_images() { "${PODMAN[@]}" images; }
rbox_df() { "$RBOX" system df; }
podman_df() { "${PODMAN[@]}" system df; }
bench_lists() {
    local number
    push_many 1000
    seq 0 999 | sed "s,.*,$HOST/many/image&:1," | xargs -n 50 "$RBOX" pull -q >/dev/null
    ! ((${#PODMAN[@]})) || for number in {0..99}; do
        "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/many/image$number:1" >/dev/null
    done
    peers "podman (100)" podman_images
    row "images with 1,000 images" 10 rbox rbox_images "${PEERS[@]}"
    peers "podman (100)" podman_df
    row "system df with 1,000 images" 10 rbox rbox_df "${PEERS[@]}"
}

# peak FUNCTION: the most memory (MiB) that all processes of rbox took together meanwhile, by
# proportional share, as seen 50 times a second.
peak() {
    local ended
    "prepare_$1" >/dev/null 2>&1
    "$1" >/dev/null 2>"$WORK/error" &
    ended=$!
    python3 - "$RBOX" "$ended" <<'PYTHON'
import os, sys, time
program, shell = sys.argv[1], sys.argv[2]
most = 0

def share(process):
    try:
        if os.readlink(f"/proc/{process}/exe") != program:
            return 0
        with open(f"/proc/{process}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0

def lives():
    try:
        return open(f"/proc/{shell}/stat").read().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False

while lives():
    most = max(most, sum(share(process) for process in os.listdir("/proc") if process.isdigit()))
    time.sleep(0.02)
print(f"{most / 1024:.1f}")
PYTHON
    wait "$ended" || { echo "bench: $1 failed:" >&2; cat "$WORK/error" >&2; }
}
bench_memory() {
    local command
    say "peak memory of all processes, 350 MB image"
    IMAGE=large
    for command in pull push save load; do
        ! offers "$command" || printf '  %-14s %12.1f MiB\n' "$command" "$(peak "rbox_$command")"
        "$RBOX" pull -q "$HOST/large" >/dev/null
    done
}

PORT=$(free_port) HOST=
start_registry registry "$PORT"
HOST=127.0.0.1:$PORT
make_image small 1 1 100
make_image large 1 10000 35000
if have podman; then
    PODMAN=(podman --root "$WORK/podman" --runroot "$WORK/podman-run" --runtime runc --cgroup-manager cgroupfs)
    works podman "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/small" || PODMAN=()
fi
"$RBOX" pull -q "$HOST/small" >/dev/null

! wanted pull || bench_pull large "pull of one layer (350 MB, 10,000 files)"
if wanted layers; then
    make_image layers 12 1000 33000
    bench_pull layers "pull of 12 layers (400 MB, 12,000 files)"
    "$RBOX" rmi -f "$HOST/layers" >/dev/null
fi
if wanted push || wanted load || wanted save || wanted memory; then
    "$RBOX" pull -q "$HOST/large" >/dev/null
    ! ((${#PODMAN[@]})) || "${PODMAN[@]}" pull -q --tls-verify=false "$HOST/large" >/dev/null
    skopeo copy -q "oci:$WORK/oci:large" "docker-archive:$WORK/large.tar:$HOST/large:latest"
fi
if wanted push && offers push; then
    peers podman podman_push skopeo skopeo_push
    row "push of one layer (350 MB) to an empty registry" "$ROUNDS" rbox rbox_push "${PEERS[@]}"
fi
if wanted save && offers save; then
    peers podman podman_save skopeo skopeo_save
    row "save of one layer (350 MB)" "$ROUNDS" rbox rbox_save "${PEERS[@]}"
fi
if wanted load && offers load; then
    peers podman podman_load
    row "load of a docker-archive of one layer (350 MB)" "$ROUNDS" rbox rbox_load "${PEERS[@]}"
fi
! { wanted commit && offers commit; } || bench_commit
! wanted memory || bench_memory
! wanted lists || bench_lists
