//! A small machine of our own inside a user namespace: root, an ordinary user `user` (id 1000) with
//! or without subordinate ids, and a file system of limited size at `/mnt`. For what an ordinary
//! user cannot arrange on the real machine: another user, a full disk.

use std::path::PathBuf;

use super::{Bench, Cmd, program};

/// Prepares the machine as its root, then runs the script as `user`.
///
/// newuidmap is copied because the real one belongs to a root that is nobody here.
const PREPARE: &str = r#"
set -e
files=$1; ranges=$2; size=$3; script=$4; spoil=$5
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$files"
if [ "$ranges" ]; then
    for helper in newuidmap newgidmap; do
        cp /usr/bin/$helper "$files/"
        chmod 4755 "$files/$helper"
        mount --bind "$files/$helper" /usr/bin/$helper
    done
fi
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/mnt/home:/bin/sh\n' >"$files/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$files/group"
printf '%s' "$ranges" >"$files/ranges"
for bind in passwd:/etc/passwd group:/etc/group ranges:/etc/subuid ranges:/etc/subgid; do
    mount --bind "$files/${bind%%:*}" "${bind#*:}"
done
mount -t tmpfs -o "size=$size,mode=755" none /mnt
mkdir /mnt/home /mnt/run
chown -R 1000:1000 /mnt/home /mnt/run
chmod 700 /mnt/run
wrap=
eval "$spoil"
exec $wrap setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all env -i \
    PATH="$files:/usr/bin:/bin:/usr/sbin:/sbin" HOME=/mnt/home USER=user XDG_RUNTIME_DIR=/mnt/run LANG=C.UTF-8 \
    RBOX_BIN="$RBOX_BIN" bash -c "rbox() { \"\$RBOX_BIN\" \"\$@\"; }; $script"
"#;

/// What the machine has.
pub struct Machine {
    /// Lines of /etc/subuid and /etc/subgid.
    pub ranges: &'static str,
    /// The size of the file system at /mnt, where home is, as tmpfs takes it.
    pub size: &'static str,
}

/// A range of subordinate ids for `user`.
pub const RANGE: &str = "user:2000:40000\n";

impl Machine {
    /// A bash script as the machine's `user`; `rbox` is the program under test. The real machine's
    /// network is there, and with it the registry.
    pub fn script(&self, bench: &Bench, script: &str) -> Cmd {
        self.spoiled(bench, "", script)
    }

    /// The same, after the machine's root has run `spoil`; the words of `$wrap` that it sets begin the command
    /// that goes on from there.
    pub fn spoiled(&self, bench: &Bench, spoil: &str, script: &str) -> Cmd {
        let files: PathBuf = bench.mkdir("machine");
        // A copy: the original may lie where the machine's user cannot go.
        let copy = bench.path("rbox-copy");
        if !copy.exists() {
            std::fs::copy(super::rbox_program(), &copy).expect("a copy of the program");
        }
        program("unshare")
            .args(["--user", "--map-auto", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "bash", "-c", PREPARE, "machine"])
            .arg(files)
            .args([self.ranges, self.size, script, spoil])
            .env("RBOX_BIN", copy)
    }
}
