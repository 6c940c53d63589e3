#!/bin/bash
# Prepares the machine, builds, and runs all tests; the last line counts them.
#
#   scripts/test.sh [all|prepare|gates|unit|integration] [FILTER]
#
# `prepare` installs packages and makes the test user, no more; FILTER goes to the test programs.
#
# Started by root (CI), the integration tests run as the unprivileged user `rboxtest`, which is
# made when missing; started by anybody else, they run as that user, and packages are only checked.
# The tests find the program in RBOX_BIN, their files in the working directory, a Debian that boots
# in RBOX_TEST_SYSTEM. A test that cannot run here prints a line `skipped: REASON` and is counted as
# skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(
    # to build
    gcc libc6-dev libseccomp-dev pkg-config
    # at run time
    uidmap fuse-overlayfs
    # images, registries, and other tools to compare with
    busybox-static mmdebstrap skopeo umoci docker-registry openssl podman runc crun bubblewrap
    # full-screen programs, and the terminal they run on
    less tmux vim-tiny
    # other readers of what is compressed
    gzip zstd
    # looking at results
    attr binutils file hostname jq procps python3 python3-jsonschema shellcheck strace
    # servers, clients and peers of networks, and what a world of network namespaces is made with
    bind9-dnsutils curl dnsmasq-base iperf3 iproute2 iputils-ping nftables nginx-light passt redis-tools
    slirp4netns socat wrk
    # completions and man pages
    fish man-db mandoc zsh
)
TEST_USER=rboxtest
# Long enough for the slowest test program, so that a hang ends in a count.
LIMIT=1200
# The integration tests wait more than they compute.
WAITING=$(($(nproc) * 3))

# What the Debian that is booted in a container is made of; kept until this changes.
SYSTEM_PACKAGES=systemd,systemd-sysv,dbus,util-linux,login

passed=0 failed=0 skipped=0
SYSTEM='' CGROUP=''

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'test: %s\n' "$*" >&2; exit 1; }

prepare() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
    done
    if ((${#missing[@]})); then
        ((UID == 0)) || fail "missing packages: sudo apt-get install ${missing[*]}"
        say "Installing ${missing[*]}"
        apt-get update -q
        without_starting_services env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${missing[@]}"
    fi
    ((UID != 0)) || prepare_user
}

# Runs a command under which packages do not start what they install: the tests start their own.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d
    [[ ! -e $policy ]] || { "$@"; return; }
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@" || { rm -f "$policy"; return 1; }
    rm -f "$policy"
}

prepare_user() {
    if ! getent passwd "$TEST_USER" >/dev/null; then
        say "Creating the user $TEST_USER"
        useradd --create-home --shell /bin/bash "$TEST_USER"
    fi
    local file first
    for file in /etc/subuid /etc/subgid; do
        grep -q "^$TEST_USER:" "$file" 2>/dev/null && continue
        first=$(awk -F: 'BEGIN { id = 100000 } NF == 3 && $2 + $3 > id { id = $2 + $3 } END { print id }' \
            <(cat /etc/subuid /etc/subgid 2>/dev/null))
        usermod "--add-${file#/etc/}s" "$first-$((first + 65535))" "$TEST_USER"
    done
    # As udev makes it; slirp4netns and pasta need it.
    [[ ! -c /dev/net/tun ]] || chmod 666 /dev/net/tun
    # What a login would make.
    install -d -m 755 /run/user
    install -d -m 700 -o "$TEST_USER" -g "$TEST_USER" "/run/user/$(id -u "$TEST_USER")"
}

# The root file system of a whole Debian as a tar file: SYSTEM.
prepare_system() {
    local suite cache=/var/cache/rbox-tests options exclude
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    ((UID == 0)) || cache=${XDG_CACHE_HOME:-$HOME/.cache}/rbox-tests
    options=(--variant=minbase --include="$SYSTEM_PACKAGES" --skip=output/dev --skip=output/mknod --format=tar)
    for exclude in man doc locale info zoneinfo; do
        options+=("--dpkgopt=path-exclude=/usr/share/$exclude/*")
    done
    SYSTEM=$cache/system-$(cksum <<<"$suite ${options[*]}" | cut -d' ' -f1).tar
    [[ ! -e $SYSTEM ]] || return 0
    say "Making a Debian to boot"
    mkdir -p "$cache"
    mmdebstrap --quiet "${options[@]}" "$suite" "$SYSTEM.tmp" ||
        { rm -f "$SYSTEM.tmp"; fail "mmdebstrap could not make the root file system of $suite"; }
    mv "$SYSTEM.tmp" "$SYSTEM"
}

# A cgroup of the test user's, as a delegated scope of systemd's is; without version 2 there is none.
prepare_cgroup() {
    local mount
    mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    [[ -n $mount ]] && ((UID == 0)) || return 0
    CGROUP=$mount/rbox-test.$$
    mkdir "$CGROUP"
    chown "$TEST_USER:" "$CGROUP" "$CGROUP"/cgroup.{procs,threads,subtree_control}
}

# Builds all test programs; fills `programs` with lines "KIND NAME PATH" and RBOX with the binary.
build() {
    say "Building"
    cargo test --no-run --locked
    local artifacts
    artifacts=$(cargo test --no-run --locked --quiet --message-format=json |
        jq -r 'select(.reason == "compiler-artifact" and .executable != null)
               | "\(if .profile.test then .target.kind[0] else "program" end) \(.target.name) \(.executable)"')
    programs=$(grep -v '^program ' <<<"$artifacts" | sort -u)
    RBOX=$(sed -n 's/^program rbox //p' <<<"$artifacts" | tail -n 1)
    [[ -x ${RBOX:-} ]] || fail "the build left no rbox binary"
}

# A place that the test user can read and write: the programs, the tests' files, a disk-backed TMPDIR.
make_stage() {
    # In small letters: podman takes the path of an OCI layout for an image's name, too.
    STAGE=/var/tmp/rbox-test.$$-$EPOCHSECONDS
    mkdir -m 755 "$STAGE"
    trap remove_stage EXIT
    mkdir "$STAGE/bin" "$STAGE/tree" "$STAGE/tmp"
    install -m 755 "$RBOX" "$STAGE/bin/rbox"
    tar --create --exclude=./target --exclude=./.git . | tar --extract --directory "$STAGE/tree" --no-same-owner
    chmod -R u+w,a+rX "$STAGE/tree"
    prepare_cgroup
    ((UID != 0)) || chown -R "$TEST_USER:" "$STAGE/tmp" "$STAGE/tree"
}

remove_stage() {
    [[ -z $CGROUP ]] || find "$CGROUP" -depth -type d -exec rmdir {} + || true
    # Files of mapped ids are beyond a plain user's rm: remove them in its user namespace.
    rm -rf "$STAGE" 2>/dev/null || unshare --user --map-auto --map-root-user rm -rf "$STAGE" || true
}

as_test_user() {
    local home=$HOME runtime=${XDG_RUNTIME_DIR:-} user=${USER:-$(id -un)} become=()
    if ((UID == 0)); then
        user=$TEST_USER
        home=$(getent passwd "$user" | cut -d: -f6)
        runtime=/run/user/$(id -u "$user")
        become=(runuser -u "$user" --)
    fi
    (
        [[ -z $CGROUP ]] || echo "$BASHPID" >"$CGROUP/cgroup.procs"
        cd "$STAGE/tree"
        "${become[@]}" env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$home" USER="$user" \
            LOGNAME="$user" LANG=C.UTF-8 TERM=xterm ${runtime:+XDG_RUNTIME_DIR="$runtime"} TMPDIR="$STAGE/tmp" \
            RBOX_BIN="$STAGE/bin/rbox" CARGO_MANIFEST_DIR="$STAGE/tree" RUST_BACKTRACE=1 ${CI:+CI="$CI"} \
            ${SYSTEM:+RBOX_TEST_SYSTEM="$SYSTEM"} "$@"
    )
}

# Runs one test program and adds up its closing line; one without that line has crashed or hung.
count() {
    local log line
    log=$(mktemp)
    say "$1"
    shift
    "$@" </dev/null 2>&1 | tee "$log" || true
    line=$(grep '^test result: ' "$log" | tail -n 1 || true)
    if [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]]; then
        local skips
        skips=$(grep -c '^skipped: ' "$log" || true)
        passed=$((passed + BASH_REMATCH[1] - skips))
        failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + BASH_REMATCH[3] + skips))
    else
        echo "test: no closing line: the test program crashed or took longer than $LIMIT s" >&2
        failed=$((failed + 1))
    fi
    rm -f "$log"
}

