//! A terminal multiplexer as the person in front of the screen: it interprets what full-screen
//! programs write, so that tests look at the picture and not at the bytes.

use std::path::PathBuf;
use std::time::Duration;

use super::{Bench, comes_true, program};

/// A tmux server of one's own; one window a pane, without a status line.
pub struct Tmux {
    socket: PathBuf,
    shell: String,
}

/// A shell in a window, with the prompt `$ `.
pub struct Pane<'a> {
    tmux: &'a Tmux,
    id: String,
}

impl Tmux {
    /// Starts the server. In its shells `rbox` is the program under test on the bench's store.
    #[track_caller]
    pub fn new(bench: &Bench) -> Self {
        let socket = bench.path("tmux");
        let script = format!(
            "cd {} && exec tmux -S {} -f /dev/null new-session -d -x 80 -y 24 sleep 1000000",
            bench.mkdir("home").display(),
            socket.display()
        );
        bench.shell(&script).env("LANG", "C.UTF-8").run().ok();
        // Said again: a new window has the PATH of the client that opened it.
        let bin = bench.mkdir("bin");
        let shell = format!(
            "env PATH={}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin PS1='$ ' bash --norc --noprofile",
            bin.display()
        );
        let tmux = Self { socket, shell };
        tmux.command(&["set", "-g", "status", "off"]);
        tmux
    }

    #[track_caller]
    fn command(&self, args: &[&str]) -> String {
        program("tmux").arg("-S").arg(&self.socket).args(args).ok()
    }

    /// Opens a window of 80 columns and 24 rows.
    #[track_caller]
    pub fn pane(&self) -> Pane<'_> {
        let id = self.command(&["new-window", "-P", "-F", "#{pane_id}", &self.shell]);
        let pane = Pane { tmux: self, id };
        pane.resize(80, 24);
        pane.expect("$");
        pane
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        program("tmux").arg("-S").arg(&self.socket).arg("kill-server").run();
        comes_true(Duration::from_secs(5), || !self.socket.exists());
    }
}

impl Pane<'_> {
    /// Types text as it is.
    #[track_caller]
    pub fn send(&self, text: &str) {
        self.tmux.command(&["send-keys", "-t", &self.id, "-l", "--", text]);
    }

    /// Types keys by tmux's names: `Enter`, `Escape`, `C-p`.
    #[track_caller]
    pub fn keys(&self, names: &[&str]) {
        self.tmux.command(&[&["send-keys", "-t", &self.id][..], names].concat());
    }

    /// Types a line.
    #[track_caller]
    pub fn line(&self, text: &str) {
        self.send(text);
        self.keys(&["Enter"]);
    }

    /// The picture: lines without trailing blanks.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.tmux.command(&["capture-pane", "-p", "-t", &self.id])
    }

    /// Waits for text on the screen.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        self.expect_that(text, |screen| screen.contains(text));
    }

    /// Waits for a line that is exactly this.
    #[track_caller]
    pub fn expect_line(&self, text: &str) {
        self.expect_that(text, |screen| screen.lines().any(|line| line == text));
    }

    /// Waits for a picture.
    #[track_caller]
    pub fn expect_that(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let shown = comes_true(Duration::from_secs(30), || holds(&self.screen()));
        assert!(shown, "not on the screen within 30 s: {what}\n---\n{}\n---", self.screen());
    }

    /// Makes the window another size.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux.command(&["resize-window", "-t", &self.id, "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Wipes the screen of a shell, so that what is expected next is new.
    #[track_caller]
    pub fn clear(&self) {
        self.line("clear");
        self.expect_that("an empty screen", |screen| screen.trim() == "$");
    }
}
