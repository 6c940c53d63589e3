#!/bin/bash
# Prepares the machine, builds, and runs all tests; the last line counts them.
#
#   scripts/test.sh [all|prepare|gates|unit|integration|--vm] [FILTER]
#
# `prepare` installs packages and makes the test user, no more; FILTER goes to the test programs.
#
# `--vm` boots a Debian with systemd, a user manager and cgroups of version 2 in an emulated machine
# (scripts/vm.sh) and runs there what needs these, and the core of the integration tests on its older
# kernel. With CI set, `all` does it, too, without that core.
#
# Started by root (CI), the integration tests run as the unprivileged user `rboxtest`, which is
# made when missing; started by anybody else, they run as that user, and packages are only checked.
# The tests find the program in RBOX_BIN, their files in the working directory, a Debian that boots
# in RBOX_TEST_SYSTEM, one with compilers in RBOX_TEST_TOOLS. A test that cannot run here prints a line
# `skipped: REASON` and is counted as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(
    # to build
    gcc libc6-dev libseccomp-dev pkg-config
    # at run time
    uidmap fuse-overlayfs
    # images, registries, and other tools to compare with
    busybox-static mmdebstrap skopeo umoci docker-registry openssl podman runc crun bubblewrap
    # builds: another builder, an agent of keys, and what contexts are packed with
    buildah bzip2 git openssh-client xz-utils
    # full-screen programs, and the terminal they run on
    less tmux vim-tiny
    # an emulated machine and what its disks are made with
    cpio e2fsprogs qemu-system-x86 qemu-utils
    # other readers of what is compressed
    gzip zstd
    # judging units
    systemd
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

# What the Debian that things are compiled in is made of.
TOOL_PACKAGES=gcc,libc6-dev,make,python3,python3-pip,python3-setuptools,python3-wheel

# How long the emulated machine may take in CI.
VM_LIMIT=480

passed=0 failed=0 skipped=0
SYSTEM='' TOOLS='' CGROUPS=()

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'test: %s\n' "$*" >&2; exit 1; }

prepare() {
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]})); then
        ((UID == 0)) || fail "missing packages: sudo apt-get install ${missing[*]}"
        apt-get update -q
        install_packages "${missing[@]}"
        # Where packages of several suites are installed, one may have had to go for another.
        mapfile -t missing < <(missing_packages)
        ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    fi
    ((UID != 0)) || prepare_user
}

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || echo "$package"
    done
}

install_packages() {
    say "Installing $*"
    without_starting_services env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
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
    # For fuse-overlayfs.
    [[ ! -c /dev/fuse ]] || chmod 666 /dev/fuse
    # What a login would make.
    install -d -m 755 /run/user
    install -d -m 700 -o "$TEST_USER" -g "$TEST_USER" "/run/user/$(id -u "$TEST_USER")"
}

# The root file systems of two Debians as tar files: SYSTEM, which boots, and TOOLS, which compiles.
prepare_system() {
    SYSTEM=$(debian system "$SYSTEM_PACKAGES")
    TOOLS=$(debian tools "$TOOL_PACKAGES")
}

# debian NAME PACKAGES: prints the path of the tar file, which is made when it is missing.
debian() {
    local suite cache=/var/cache/rbox-tests options exclude made
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    ((UID == 0)) || cache=${XDG_CACHE_HOME:-$HOME/.cache}/rbox-tests
    options=(--variant=minbase --include="$2" --skip=output/dev --skip=output/mknod --format=tar)
    for exclude in man doc locale info zoneinfo; do
        options+=("--dpkgopt=path-exclude=/usr/share/$exclude/*")
    done
    made=$cache/$1-$(cksum <<<"$suite ${options[*]}" | cut -d' ' -f1).tar
    if [[ ! -e $made ]]; then
        say "Making a Debian: $1" >&2
        mkdir -p "$cache"
        mmdebstrap --quiet "${options[@]}" "$suite" "$made.tmp" >&2 ||
            { rm -f "$made.tmp"; fail "mmdebstrap could not make the root file system of $suite"; }
        mv "$made.tmp" "$made"
    fi
    echo "$made"
}

