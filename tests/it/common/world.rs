//! A fake world: a machine of our own inside a user namespace, and around it a router, outside hosts,
//! a neighbour on the same link and a VPN, all of them network namespaces. `world.sh` draws the map,
//! `world.py` is what each of them serves. Nothing in it is privileged on the real machine.

use std::time::Duration;

use super::{Bench, Cmd, Running, program, wait_until, write};

/// Where services listen; see world.py.
pub const ONE: &str = "198.51.100.10";
pub const ONE6: &str = "2001:db8:1::10";
pub const TWO: &str = "203.0.113.10";
pub const VPN: &str = "10.99.0.1";
pub const HOST: &str = "10.77.0.2";
pub const HOST6: &str = "fd77::2";
pub const NEAR: &str = "10.77.0.3";
pub const NEAR6: &str = "fd77::3";

/// What scripts begin with: `rbox` and shorthands for throw-away views of the machine.
const PRELUDE: &str = r#"
# A throw-away container with flags, up to `--`, and a shell script.
in_container() {
    local flags=()
    while [[ $1 != -- ]]; do flags+=("$1"); shift; done
    rbox run --rm "${flags[@]}" rootfs:/ bash -c "$2"
}
# The same services as outside, in a container called NAME; further flags.
serve() {
    local name=$1
    shift
    rbox run -d --name "$name" "$@" -v "$SERVICES:/world.py:ro" rootfs:/ python3 /world.py "$name" 0.0.0.0 :: >/dev/null
    for _ in {1..200}; do
        ! rbox exec "$name" ss -Hltn 'sport = 8000' | grep -q . || return 0
        sleep 0.05
    done
    echo "the services in $name did not start" >&2
    return 1
}
address() { rbox inspect -f "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}" "$1" | tr -d '\n' | sed 's/ *$//'; }
address6() { rbox inspect -f "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}} {{end}}" "$1" | sed 's/ *$//'; }
gateway() { rbox inspect -f "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}" "$1" | sed 's/ *$//'; }
gateway6() { rbox inspect -f "{{range .NetworkSettings.Networks}}{{.IPv6Gateway}} {{end}}" "$1" | sed 's/ *$//'; }
get() { curl -gsS -m "${LIMIT:-5}" "$@"; }
"#;

/// A world, up until it is dropped. Its temporary files are those of a [`Bench`].
pub struct World {
    bench: Bench,
    pid: i32,
    _root: Running,
}

impl World {
    /// Makes it and waits until its services are up.
    #[track_caller]
    pub fn new() -> Self {
        let bench = Bench::new();
        let files = bench.mkdir("world");
        write(bench.path("world.py"), include_str!("world.py"));
        let mut root = program("unshare")
            .args(["--user", "--map-auto", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "bash", "-c", include_str!("world.sh"), "world"])
            .arg(files)
            .arg(bench.path("world.py"))
            .env("RBOX_BIN", super::rbox_program())
            .limit(1000)
            .spawn();
        root.expect("ready");
        let first = super::proc::children(root.pid());
        assert_eq!(first.len(), 1, "unshare has one child");
        Self { bench, pid: first[0], _root: root }
    }

    /// The bench that keeps the files.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    fn enter(&self) -> Cmd {
        program("nsenter").args([
            "--target",
            &self.pid.to_string(),
            "--user",
            "--mount",
            "--net",
            "--pid",
            "--preserve-credentials",
        ])
    }

    /// A script as the root of one of its namespaces: host, router, one, two, near, vpn.
    pub fn at(&self, namespace: &str, script: &str) -> Cmd {
        self.enter()
            .arg("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .args(["bash", "-c"])
            .arg(format!("{PRELUDE}\n{script}"))
            .env("SERVICES", self.bench.path("world.py"))
    }

    /// A script as the machine's ordinary user, who has a store of their own.
    pub fn user(&self, script: &str) -> Cmd {
        self.as_user(1000, "user", script)
    }

    /// The same as a second user.
    pub fn other(&self, script: &str) -> Cmd {
        self.as_user(1001, "other", script)
    }

    fn as_user(&self, id: u32, name: &str, script: &str) -> Cmd {
        let home = self.bench.path("world").join("home").join(name);
        let id = id.to_string();
        self.enter()
            .args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "env", "-i"])
            .arg("PATH=/run/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .arg(format!("HOME={}", home.display()))
            .arg(format!("TMPDIR={}", self.bench.path("world").join("tmp").display()))
            .arg(format!("USER={name}"))
            .arg(format!("XDG_RUNTIME_DIR=/run/user/{id}"))
            .arg(format!("SERVICES={}", self.bench.path("world.py").display()))
            .args(["LANG=C.UTF-8", "bash", "-c"])
            .arg(format!("cd; {PRELUDE}\n{script}"))
    }

    /// Writes the machine's resolv.conf in place.
    pub fn resolv_conf(&self, text: &str) {
        write(self.bench.path("world/etc/resolv.conf"), text);
    }

    /// Processes of rbox in this world: supervisors, anchors, commands.
    #[track_caller]
    pub fn rbox_processes(&self) -> String {
        let script = "ps -eo pid=,args= | grep -E '(^| |/)rbox( |$)' | grep -v -e grep -e 'bash -c' || true";
        self.at("host", script).ok()
    }

    /// Fails unless all that ran for `user` and `other` is gone: processes, runtime files, ports.
    #[track_caller]
    pub fn no_residue(&self) {
        let gone = super::comes_true(Duration::from_secs(10), || self.rbox_processes().is_empty());
        assert!(gone, "processes are left:\n{}", self.rbox_processes());
        let listening = self.at("host", "ss -Hltnup | grep rbox || true").ok();
        assert_eq!(listening, "", "sockets are left");
        let files = self.at("host", "find /run/user -path '*networks*' -not -type d -not -name lock").ok();
        assert_eq!(files, "", "runtime files are left");
    }

    /// Removes all containers of both users, and looks for what they leave.
    #[track_caller]
    pub fn finish(self) {
        for all in ["rbox ps -aq | xargs -r rbox rm -f", "rbox network ls -q >/dev/null"] {
            self.user(all).ok();
            self.other(all).ok();
        }
        self.no_residue();
    }

    /// Waits until a script of the user's succeeds.
    #[track_caller]
    pub fn until(&self, what: &str, script: &str) {
        wait_until(what, || self.user(script).run().code == 0);
    }
}
