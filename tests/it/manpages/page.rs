//! One man page from a command of the tree and its topic. The same input gives the same bytes: no
//! dates, no paths, no order of maps.

use clap::{Arg, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use rbox::cmd::help::{command_groups, flags, topics, usage, words};

/// Variables that rbox reads, beside those of single flags.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RBOX_CONFIG", "The configuration file in place of the user's, as --config."),
    ("RBOX_ROOT", "The directory of images, layers and containers, as --root."),
    ("RBOX_RUNROOT", "The directory of run-time files, as --runroot."),
    ("RBOX_KEY", "Any other key of the configuration, in capitals and with _ for -: RBOX_LOG_DRIVER=none."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd, which is told what containers have to say; see --sdnotify.",
    ),
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "Set by systemd for sockets that it passes; run, start and exec pass them on.",
    ),
    ("CREDENTIALS_DIRECTORY", "Set by systemd: where --load-credential finds credentials of the service."),
    (
        "QUADLET_UNIT_DIRS",
        "Directories, separated by colons, that Quadlet files are looked for in, in place of all others.",
    ),
    ("DOCKER_DEFAULT_PLATFORM", "The platform to choose where an image has several, as --platform."),
    ("XDG_DATA_HOME", "Where the store is without RBOX_ROOT: in rbox below it. Without it, ~/.local/share."),
    ("XDG_RUNTIME_DIR", "Where run-time files are without RBOX_RUNROOT. Without it, /tmp/rbox-UID."),
    (
        "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        "Proxies for registries, in small letters too; never for loopback.",
    ),
    (
        "SOURCE_DATE_EPOCH",
        "The time, in seconds since 1970, that committed layers and images carry, as --timestamp, and built images.",
    ),
    ("BUILDKIT_PROGRESS", "How builds show their progress, as --progress."),
    ("BUILDAH_FORMAT", "The kind of manifest that builds make, as --format: oci or docker."),
    (
        "DOCKER_CONFIG",
        "The directory of docker's config.json, for credentials of registries and proxies of containers.",
    ),
    ("REGISTRY_AUTH_FILE", "The auth file in place of all others, as --authfile."),
    ("CONTAINERS_REGISTRIES_CONF", "The registries.conf in place of the user's and the system's."),
    ("RBOX_JOURNAL_SOCKET", "The journal's socket for --log-driver journald, in place of /run/systemd/journal/socket."),
    ("SSL_CERT_FILE", "Certificates to verify registries with, in place of the system's."),
];

const FILES: &[(&str, &str)] = &[
    ("~/.local/share/rbox", "Images, layers and containers of a user; /var/lib/rbox for root."),
    ("/etc/rbox/config.toml, ~/.config/rbox/config.toml", "The configuration of the machine and of the user."),
    (
        "~/.config/rbox/systemd, /etc/rbox/systemd",
        "Quadlet files that were installed; docs/systemd.md names all places where they are looked for.",
    ),
    ("/etc/subuid, /etc/subgid", "The ids that containers of a user may use."),
    (
        "/etc/containers/certs.d, /etc/docker/certs.d, ~/.config/containers/certs.d",
        "Certificates of private registries, HOST:PORT/*.crt, and one's own for them, *.cert with *.key.",
    ),
    (
        "~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json",
        "Credentials of registries, as docker and podman keep them.",
    ),
    (
        "~/.config/containers/registries.conf, /etc/containers/registries.conf, registries.conf.d",
        "Mirrors, blocked registries and short names, as podman has them.",
    ),
];

/// The file name of a command's page.
pub fn file_name(path: &[&Command]) -> String {
    format!("{}.1", page_name(path))
}

fn page_name(path: &[&Command]) -> String {
    path.iter().map(|command| command.get_name()).collect::<Vec<_>>().join("-")
}

/// The page of the command at the end of `path`, which begins with the program; all are built.
pub fn page(path: &[&Command]) -> String {
    let command = path[path.len() - 1];
    let name = page_name(path);
    let (topic, base) =
        topics::find(&words(path)).unwrap_or_else(|| panic!("src/cmd/help/topics/ has no topic for {name}"));
    let mut roff = Roff::new();
    let version = format!("rbox {}", env!("CARGO_PKG_VERSION"));
    // The empty date, which Roff would leave out.
    roff.control("TH", [name.to_uppercase().as_str(), "1", "\"\"", version.as_str(), "rbox manual"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about(command)))]);
    synopsis(&mut roff, path);
    description(&mut roff, topic.text);
    arguments(&mut roff, command);
    options(&mut roff, command);
    commands(&mut roff, path);
    if path.len() == 1 {
        definitions(&mut roff, "ENVIRONMENT", ENVIRONMENT);
        definitions(&mut roff, "FILES", FILES);
    }
    definitions(&mut roff, "EXIT STATUS", topic.exit);
    examples(&mut roff, topic, base, &words(path));
    see_also(&mut roff, path, topic);
    roff.render()
}