unit() {
    local kind name path
    while read -r kind name path; do
        [[ $kind == test ]] || count "Unit tests: $kind $name" timeout "$LIMIT" "$path" --show-output "$@"
    done <<<"$programs"
}

integration() {
    local kind name path
    prepare_system
    while read -r kind name path; do
        [[ $kind == test ]] || continue
        install -m 755 "$path" "$STAGE/bin/$name"
        count "Integration tests: $name" as_test_user timeout "$LIMIT" "$STAGE/bin/$name" --show-output \
            --test-threads "$WAITING" "$@"
        rm -f "$STAGE/bin/$name"
    done <<<"$programs"
}

# Runs one check that is no Rust test.
gate() {
    say "Gate: $1"
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

is_static() {
    local kind
    kind=$(file --brief "$RBOX")
    echo "$kind"
    [[ $kind == *"static-pie linked"* || $kind == *"statically linked"* ]]
}

# Rust code may reach the name services in two places only: std's resolver, as reqwest links it
# (never run: the registry client brings its own), and the look-up of the home directory in std and
# dirs-sys (never run: HOME is set before).
has_no_nss() {
    local callers
    callers=$(scripts/nss-callers.py "$RBOX")
    echo "${callers:-none}"
    ! grep -v -E ' _R.*3std(3sys.*lookup_host|3env8home_dir)| _(R|ZN).*dirs_sys' <<<"$callers" | grep -q .
}

scripts_are_clean() {
    shellcheck scripts/*.sh .ci/run completions/rbox.bash
}

gates() {
    gate "the binary is static" is_static
    gate "no way into NSS" has_no_nss
    gate "shell scripts" scripts_are_clean
}

main() {
    local part=${1:-all}
    shift || true
    prepare
    [[ $part != prepare ]] || return 0
    build
    make_stage
    case $part in
        all)
            gates
            unit "$@"
            integration "$@"
            ;;
        unit | integration) "$part" "$@" ;;
        gates) gates ;;
        *) fail "unknown part $part: expected prepare, unit, integration or gates" ;;
    esac
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    ((failed == 0))
}

main "$@"
