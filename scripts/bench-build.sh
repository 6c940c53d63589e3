#!/bin/bash
# Compares rbox's builds with buildah's and podman's on this machine, in one sitting: the figures of one
# run may be compared with each other, not with another run's. Each row takes turns between the tools and
# reports medians, and the ratio of rbox to each.
#
#   scripts/bench-build.sh [ROUNDS] [ROW]...     as an unprivileged user with subordinate ids (default 5 rounds, all rows)
#   RBOX_BIN=PATH                                the program (default: rbox on the PATH; build with --release)
#
# Rows: cached steps copy stages. `scripts/test.sh prepare` installs the peers; without them rbox is
# measured alone. All keep a layer for each step, as rbox and docker do. Needs 2 GB below TMPDIR, or /var/tmp.
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 5 "$@"
# What they keep while they run needs a short path.
RUNS=$(mktemp -d /tmp/rbox-bench.XXXXXX)
DIRECTORIES+=("$RUNS")
PEERS=()
BUILDAH=(buildah --root "$WORK/buildah" --runroot "$RUNS/buildah" --storage-driver overlay)
PODMAN=(podman --root "$WORK/podman" --runroot "$RUNS/podman" --storage-driver overlay --runtime runc
    --cgroup-manager cgroupfs)

# A root file system around busybox.
make_base() {
    mkdir -p "$WORK"/base/{bin,dev,etc,proc,sys,tmp,run}
    cp "$(command -v busybox)" "$WORK/base/bin/busybox"
    for applet in sh true sleep echo cat; do ln -s busybox "$WORK/base/bin/$applet"; done
    tar -C "$WORK/base" --owner 0 --group 0 -cf "$WORK/base.tar" .
}

# build DIRECTORY [ARG]..., with each tool.
rbox_build() { "$RBOX" build -q -t made "${@:2}" "$1"; }
buildah_build() { "${BUILDAH[@]}" build --layers --pull-never --runtime runc --network none -q -t made "${@:2}" "$1"; }
podman_build() { "${PODMAN[@]}" build --layers --pull=never --network none -q -t made "${@:2}" "$1"; }

# use_peers SUFFIX: the functions TOOL_SUFFIX of the tools that are here, as USED.
use_peers() {
    local tool
    USED=(rbox "rbox_$1")
    for tool in "${PEERS[@]}"; do USED+=("$tool" "${tool}_$1"); done
}

serial=0

# --- 12 steps, all of them known
make_cached() {
    mkdir -p "$WORK/cached"
    echo content >"$WORK/cached/file"
    {
        echo 'FROM base'
        echo 'ENV A=b'
        echo 'WORKDIR /srv'
        for step in 1 2 3; do echo "RUN echo $step >$step"; done
        echo 'COPY file /file'
        for step in 4 5 6; do echo "RUN echo $step >$step"; done
        echo 'LABEL c=d'
        echo 'CMD ["true"]'
    } >"$WORK/cached/Dockerfile"
}
rbox_cached() { rbox_build "$WORK/cached"; }
buildah_cached() { buildah_build "$WORK/cached"; }
podman_cached() { podman_build "$WORK/cached"; }
bench_cached() {
    local tool
    make_cached
    for tool in rbox "${PEERS[@]}"; do "${tool}_cached" >/dev/null 2>&1; done
    use_peers cached
    row "rebuild of 12 steps, all from the cache" "$((ROUNDS * 2))" "${USED[@]}"
}

# --- 20 small steps that nobody knows
prepare_steps() {
    serial=$((serial + 1))
    mkdir -p "$WORK/steps"
    { echo 'FROM base'; for step in {1..20}; do echo "RUN echo $serial-$step >/$step"; done; } >"$WORK/steps/Dockerfile"
}
prepare_rbox_steps() { prepare_steps; }
prepare_buildah_steps() { prepare_steps; }
prepare_podman_steps() { prepare_steps; }
rbox_steps() { rbox_build "$WORK/steps"; }
buildah_steps() { buildah_build "$WORK/steps"; }
podman_steps() { podman_build "$WORK/steps"; }
bench_steps() {
    use_peers steps
    row "20 small RUN, none in the cache" "$ROUNDS" "${USED[@]}"
}

