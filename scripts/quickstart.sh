#!/bin/sh
# Builds rbox on a fresh Debian with Rust, puts it in place, checks what rootless containers need
# and runs a first one, without downloading any image. Run it as yourself or as root (or with
# sudo); the container always runs as an ordinary user. Running it again does no harm.
#
#   RBOX_USER=NAME  the user for the first container when started by root without sudo
#                   (default: rbox, created when missing)
set -eu

PACKAGES="gcc libc6-dev libseccomp-dev pkg-config uidmap"
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

# --- who does what: root installs, an ordinary user builds (if it has Rust) and runs
ME=$(id -u)
if [ "$ME" -eq 0 ]; then
    if [ "${SUDO_USER:-root}" != root ]; then RUN_AS=$SUDO_USER; else RUN_AS=${RBOX_USER:-rbox}; fi
    [ "$RUN_AS" != root ] || fail "RBOX_USER must be an ordinary user, not root"
else
    RUN_AS=$(id -un)
fi

as_root() {
    if [ "$ME" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "needs root for this; run as root, then start again: $*"
    fi
}

# Runs a command as the ordinary user, with that user's environment and nothing of root's.
as_user() {
    if [ "$ME" -ne 0 ]; then
        "$@"
        return
    fi
    home=$(getent passwd "$RUN_AS" | cut -d: -f6)
    uid=$(id -u "$RUN_AS")
    set -- HOME="$home" USER="$RUN_AS" LOGNAME="$RUN_AS" LANG=C.UTF-8 \
        PATH="$home/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" "$@"
    [ ! -d "/run/user/$uid" ] || set -- XDG_RUNTIME_DIR="/run/user/$uid" "$@"
    [ -z "${CARGO_TARGET_DIR:-}" ] || set -- CARGO_TARGET_DIR="$CARGO_TARGET_DIR" "$@"
    runuser -u "$RUN_AS" -- env -i "$@"
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

install_packages() {
    command -v dpkg-query >/dev/null 2>&1 || fail "this script knows Debian and its children; install yourself: $PACKAGES"
    missing=
    for package in $PACKAGES; do
        installed "$package" || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        say "Installing$missing"
        as_root apt-get update -q
        # shellcheck disable=SC2086 # a list of words
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    fi
}

# The user of the checkout builds, so that nothing in it becomes root's; root does when it must.
build() {
    say "Building (some minutes the first time)"
    if [ "$ME" -eq 0 ] && [ "${SUDO_USER:-root}" != root ] && as_user cargo --version >/dev/null 2>&1; then
        BUILD_AS=user
    else
        BUILD_AS=self
        PATH=$HOME/.cargo/bin:$PATH
        command -v cargo >/dev/null 2>&1 || fail "no cargo: install Rust (https://rustup.rs) and start again"
    fi
    as_builder cargo build --release --locked
    BINARY=$(as_builder cargo build --release --locked --quiet --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/rbox\)".*/\1/p' | tail -n 1)
    [ -x "$BINARY" ] || fail "the build left no rbox binary"
}

as_builder() {
    if [ "$BUILD_AS" = user ]; then as_user "$@"; else "$@"; fi
}

install_binary() {
    if [ "$ME" -eq 0 ]; then BIN=/usr/local/bin; else BIN=$HOME/.local/bin; fi
    say "Installing $BIN/rbox"
    mkdir -p "$BIN"
    install -m 755 "$BINARY" "$BIN/rbox"
    RBOX=$BIN/rbox
    install_pages
    case ":$PATH:" in
        *":$BIN:"*) ;;
        *) say "Put it on your path: export PATH=\"$BIN:\$PATH\"" ;;
    esac
}

# Man pages and completions, where man, bash-completion, zsh and fish look for them.
install_pages() {
    SHARE=${BIN%/bin}/share
    mkdir -p "$SHARE/man/man1" "$SHARE/bash-completion/completions" "$SHARE/fish/vendor_completions.d" \
        "$SHARE/zsh/site-functions"
    install -m 644 man/*.1 "$SHARE/man/man1"
    install -m 644 completions/rbox.bash "$SHARE/bash-completion/completions/rbox"
    install -m 644 completions/rbox.fish "$SHARE/fish/vendor_completions.d/rbox.fish"
    install -m 644 completions/_rbox "$SHARE/zsh/site-functions/_rbox"
    # Debian's zsh looks into /usr/local by itself.
    [ "$ME" -eq 0 ] || say "For completions in zsh, before compinit in ~/.zshrc: fpath=($SHARE/zsh/site-functions \$fpath)"
}

# --- what rootless containers need: a user, ranges of ids, user namespaces
has_range() { grep -q -E "^($RUN_AS|$(id -u "$RUN_AS")):[0-9]+:[0-9]+" "$1" 2>/dev/null; }

# The first id after every range that is handed out in both files.
free_id() {
    cat /etc/subuid /etc/subgid 2>/dev/null |
        awk -F: 'BEGIN { next_id = 100000 } NF == 3 && $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }'
}

check_ids() {
    if [ "$ME" -eq 0 ] && ! getent passwd "$RUN_AS" >/dev/null; then
        say "Creating the user $RUN_AS"
        useradd --create-home --shell /bin/bash "$RUN_AS"
    fi
    [ "$(id -u "$RUN_AS")" -ne 0 ] || fail "$RUN_AS has user id 0: choose an ordinary user with RBOX_USER"
    if has_range /etc/subuid && has_range /etc/subgid; then
        return
    fi
    first=$(free_id)
    range="$first-$((first + 65535))"
    if [ "$ME" -eq 0 ]; then
        say "Giving $RUN_AS the subordinate ids $range"
        usermod --add-subuids "$range" --add-subgids "$range" "$RUN_AS"
    else
        say "No subordinate ids for $RUN_AS: containers will have one user only. To change that:"
        echo "  sudo usermod --add-subuids $range --add-subgids $range $RUN_AS"
    fi
}

check_namespaces() {
    as_user unshare --user --map-root-user true 2>/dev/null && return
    echo "quickstart: $RUN_AS may not create user namespaces on this machine. To allow it:" >&2
    # setting, the value that forbids, the value that allows
    set -- kernel/unprivileged_userns_clone 0 1 kernel/apparmor_restrict_unprivileged_userns 1 0 \
        user/max_user_namespaces 0 15000
    while [ $# -gt 0 ]; do
        if [ "$(cat "/proc/sys/$1" 2>/dev/null)" = "$2" ]; then
            echo "  sudo sysctl -w $(echo "$1" | tr / .)=$3" >&2
        fi
        shift 3
    done
    exit 1
}

# The host's own userland as a copy-on-write root: no image, no download.
first_container() {
    say "A first container, as $RUN_AS"
    # shellcheck disable=SC2016 # expanded in the container
    as_user "$RBOX" run --rm rootfs:/ sh -c \
        'echo "Hello from a container: uid $(id -u), pid $$, host name $(hostname), $(ls /proc | grep -c "^[0-9]") processes in sight."'
    say "It works. Three to try${1:+ as $1}:"
    cat <<COMMANDS
  rbox run --rm -it rootfs:/ sh                   a shell in a throw-away view of this machine
  rbox run --rm -it alpine sh                     the same in an image from Docker Hub
  rbox run -d --name nap rootfs:/ sleep 600; rbox ps; rbox exec nap ps ax; rbox rm -f nap
COMMANDS
}

install_packages
build
install_binary
check_ids
check_namespaces
if [ "$ME" -eq 0 ]; then first_container "$RUN_AS"; else first_container; fi
