# What the benchmarks share; sourced by them.
# shellcheck shell=bash disable=SC2034,SC2154

# begin DEFAULT [ROUNDS [ROW...]]: sets RBOX, ROUNDS, ROWS and WORK, a directory that goes at the end with
# all DIRECTORIES, all containers, those of PODMAN, and the PROCESSES in the background.
begin() {
    ROUNDS=${2:-$1}
    shift $(($# < 2 ? $# : 2))
    ROWS=("$@") PODMAN=() PROCESSES=()
    RBOX=$(realpath "$(command -v "${RBOX_BIN:-rbox}")") || { echo "bench: no rbox: set RBOX_BIN" >&2; exit 1; }
    ((UID != 0)) || { echo "bench: run as an unprivileged user" >&2; exit 1; }
    WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/rbox-bench.XXXXXX")
    chmod 755 "$WORK"
    DIRECTORIES=("$WORK")
    export RBOX_ROOT=$WORK/store RBOX_RUNROOT=$WORK/run
    trap finish EXIT
}
finish() {
    "$RBOX" ps -aq 2>/dev/null | xargs -r "$RBOX" rm -f >/dev/null 2>&1 || true
    ((${#PODMAN[@]} == 0)) || "${PODMAN[@]}" rm -fa -t 0 >/dev/null 2>&1 || true
    local process
    for process in "${PROCESSES[@]}"; do
        # A shell function in the background is a shell with the program below it.
        pkill -9 -P "$process" || true
        kill -9 "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    unshare --user --map-auto --map-root-user rm -rf "${DIRECTORIES[@]}" 2>/dev/null ||
        rm -rf "${DIRECTORIES[@]}"
}

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '\n%s\n' "$*"; }
now() { echo "${EPOCHREALTIME/[.,]/}"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# wanted ROW: whether it was asked for, by name or by no name at all (ROWS).
wanted() { ((${#ROWS[@]} == 0)) || [[ " ${ROWS[*]} " == *" $1 "* ]]; }

# ways NAME FUNCTION [NAME FUNCTION]...: sets NAMES and FUNCTIONS; the first is rbox.
ways() {
    NAMES=() FUNCTIONS=()
    while (($#)); do
        NAMES+=("$1")
        FUNCTIONS+=("$2")
        shift 2
    done
    rm -f "$WORK"/value.*
}

# report TITLE UNIT: the medians of what is in $WORK/value.N, and rbox beside each.
report() {
    local index ours theirs
    say "$1"
    ours=$(median <"$WORK/value.0")
    for ((index = 0; index < ${#NAMES[@]}; index++)); do
        theirs=$(median <"$WORK/value.$index")
        awk -v n="${NAMES[$index]}" -v t="$theirs" -v o="$ours" -v u="$2" \
            'BEGIN { printf "  %-14s %12.2f %-6s rbox: %.2fx of it\n", n, t, u, t ? o / t : 0 }'
    done
}

# row TITLE ROUNDS NAME FUNCTION...: how long each function takes. If there is a function
# prepare_FUNCTION, it comes before, and its time does not count.
row() {
    local title=$1 rounds=$2 round index start
    shift 2
    ways "$@"
    for ((round = 0; round < rounds; round++)); do
        for ((index = 0; index < ${#NAMES[@]}; index++)); do
            ! declare -F "prepare_${FUNCTIONS[$index]}" >/dev/null || "prepare_${FUNCTIONS[$index]}" >/dev/null 2>&1
            start=$(now)
            "${FUNCTIONS[$index]}" >/dev/null 2>"$WORK/error" ||
                { echo "bench: $title: ${NAMES[$index]} failed:" >&2; cat "$WORK/error" >&2; exit 1; }
            awk -v us=$(($(now) - start)) 'BEGIN { print us / 1000 }' >>"$WORK/value.$index"
        done
    done
    report "$title" ms
}

# works NAME COMMAND...: whether a peer can do its work here at all (crun refuses hybrid cgroups).
works() {
    local name=$1
    shift
    "$@" >/dev/null 2>"$WORK/error" && return
    echo "bench: leaving out $name: $(tail -n 1 "$WORK/error")" >&2
    return 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start_registry NAME PORT: at 127.0.0.1:PORT until the end, its data in $WORK/NAME.
start_registry() {
    cat >"$WORK/$1.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $WORK/$1}}
http: {addr: "127.0.0.1:$2"}
YAML
    docker-registry serve "$WORK/$1.yml" >"$WORK/$1.log" 2>&1 &
    PROCESSES+=($!)
    for _ in {1..100}; do
        ! curl -fs "http://127.0.0.1:$2/v2/" >/dev/null || return 0
        sleep 0.1
    done
    echo "bench: the registry did not start" >&2
    exit 1
}

# push_many COUNT: the small image at HOST with other labels, as HOST/many/imageN:1
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