# --- 20,000 files of 1 kB: a context that was never seen, then the same again
prepare_copy() {
    serial=$((serial + 1))
    python3 - "$WORK/copy$serial" "$serial" <<'PYTHON'
import os, random, sys
top, source = sys.argv[1], random.Random(sys.argv[2])
for directory in range(200):
    path = f"{top}/files/d{directory}"
    os.makedirs(path)
    for file in range(100):
        with open(f"{path}/f{file}", "wb") as out:
            out.write(source.randbytes(1000))
with open(f"{top}/Dockerfile", "w", encoding="utf-8") as out:
    out.write("FROM base\nCOPY files /files\n")
PYTHON
    # What was written a moment ago is no part of what is measured, nor believed by its times.
    sync -f "$WORK"
    sleep 1
}
prepare_rbox_copy() { prepare_copy; }
prepare_buildah_copy() { prepare_copy; }
prepare_podman_copy() { prepare_copy; }
rbox_copy() { rbox_build "$WORK/copy$serial"; }
buildah_copy() { buildah_build "$WORK/copy$serial"; }
podman_copy() { podman_build "$WORK/copy$serial"; }
bench_copy() {
    local tool
    use_peers copy
    row "COPY of 20,000 files, cold" "$ROUNDS" "${USED[@]}"
    prepare_copy
    for tool in rbox "${PEERS[@]}"; do
        "${tool}_copy" >/dev/null 2>&1
        eval "${tool}_again() { ${tool}_copy; }"
    done
    use_peers again
    row "COPY of 20,000 files, unchanged" "$((ROUNDS * 2))" "${USED[@]}"
}

# --- two stages that do not need each other, each of 2 s
prepare_stages() {
    serial=$((serial + 1))
    mkdir -p "$WORK/stages" "$WORK/stage"
    local one="FROM base AS one\nRUN sleep 2; echo $serial >/one\n" two="FROM base AS two\nRUN sleep 2; echo $serial >/two\n"
    local last='FROM base\nCOPY --from=one /one /one\n'
    printf '%b' "$one$two$last" 'COPY --from=two /two /two\n' >"$WORK/stages/Dockerfile"
    printf '%b' "${one/echo/echo alone}$last" >"$WORK/stage/Dockerfile"
}
prepare_rbox_stages() { prepare_stages; }
prepare_alone() { prepare_stages; }
prepare_buildah_stages() { prepare_stages; }
prepare_podman_stages() { prepare_stages; }
rbox_stages() { rbox_build "$WORK/stages"; }
alone() { rbox_build "$WORK/stage"; }
buildah_stages() { buildah_build "$WORK/stages" --jobs 2; }
podman_stages() { podman_build "$WORK/stages" --jobs 2; }
bench_stages() {
    use_peers stages
    row "two independent stages of 2 s" "$ROUNDS" "${USED[@]}" "rbox, one" alone
}

make_base
"$RBOX" import -q "$WORK/base.tar" base >/dev/null
prepare_steps
if have podman; then
    ! { works podman "${PODMAN[@]}" import -q "$WORK/base.tar" base && works podman podman_steps; } || PEERS+=(podman)
fi
if have podman && have buildah; then
    PODMAN[2]=$WORK/buildah PODMAN[4]=$RUNS/buildah
    "${PODMAN[@]}" import -q "$WORK/base.tar" base >/dev/null 2>&1 || true
    PODMAN[2]=$WORK/podman PODMAN[4]=$RUNS/podman
    ! works buildah buildah_steps || PEERS=(buildah "${PEERS[@]}")
fi

for name in cached steps copy stages; do
    ! wanted "$name" || "bench_$name"
done
