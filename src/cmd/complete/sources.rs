//! Where the candidates for an argument come from, told by its flag or by the name of its value, so
//! that a new command's `CONTAINER` is completed without a word here.

use clap::{Arg, Command};

/// A kind of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What only the user knows.
    Unknown,
    /// These words. One that ends in `=` or `:` is only a beginning; `container:` is completed with
    /// the names of running containers.
    Words(&'static [&'static str]),
    Containers(Which),
    Images,
    /// Manifest lists made here.
    Lists,
    /// Networks of the store.
    Networks,
    /// Secrets of the store.
    Secrets,
    /// Quadlet files.
    Quadlets,
    /// What `--network` takes: networks and modes.
    NetworkModes,
    /// What a container can be made from.
    Bases,
    /// What `inspect` finds.
    Objects,
    Files,
    /// What `cp` takes: a file, or a container with a path in it.
    Copied,
    Directories,
    Signals,
    Capabilities,
    /// Names of environment variables.
    Environment,
    /// The keys that the flag's own help lists, and their values.
    Filter,
    Limits,
    Mount,
    Security,
    /// Keys of the configuration.
    Settings,
    Volume,
    /// Volumes of the store.
    Volumes,
}

/// Containers that a command can do something with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Running,
    Stopped,
}

/// Flags whose value's name says too little.
const FLAGS: &[(&str, Source)] = &[
    ("allow", Source::Words(&["network.host", "security.insecure"])),
    ("build-arg", Source::Environment),
    ("build-context", Source::Unknown),
    ("cache-from", Source::Words(&["type=local,src=", "type=registry,ref="])),
    ("cache-to", Source::Words(&["type=inline", "type=local,dest=", "type=registry,ref="])),
    ("call", Source::Words(&["build", "check", "outline", "targets"])),
    ("cgroupns", Source::Words(&["host", "private"])),
    ("cgroups", Source::Words(&["disabled", "enabled", "no-conmon", "split"])),
    ("cpuset-cpus", Source::Unknown),
    ("cpuset-mems", Source::Unknown),
    ("entrypoint", Source::Unknown),
    ("device", Source::Files),
    ("env", Source::Environment),
    ("filter", Source::Filter),
    ("health-log-destination", Source::Directories),
    ("health-on-failure", Source::Words(&["kill", "none", "restart", "stop"])),
    ("image-volume", Source::Words(&["anonymous", "bind", "ignore", "tmpfs"])),
    ("ipc", Source::Words(&["container:", "host", "none", "private", "shareable"])),
    (
        "log-driver",
        Source::Words(&[
            "journald",
            "json-file",
            "k8s-file",
            "local",
            "none",
            "passthrough",
            "passthrough-tty",
            "syslog",
        ]),
    ),
    ("log-opt", Source::Words(&["max-file=", "max-size="])),
    ("mount", Source::Mount),
    ("network", Source::NetworkModes),
    ("pid", Source::Words(&["container:", "host"])),
    ("pidfile", Source::Files),
    ("progress", Source::Words(&["auto", "plain", "quiet", "rawjson", "tty"])),
    ("pull", Source::Words(&["always", "missing", "never", "newer"])),
    (
        "restart-policy",
        Source::Words(&["always", "no", "on-abnormal", "on-abort", "on-failure", "on-success", "on-watchdog"]),
    ),
    ("restart", Source::Words(&["always", "no", "on-failure", "on-failure:", "unless-stopped"])),
    ("sdnotify", Source::Words(&["conmon", "container", "healthy", "ignore"])),
    ("security-opt", Source::Security),
    ("set", Source::Settings),
    ("storage-opt", Source::Unknown),
    ("systemd", Source::Words(&["always", "false", "true"])),
    ("tz", Source::Words(&["container", "local"])),
    ("ulimit", Source::Limits),
    ("userns", Source::Words(&["host"])),
    ("uts", Source::Words(&["container:", "host"])),
    ("volume", Source::Volume),
    ("volume-driver", Source::Words(&["local"])),
    ("volumes-from", Source::Containers(Which::All)),
    ("workdir", Source::Unknown),
];