# Cgroups of the test user's, as a delegated scope of systemd's is: of version 2, and of version 1 where its
# controllers are mounted.
prepare_cgroup() {
    local mount own file
    ((UID == 0)) || return 0
    while read -r mount; do
        own=$mount/rbox-test.$$
        mkdir "$own" 2>/dev/null || continue
        for file in cpuset.cpus cpuset.mems; do
            [[ ! -e $own/$file || -e $own/cgroup.controllers ]] || cat "$mount/$file" >"$own/$file"
        done
        chown "$TEST_USER:" "$own"
        for file in "$own"/{cgroup.procs,cgroup.threads,cgroup.subtree_control,tasks}; do
            [[ ! -e $file ]] || chown "$TEST_USER:" "$file"
        done
        CGROUPS+=("$own")
    done < <(awk '$3 == "cgroup2" || $3 == "cgroup" && $4 !~ /name=/ { print $2 }' /proc/mounts)
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
    [[ ! -e $STAGE/machine ]] || RBOX_VM=$STAGE/machine scripts/vm.sh stop || true
    end_leftovers
    for own in "${CGROUPS[@]}"; do find "$own" -depth -type d -exec rmdir {} + || true; done
    # Files of mapped ids are beyond a plain user's rm: remove them in its user namespace.
    rm -rf "$STAGE" 2>/dev/null || unshare --user --map-auto --map-root-user rm -rf "$STAGE" || true
}

# Names and ends what outlived its test; podman's pause process always does.
end_leftovers() {
    local left
    mapfile -t left < <(((${#CGROUPS[@]} == 0)) || find "${CGROUPS[0]}" -name cgroup.procs -exec cat {} +)
    ((${#left[@]} > 0)) || return 0
    echo "test: still running:" >&2
    ps -o pid,etime,args -p "${left[@]}" >&2 || true
    kill -9 "${left[@]}" 2>/dev/null || true
    sleep 1
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
        for own in "${CGROUPS[@]}"; do echo "$BASHPID" >"$own/cgroup.procs"; done
        cd "$STAGE/tree"
        "${become[@]}" env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$home" USER="$user" \
            LOGNAME="$user" LANG=C.UTF-8 TERM=xterm ${runtime:+XDG_RUNTIME_DIR="$runtime"} TMPDIR="$STAGE/tmp" \
            RBOX_BIN="$STAGE/bin/rbox" CARGO_MANIFEST_DIR="$STAGE/tree" RUST_BACKTRACE=1 ${CI:+CI="$CI"} \
            ${SYSTEM:+RBOX_TEST_SYSTEM="$SYSTEM"} ${TOOLS:+RBOX_TEST_TOOLS="$TOOLS"} "$@"
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
            --test-threads "$WAITING" --skip vm:: "$@"
        rm -f "$STAGE/bin/$name"
    done <<<"$programs"
}

# Runs the tests of the emulated machine.
vm() {
    local kind name path directory=$STAGE/vm limit=$VM_LIMIT
    if ! command -v qemu-system-x86_64 >/dev/null; then
        say "Emulated machine"
        echo "skipped: qemu-system-x86 is not installed"
        skipped=$((skipped + 1))
        return
    fi
    scripts/vm.sh image
    mkdir -p "$directory/bin"
    install -m 755 "$RBOX" "$directory/bin/rbox"
    cp -r "$STAGE/tree" "$directory/tree"
    # For the core of the suite.
    if [[ -z ${CI:-} ]]; then
        limit=3600
        prepare_system
        cp "$SYSTEM" "$directory/system.tar"
    fi
    while read -r kind name path; do
        [[ $kind != test || $name != it ]] || install -m 755 "$path" "$directory/bin/it"
    done <<<"$programs"
    RBOX_VM=$STAGE/machine RBOX_VM_LIFE=$limit count "Emulated machine" \
        timeout --kill-after=30 "$limit" tests/vm/lane.sh "$directory" "$@"
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
    shellcheck scripts/*.sh tests/vm/*.sh .ci/run completions/rbox.bash
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
            [[ -z ${CI:-} ]] || vm "$@"
            ;;
        --vm) vm "$@" ;;
        unit | integration) "$part" "$@" ;;
        gates) gates ;;
        *) fail "unknown part $part: expected prepare, unit, integration, gates or --vm" ;;
    esac
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    ((failed == 0))
}

main "$@"
