//! Where Quadlet files lie, and where their services go.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::cmd::settings;

/// Whose systemd it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    System,
    User,
}

impl Scope {
    /// That of whoever calls.
    pub fn own() -> Self {
        if rustix::process::geteuid().is_root() { Self::System } else { Self::User }
    }

    /// The generator's name in systemd's directories of generators.
    pub fn generator(self) -> &'static str {
        match self {
            Self::System => "rbox-system-generator",
            Self::User => "rbox-user-generator",
        }
    }

    fn generators(self) -> &'static str {
        match self {
            Self::System => "system-generators",
            Self::User => "user-generators",
        }
    }
}

/// A colon-separated list that takes the place of all others, for tests of files (podman's).
const VARIABLE: &str = "QUADLET_UNIT_DIRS";

/// Where systemd looks for generators; it does so in no directory of a user's.
const GENERATORS: [&str; 4] = ["/run/systemd", "/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

fn has_generator(scope: Scope, name: &str) -> bool {
    GENERATORS.iter().any(|directory| Path::new(directory).join(scope.generators()).join(name).exists())
}

/// Whether systemd itself has the files translated.
pub fn is_generated(scope: Scope) -> bool {
    has_generator(scope, scope.generator())
}

/// The directories that are searched, those that count most first. Podman's are among them, unless
/// podman's own generator makes services of what is there: two must not.
pub fn searched(scope: Scope) -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os(VARIABLE).filter(|list| !list.is_empty()) {
        return std::env::split_paths(&list).collect();
    }
    let uid = rustix::process::getuid().as_raw().to_string();
    let podmans = match scope {
        Scope::System => "podman-system-generator",
        Scope::User => "podman-user-generator",
    };
    let families: &[&str] = if has_generator(scope, podmans) { &["rbox"] } else { &["rbox", "containers"] };
    let of_family = |family: &str| match scope {
        Scope::System => {
            ["/run", "/etc", "/usr/share"].map(|base| Path::new(base).join(family).join("systemd")).to_vec()
        }
        Scope::User => {
            let mut own = Vec::new();
            // rbox has other files there.
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| family != "rbox");
            own.extend(runtime.map(|base| Path::new(&base).join(family).join("systemd")));
            own.extend(
                settings::config_home(settings::home().as_deref()).map(|base| base.join(family).join("systemd")),
            );
            for base in ["/etc", "/usr/share"] {
                let users = Path::new(base).join(family).join("systemd/users");
                own.extend([users.join(&uid), users]);
            }
            own
        }
    };
    families.iter().flat_map(|family| of_family(family)).collect()
}

/// Where `quadlet install` puts files: read by rbox alone.
pub fn installed(scope: Scope) -> Result<PathBuf> {
    if let Some(list) = std::env::var_os(VARIABLE).filter(|list| !list.is_empty())
        && let Some(first) = std::env::split_paths(&list).next()
    {
        return Ok(std::path::absolute(first)?);
    }
    match scope {
        Scope::System => Ok(PathBuf::from("/etc/rbox/systemd")),
        Scope::User => Ok(configuration()?.join("rbox/systemd")),
    }
}

/// Where services go that no generator makes.
pub fn services(scope: Scope) -> Result<PathBuf> {
    match scope {
        Scope::System => Ok(PathBuf::from("/etc/systemd/system")),
        Scope::User => Ok(configuration()?.join("systemd/user")),
    }
}

fn configuration() -> Result<PathBuf> {
    settings::config_home(settings::home().as_deref()).ok_or_else(|| anyhow!("no home directory: set HOME"))
}