/// Whether rbox.1 says what a variable does.
pub fn explains(variable: &str) -> bool {
    ENVIRONMENT.iter().any(|(names, _)| names.split(", ").any(|name| name == variable))
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn synopsis(roff: &mut Roff, path: &[&Command]) {
    roff.control("SH", ["SYNOPSIS"]);
    let name = path.iter().map(|command| command.get_name()).collect::<Vec<_>>().join(" ");
    let usage = usage(path);
    let rest = usage.strip_prefix(&name).unwrap_or(&usage).to_owned();
    roff.text([bold(name), roman(rest)]);
}

fn description(roff: &mut Roff, text: &str) {
    roff.control("SH", ["DESCRIPTION"]);
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
}

fn arguments(roff: &mut Roff, command: &Command) {
    if command.get_positionals().next().is_some() {
        roff.control("SH", ["ARGUMENTS"]);
    }
    for arg in command.get_positionals() {
        let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        definition(roff, [italic(name.unwrap_or_default())], &flags::about(arg));
    }
}

fn options(roff: &mut Roff, command: &Command) {
    let groups = flags::grouped(command);
    roff.control("SH", ["OPTIONS"]);
    for (number, (heading, args)) in groups.iter().enumerate() {
        if number > 0 || *heading != "Options" {
            roff.control("SS", [*heading]);
        }
        for arg in args {
            definition(roff, flag(arg), &flags::about(arg));
        }
    }
}

fn flag(arg: &Arg) -> Vec<Inline> {
    let mut text: Vec<Inline> = Vec::new();
    if let Some(short) = arg.get_short() {
        text.extend([bold(format!("-{short}")), roman(", ")]);
    }
    text.push(bold(format!("--{}", arg.get_long().unwrap_or_default())));
    if let Some(value) = flags::value_name(arg) {
        text.extend([roman(" "), italic(value)]);
    }
    text
}

fn commands(roff: &mut Roff, path: &[&Command]) {
    let groups = command_groups(path[path.len() - 1], path.len() == 1);
    if !groups.is_empty() {
        roff.control("SH", ["COMMANDS"]);
    }
    for (heading, commands) in groups {
        if heading != "Commands" || path.len() == 1 {
            roff.control("SS", [heading]);
        }
        for command in commands {
            let name = format!("{}-{}", page_name(path), command.get_name());
            definition(roff, [bold(name), roman("(1)")], &about(command));
        }
    }
}

fn definitions(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, text) in rows {
        definition(roff, [bold(*name)], text);
    }
}

fn definition(roff: &mut Roff, name: impl Into<Vec<Inline>>, text: &str) {
    roff.control("TP", []);
    roff.text(name.into());
    roff.text([roman(text)]);
}

fn examples(roff: &mut Roff, topic: &topics::Topic, base: &str, words: &str) {
    if !topic.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (purpose, line) in topic.examples {
        roff.control("TP", []);
        roff.text([roman(*purpose)]);
        // As it is, to be copied.
        roff.control("nf", []);
        roff.text([bold(topics::spelled(line, base, words))]);
        roff.control("fi", []);
    }
}

/// The commands above, and those that the topic names and the tree has.
fn see_also(roff: &mut Roff, path: &[&Command], topic: &topics::Topic) {
    let exists = |words: &&&str| words.split(' ').try_fold(path[0], |at, word| at.find_subcommand(word)).is_some();
    let above = (1..path.len()).map(|length| page_name(&path[..length]));
    let related = topic.see.iter().filter(exists).map(|words| format!("rbox-{}", words.replace(' ', "-")));
    let names: Vec<String> = above.chain(related).collect();
    if names.is_empty() {
        return;
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut text = Vec::new();
    for (number, name) in names.iter().enumerate() {
        text.push(roman(if number > 0 { ", " } else { "" }));
        text.extend([bold(name.as_str()), roman("(1)")]);
    }
    roff.text(text);
}