const VALUES: &[(&str, Source)] = &[
    ("[CONTAINER:]DEST|-", Source::Copied),
    ("[CONTAINER:]SRC|-", Source::Copied),
    ("AGENT", Source::Words(&["default"])),
    ("BOOL", Source::Words(&["false", "true"])),
    ("BUILDER", Source::Words(&["default"])),
    ("CAP", Source::Capabilities),
    ("COMMAND", Source::Files),
    ("CONTAINER|IMAGE", Source::Objects),
    ("COMPRESSION", Source::Words(&["gzip", "zstd", "zstd:chunked"])),
    ("DESTINATION", Source::Images),
    ("DIR", Source::Directories),
    ("FILE", Source::Files),
    ("FILE|URL|-", Source::Files),
    ("FORM", Source::Words(&["docker-archive", "docker-dir", "oci-archive", "oci-dir"])),
    ("FORMAT", Source::Words(&["json", "table"])),
    ("IMAGE", Source::Images),
    ("KIND", Source::Words(&["oci", "v2s2"])),
    ("LIST", Source::Lists),
    ("LIST|IMAGE", Source::Lists),
    ("NAME|ID", Source::Objects),
    ("NETWORK", Source::Networks),
    ("OS/ARCH", Source::Words(&["linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64"])),
    (
        "OUTPUT",
        Source::Words(&[
            "type=docker,dest=",
            "type=image,name=",
            "type=local,dest=",
            "type=oci,dest=",
            "type=registry",
            "type=tar,dest=",
        ]),
    ),
    ("PATH|URL|-", Source::Directories),
    ("QUADLET", Source::Quadlets),
    ("QUADLET|DIR", Source::Files),
    ("REPOSITORY[:TAG]", Source::Images),
    ("FILE|-", Source::Files),
    ("SECRET", Source::Secrets),
    ("SIGNAL", Source::Signals),
    ("SOURCE", Source::Images),
    (
        "STATE",
        Source::Words(&[
            "created",
            "exited",
            "healthy",
            "paused",
            "removing",
            "restarting",
            "running",
            "stopped",
            "unhealthy",
        ]),
    ),
    ("STREAM", Source::Words(&["stderr", "stdin", "stdout"])),
    ("TARGET", Source::Images),
    ("VOLUME", Source::Volumes),
];

/// Commands that need a container in a certain state, by their last word.
const STATES: &[(&str, Which)] = &[
    ("attach", Which::Running),
    ("exec", Which::Running),
    ("kill", Which::Running),
    ("pause", Which::Running),
    ("port", Which::Running),
    ("reload", Which::Running),
    ("start", Which::Stopped),
    ("stats", Which::Running),
    ("stop", Which::Running),
    ("wait", Which::Running),
];

/// The source of an argument of `command`.
pub fn source(command: &Command, arg: &Arg) -> Source {
    if let Some((_, source)) = arg.get_long().and_then(|long| FLAGS.iter().find(|(name, _)| *name == long)) {
        return *source;
    }
    let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let makes = matches!(command.get_name(), "run" | "create");
    match value {
        "CONTAINER" => Source::Containers(which(command)),
        "IMAGE" if makes => Source::Bases,
        _ => VALUES.iter().find(|(name, _)| *name == value).map_or(Source::Unknown, |(_, source)| *source),
    }
}

fn which(command: &Command) -> Which {
    let state = STATES.iter().find(|(name, _)| *name == command.get_name());
    state.map_or(Which::All, |(_, which)| *which)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &Command, visit: &mut dyn FnMut(&Command, &Arg)) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            sub.get_arguments().for_each(|arg| visit(sub, arg));
            walk(sub, visit);
        }
    }

    /// What no list can have: it is to be made, or it is a number.
    fn is_new(arg: &Arg) -> bool {
        ["new_name", "name", "port", "server", "term"].iter().any(|id| arg.get_id() == id)
    }

    #[test]
    fn every_argument_is_something_we_can_complete() {
        let mut root = crate::cmd::command();
        root.build();
        let mut seen = 0;
        walk(&root, &mut |command, arg| {
            let known = source(command, arg) != Source::Unknown || !arg.get_possible_values().is_empty();
            if arg.is_positional() && !arg.is_trailing_var_arg_set() && !is_new(arg) {
                seen += 1;
                assert!(known, "{} of {}: give its value a name of sources.rs", arg.get_id(), command.get_name());
            }
        });
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn every_row_is_about_a_flag_that_exists() {
        let mut root = crate::cmd::command();
        root.build();
        for (name, _) in FLAGS {
            let mut found = false;
            walk(&root, &mut |_, arg| found |= arg.get_long() == Some(name));
            assert!(found, "no command has --{name}");
        }
    }

    #[test]
    fn states_decide() {
        let root = crate::cmd::command();
        let of = |name: &str| {
            let command = root.find_subcommand(name).unwrap();
            source(command, command.get_positionals().next().unwrap())
        };
        assert_eq!(of("start"), Source::Containers(Which::Stopped));
        assert_eq!(of("exec"), Source::Containers(Which::Running));
        assert_eq!(of("rm"), Source::Containers(Which::All));
        assert_eq!(of("rmi"), Source::Images);
        assert_eq!(of("run"), Source::Bases);
    }
}
