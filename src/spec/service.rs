//! Services of systemd for containers, as `generate systemd` writes them.

use super::unit::{join_words, quote_word};

/// What a service is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `container-web`; of a template without the `@`.
    pub name: String,
    pub template: bool,
    /// The comment lines at its beginning.
    pub header: Vec<String>,
    /// For a user's systemd, not the system's.
    pub user: bool,
    pub wants: Vec<String>,
    pub after: Vec<String>,
    pub requires: Vec<String>,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// systemd's word for when it starts the service again.
    pub restart: String,
    /// As systemd takes times.
    pub restart_seconds: Option<u64>,
    pub start_seconds: Option<u64>,
    /// None for no limit.
    pub stop_seconds: Option<u64>,
    /// Of the service's type: `notify` waits until rbox says that the container runs.
    pub kind: &'static str,
    /// Command lines, in words as systemd is to read them.
    pub start: Vec<String>,
    pub stop: Vec<String>,
    /// What puts away what is left of it.
    pub clean: Option<Vec<String>>,
}

impl Service {
    /// The file's name.
    pub fn file_name(&self) -> String {
        format!("{}{}.service", self.name, if self.template { "@" } else { "" })
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text: String = self.header.iter().map(|line| format!("# {line}\n")).collect();
        if !self.header.is_empty() {
            text.push('\n');
        }
        let mut line = |key: &str, value: &str| {
            if key.ends_with(']') {
                text.push_str(&format!("{key}\n"));
            } else {
                text.push_str(&format!("{key}={value}\n"));
            }
        };
        line("[Unit]", "");
        line("Description", &format!("rbox {}", self.file_name()));
        let network = (!self.user).then_some("network-online.target");
        for (key, names) in [("Wants", &self.wants), ("After", &self.after)] {
            let all: Vec<&str> = network.into_iter().chain(names.iter().map(String::as_str)).collect();
            if !all.is_empty() {
                line(key, &all.join(" "));
            }
        }
        if !self.requires.is_empty() {
            line("Requires", &self.requires.join(" "));
        }
        line("RequiresMountsFor", "%t/rbox");
        line("\n[Service]", "");
        for variable in &self.environment {
            line("Environment", &quote_word(variable));
        }
        line("Type", self.kind);
        line("NotifyAccess", if self.kind == "notify" { "main" } else { "none" });
        line("KillMode", "mixed");
        line("Delegate", "yes");
        line("SuccessExitStatus", "143");
        line("Restart", &self.restart);
        if let Some(seconds) = self.restart_seconds {
            line("RestartSec", &seconds.to_string());
        }
        if let Some(seconds) = self.start_seconds {
            line("TimeoutStartSec", &seconds.to_string());
        }
        line("TimeoutStopSec", &self.stop_seconds.map_or_else(|| "infinity".to_owned(), |seconds| seconds.to_string()));
        line("ExecStart", &join_words(&self.start));
        line("ExecStop", &join_words(&self.stop));
        if let Some(clean) = &self.clean {
            line("ExecStopPost", &format!("-{}", join_words(clean)));
        }
        line("\n[Install]", "");
        line("WantedBy", "default.target");
        text
    }
}
