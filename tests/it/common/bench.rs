//! A store of one's own, and the check that nothing is left of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::command::{Cmd, Running, program};
use super::registry::registry;
use super::{comes_true, names_in, proc, rbox_program, scratch, unprivileged};

/// A temporary directory with a store in `root` and `run`. Dropping it removes all its containers
/// and then fails the test if a process, a staging entry or damage is left.
pub struct Bench {
    directory: PathBuf,
    damaged: AtomicBool,
}

impl Bench {
    /// A new, empty store.
    #[track_caller]
    pub fn new() -> Self {
        unprivileged();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = scratch().join(format!("rbox-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("files")).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        Self { directory, damaged: AtomicBool::new(false) }
    }

    /// A new store that holds the small image; its reference.
    #[track_caller]
    pub fn with_image() -> (Self, String) {
        let bench = Self::new();
        let image = bench.pull_small();
        (bench, image)
    }

    /// The store's root.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The store's runtime directory.
    pub fn runroot(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// A path for the test's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join("files").join(name)
    }

    /// The same as text, for arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Makes a directory for the test's own files.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a directory of ours");
        path
    }

    /// `rbox ARGS...` on this store, as it would be typed.
    pub fn rbox(&self, args: &[&str]) -> Cmd {
        self.rbox_at(&rbox_program(), args)
    }

    /// The same with another copy of the program.
    pub fn rbox_at(&self, binary: &Path, args: &[&str]) -> Cmd {
        self.environment(program(binary).args(args))
    }

    /// Points a command that will start rbox at this store.
    pub fn environment(&self, command: Cmd) -> Cmd {
        command.env("RBOX_ROOT", self.root()).env("RBOX_RUNROOT", self.runroot()).without_env("DOCKER_DEFAULT_PLATFORM")
    }

    /// A shell script in which `rbox` is the program under test.
    pub fn shell(&self, script: &str) -> Cmd {
        let bin = self.mkdir("bin");
        let link = bin.join("rbox");
        if !link.exists() {
            std::os::unix::fs::symlink(rbox_program(), &link).expect("a link");
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", bin.display());
        self.environment(program("bash").args(["-c", script])).env("PATH", path)
    }

    /// Runs `rbox ARGS...`, which must succeed; its output without the last newline.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.rbox(args).ok()
    }

    /// Pulls the small image; its reference.
    #[track_caller]
    pub fn pull_small(&self) -> String {
        let image = registry().small();
        self.ok(&["pull", "-q", &image]);
        image
    }

    /// Runs an image to its end with `--rm` and the given flags and command.
    #[track_caller]
    pub fn run_rm(&self, flags: &[&str], image: &str, command: &[&str]) -> super::Output {
        self.rbox(&["run", "--rm"]).args(flags).arg(image).args(command).run()
    }

    /// A template on a container or image.
    #[track_caller]
    pub fn inspect(&self, object: &str, template: &str) -> String {
        self.ok(&["inspect", "-f", template, object])
    }

    /// The host's id of a running container's first process.
    #[track_caller]
    pub fn pid(&self, container: &str) -> i32 {
        let pid = self.inspect(container, "{{.State.Pid}}").parse().expect("a process id");
        assert!(pid > 0, "container {container} does not run");
        pid
    }

    /// The process that watches a container: the parent of its first process.
    #[track_caller]
    pub fn supervisor(&self, container: &str) -> i32 {
        let pid = self.pid(container);
        proc::parent(pid).unwrap_or_else(|| panic!("no parent of {pid}"))
    }

    /// The container's state, as `ps` says.
    #[track_caller]
    pub fn status(&self, container: &str) -> String {
        self.inspect(container, "{{.State.Status}}")
    }

    /// Starts a container in the background; its id.
    #[track_caller]
    pub fn start(&self, flags: &[&str], image: &str, command: &[&str]) -> String {
        self.rbox(&["run", "-d"]).args(flags).arg(image).args(command).ok()
    }

    /// Fails unless the store has no container.
    #[track_caller]
    pub fn no_containers(&self) {
        assert_eq!(self.ok(&["ps", "-aq"]), "", "containers are left");
        assert_eq!(names_in(self.root().join("containers")), [""; 0], "directories of containers are left");
        assert_eq!(names_in(self.root().join("names")), [""; 0], "names are left");
    }

    /// Fails unless nothing is in the staging directory; a supervisor empties it after its client was
    /// told the end.
    #[track_caller]
    pub fn no_staging(&self) {
        let staging = self.root().join("staging");
        comes_true(Duration::from_secs(5), || names_in(&staging).is_empty());
        assert_eq!(names_in(&staging), [""; 0], "staging entries are left");
    }

    /// Fails unless no process has to do with this store any more.
    #[track_caller]
    pub fn no_processes(&self) {
        let gone = comes_true(Duration::from_secs(5), || proc::processes_of(&self.root()).is_empty());
        assert!(gone, "processes are left: {:#?}", proc::processes_of(&self.root()));
    }

    /// The store was damaged on purpose: leave the closing check of its contents out.
    pub fn expect_damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    fn finish(&self) {
        if !self.root().join("version").exists() {
            return;
        }
        if !self.damaged.load(Ordering::Relaxed) {
            let containers = self.ok(&["ps", "-aq", "--no-trunc"]);
            let ids: Vec<&str> = containers.split_whitespace().collect();
            if !ids.is_empty() {
                self.rbox(&["rm", "-f"]).args(&ids).ok();
            }
            self.no_processes();
            self.rbox(&["system", "check"]).run().ok();
            self.no_containers();
            self.no_staging();
        }
    }

    fn clean_up(&self) {
        for pid in proc::pids() {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            // With the slash: another directory may begin with the same name.
            let needle = self.directory.join("");
            let needle = needle.as_os_str().as_encoded_bytes();
            if environment.windows(needle.len()).any(|window| window == needle) {
                proc::kill(pid, rustix::process::Signal::KILL);
            }
        }
        // Plainly, then for files of mapped ids inside a user namespace that has them.
        for wrapper in [&["rm"][..], &["unshare", "--user", "--map-auto", "--map-root-user", "rm"][..]] {
            let mut command = Command::new(wrapper[0]);
            command.args(&wrapper[1..]).arg("-rf").arg(&self.directory);
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !self.directory.exists() {
                return;
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let checked = if std::thread::panicking() {
            Ok(())
        } else {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.finish()))
        };
        self.clean_up();
        if let Err(failure) = checked {
            std::panic::resume_unwind(failure);
        }
    }
}
