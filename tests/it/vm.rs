//! What can only be seen on a machine with systemd as its first process, a user manager and cgroups
//! of version 2: `scripts/test.sh --vm` makes one. Elsewhere `scripts/test.sh` leaves these tests out.

mod system_units;
mod units;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::{Bench, Cmd, Output, patient, program, rbox_program, wait_until, write};

/// Whether this is the machine; prints the reason where it is not.
fn machine() -> bool {
    let here = std::env::var_os("RBOX_TEST_VM").is_some();
    if !here {
        crate::common::skip("this needs systemd and a user manager: start the tests by scripts/test.sh --vm");
    }
    here
}

/// Whose manager runs a unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    User,
    System,
}

impl Manager {
    fn systemctl(self, args: &[&str]) -> Cmd {
        let command = match self {
            Self::User => program("systemctl").arg("--user"),
            Self::System => program("sudo").arg("systemctl"),
        };
        command.args(args)
    }
}

/// A unit file of a test, loaded; removed at the end with all that it started.
struct Unit {
    name: String,
    file: PathBuf,
    manager: Manager,
}

impl Unit {
    /// Loads a service with these lines in its section `[Service]`; `@RBOX@` is the program, with the
    /// bench's store in its environment.
    #[track_caller]
    fn new(bench: &Bench, manager: Manager, lines: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rbox-test-{}-{number}.service", std::process::id());
        let store =
            format!("Environment=RBOX_ROOT={} RBOX_RUNROOT={}\n", bench.root().display(), bench.runroot().display());
        let lines = lines.replace("@RBOX@", &rbox_program().to_string_lossy());
        // Tests kill as fast as they can.
        let text = format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\n{store}{lines}");
        let file = match manager {
            Manager::User => {
                let runtime = std::env::var("XDG_RUNTIME_DIR").expect("a session");
                let directory = Path::new(&runtime).join("systemd/user");
                std::fs::create_dir_all(&directory).expect("units at run time");
                directory.join(&name)
            }
            Manager::System => Path::new("/run/systemd/system").join(&name),
        };
        match manager {
            Manager::User => write(&file, text),
            Manager::System => {
                program("sudo").args(["tee"]).arg(&file).stdin(text).ok();
            }
        }
        let unit = Self { name, file, manager };
        unit.manager.systemctl(&["daemon-reload"]).ok();
        unit
    }

    fn systemctl(&self, verb: &str) -> Output {
        self.manager.systemctl(&[verb, &self.name]).run()
    }

    #[track_caller]
    fn start(&self) {
        let output = self.systemctl("start");
        assert_eq!(output.code, 0, "{}\n{}", output.report(), self.journal());
    }

    /// How often it was restarted. A reload that another test asks for meanwhile has systemd count a restart that it
    /// has begun a second time.
    fn restarts(&self) -> u32 {
        self.show("NRestarts").parse().expect("a number")
    }

    /// A property as `systemctl show` prints it.
    #[track_caller]
    fn show(&self, property: &str) -> String {
        self.manager.systemctl(&["show", "--value", "-p", property, &self.name]).ok()
    }

    /// What the unit and its processes said.
    fn journal(&self) -> String {
        let journal = program("sudo").args(["journalctl", "-o", "cat", "--no-pager", "-n", "60"]);
        match self.manager {
            Manager::User => journal.arg(format!("_SYSTEMD_USER_UNIT={}", self.name)).run().out(),
            Manager::System => journal.args(["-u", &self.name]).run().out(),
        }
    }

    /// The processes of its cgroup, and of those below.
    fn processes(&self) -> Vec<i32> {
        let group = self.show("ControlGroup");
        let directory = PathBuf::from(format!("/sys/fs/cgroup{group}"));
        if group.is_empty() {
            return Vec::new();
        }
        let found = program("find").arg(&directory).args(["-name", "cgroup.procs", "-exec", "cat", "{}", "+"]).run();
        found.out().split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Fails unless the unit has ended and nothing of it is there: no process, no cgroup.
    #[track_caller]
    fn left_nothing(&self) {
        assert!(!matches!(self.show("ActiveState").as_str(), "active" | "activating" | "deactivating"));
        wait_until("the unit's cgroup is empty", || self.processes().is_empty());
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.manager.systemctl(&["stop", &self.name]).run();
        self.manager.systemctl(&["reset-failed", &self.name]).run();
        let sudo = program("sudo").args(["rm", "-f"]).arg(&self.file);
        sudo.run();
        self.manager.systemctl(&["daemon-reload"]).run();
    }
}
