//! Finds the configuration's sources, judges who wrote them, and lays one over the other: built in,
//! the system's file, the user's file, `RBOX_*` variables, flags.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, anyhow, bail};

use super::GlobalOptions;
use crate::spec::registries::RegistriesConf;
use crate::spec::settings::{KEYS, Origin, Setting, Settings, Variables};
use crate::spec::text::printable;
use crate::sys::accounts;

/// What the administrator wrote for everybody.
const SYSTEM_FILE: &str = "/etc/rbox/config.toml";
/// Names the file to read in place of the user's.
const FILE_VARIABLE: &str = "RBOX_CONFIG";
/// Names the file to read in place of containers' registries.conf.
const REGISTRIES_VARIABLE: &str = "CONTAINERS_REGISTRIES_CONF";
/// A longer file is none that a person wrote.
const FILE_MAX: u64 = 256 << 10;

/// The configuration in force.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// The files that were looked for, in the order in which they count.
    pub files: Vec<Source>,
}

/// A configuration file.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    /// Whether it exists.
    pub read: bool,
}

/// Reads all sources. Costs two failed opens where there is no file.
pub fn load(options: &GlobalOptions) -> Result<Loaded> {
    let home = home();
    let uid = rustix::process::geteuid().as_raw();
    let variables = Variables { home: home.as_deref(), uid };
    let mut settings = Settings::default();
    let mut files = vec![Source { path: SYSTEM_FILE.into(), read: false }];
    files[0].read = read(&mut settings, &files[0].path, Role::System, variables)?;
    if let Some((path, role)) = user_file(options, home.as_deref()) {
        let read = read(&mut settings, &path, role, variables)?;
        files.push(Source { path, read });
    }
    read_environment(&mut settings)?;
    read_flags(&mut settings, options)?;
    Ok(Loaded { settings, files })
}

/// What containers' `registries.conf` says, or why it cannot be used. Read on first use, by who asks
/// a registry or looks for a short name that is not here; all other commands do without.
pub fn registries_conf() -> Result<&'static RegistriesConf> {
    static READ: OnceLock<Result<RegistriesConf, String>> = OnceLock::new();
    let read = || read_registries_conf(home().as_deref()).map_err(|error| format!("{error:#}"));
    READ.get_or_init(read).as_ref().map_err(|why| anyhow!("{why}"))
}

/// Reads containers' files: the user's or else the system's, then what lies in the directories beside
/// both.
fn read_registries_conf(home: Option<&Path>) -> Result<RegistriesConf> {
    let mut conf = RegistriesConf::default();
    let system = Path::new("/etc/containers");
    let user = config_home(home).map(|base| base.join("containers"));
    let named = std::env::var_os(REGISTRIES_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let main = match (&named, &user) {
        (Some(path), _) => vec![(path.clone(), Role::Named)],
        (None, user) => {
            let of = |base: &Path, role| (base.join("registries.conf"), role);
            user.iter().map(|base| of(base, Role::User)).chain([of(system, Role::System)]).collect()
        }
    };
    for (path, role) in main {
        if take(&mut conf, &path, role)? {
            break;
        }
    }
    for (base, role) in [(Some(system), Role::System), (user.as_deref(), Role::User)] {
        let Some(Ok(entries)) = base.map(|base| std::fs::read_dir(base.join("registries.conf.d"))) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        paths.sort();
        for path in paths {
            take(&mut conf, &path, role)?;
        }
    }
    Ok(conf)
}

/// Takes one file's rules; false when there is none.
fn take(conf: &mut RegistriesConf, path: &Path, role: Role) -> Result<bool> {
    let Some((shown, text)) = read_text(path, role)? else { return Ok(false) };
    conf.read(&shown, &text).map_err(|why| anyhow!("cannot use the configuration file {why}"))?;
    Ok(true)
}

/// What a file is for, which decides what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    System,
    User,
    /// Named by the user: it must exist.
    Named,
}

/// The user's file and its role; None when the user wants none, or has no home directory.
fn user_file(options: &GlobalOptions, home: Option<&Path>) -> Option<(PathBuf, Role)> {
    if let Some(path) = options.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE)) {
        let path = PathBuf::from(path);
        let wanted = !path.as_os_str().is_empty() && path != Path::new("/dev/null");
        return wanted.then_some((path, Role::Named));
    }
    Some((config_home(home)?.join("rbox/config.toml"), Role::User))
}

/// Where a user's configuration lies: XDG_CONFIG_HOME, or ~/.config.
pub fn config_home(home: Option<&Path>) -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    given.filter(|path| path.is_absolute() && is_ours(path)).or_else(|| Some(home?.join(".config")))
}

/// The home directory: HOME's, or that of the account.
pub fn home() -> Option<PathBuf> {
    let given = std::env::var_os("HOME").map(PathBuf::from);
    let of_account = || accounts::home_directory(rustix::process::geteuid().as_raw()).filter(|home| is_ours(home));
    given.filter(|home| home.is_absolute() && is_ours(home)).or_else(of_account)
}

/// sudo may leave the caller's HOME to root, who must not take orders from there. Other users'
/// files are judged by their own owner.
fn is_ours(directory: &Path) -> bool {
    !rustix::process::geteuid().is_root() || std::fs::metadata(directory).is_ok_and(|metadata| metadata.uid() == 0)
}

/// Takes one file's values; false when there is none.
fn read(settings: &mut Settings, path: &Path, role: Role, variables: Variables<'_>) -> Result<bool> {
    let Some((shown, text)) = read_text(path, role)? else { return Ok(false) };
    settings.read_file(&shown, &text, variables)?;
    Ok(true)
}

/// A file's path as it is shown, and its text; None when there is no such file and none was named.
fn read_text(path: &Path, role: Role) -> Result<Option<(String, String)>> {
    let shown = printable(&path.to_string_lossy());
    // Without O_NONBLOCK a FIFO would make us wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if role != Role::Named && is_absent(&error) => return Ok(None),
        Err(error) => bail!("cannot read the configuration file {shown}: {error}"),
    };
    let text = contents(file, role).map_err(|why| anyhow!("cannot use the configuration file {shown}: {why}"))?;
    Ok(Some((shown, text)))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The text of a file that is fit to be obeyed.
fn contents(file: File, role: Role) -> Result<String> {
    check(&file.metadata()?, role)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        bail!("it is larger than {} KiB", FILE_MAX >> 10);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow!("line {line} is not UTF-8")
    })
}

/// Nobody else may decide for us: the file is the user's or root's, for the system's only root's.
fn check(metadata: &Metadata, role: Role) -> Result<()> {
    if metadata.is_dir() {
        bail!("it is a directory");
    }
    if !metadata.is_file() {
        bail!("it is not a regular file");
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let trusted = owner == 0 || (role != Role::System && owner == user) || is_root_outside(owner);
    if !trusted {
        let must = if role == Role::System { "root's" } else { "yours or root's" };
        bail!("it belongs to uid {owner} and must be {must}: see 'chown'");
    }
    if metadata.mode() & 0o002 != 0 {
        bail!("everybody can write to it: run 'chmod o-w' on it");
    }
    Ok(())
}

/// Whether the owner may be the machine's root, who has no number in the user namespace we are in.
fn is_root_outside(owner: u32) -> bool {
    let number = |path: &str| std::fs::read_to_string(path).ok();
    let overflow = number("/proc/sys/kernel/overflowuid").and_then(|text| text.trim().parse().ok()).unwrap_or(65534);
    let whole = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    owner == overflow && number("/proc/self/uid_map").is_some_and(|map| !whole(map))
}

/// An empty variable counts as unset.
fn read_environment(settings: &mut Settings) -> Result<()> {
    for key in KEYS {
        let variable = key.variable();
        let Some(value) = std::env::var_os(&variable).filter(|value| !value.is_empty()) else { continue };
        if !set_path(settings, key.name, &value, &Origin::Variable(variable.clone())) {
            let value = value.into_string().map_err(|_| anyhow!("{variable}: its value is not UTF-8"))?;
            settings.read_text(key.name, &value, Origin::Variable(variable))?;
        }
    }
    Ok(())
}

/// `--set`, then the global flags that have a name of their own. Those of a command are its own affair.
fn read_flags(settings: &mut Settings, options: &GlobalOptions) -> Result<()> {
    for assignment in &options.set {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| anyhow!("invalid argument {assignment:?} for \"--set\" flag: expected KEY=VALUE"))?;
        settings.read_text(key, value, Origin::Flag("--set"))?;
    }
    if !options.cdi_spec_dir.is_empty() {
        let absolute = options.cdi_spec_dir.iter().map(std::path::absolute).collect::<std::io::Result<Vec<_>>>()?;
        settings.cdi_spec_dirs = Setting { value: absolute, origin: Origin::Flag("--cdi-spec-dir") };
    }
    for (name, flag, path) in [("root", "--root", &options.root), ("runroot", "--runroot", &options.runroot)] {
        if let Some(path) = path {
            set_path(settings, name, path.as_os_str(), &Origin::Flag(flag));
        }
    }
    Ok(())
}

/// Directories need not be UTF-8 where the shell gives them.
fn set_path(settings: &mut Settings, name: &str, value: &std::ffi::OsStr, origin: &Origin) -> bool {
    let setting = match name {
        "root" => &mut settings.root,
        "runroot" => &mut settings.runroot,
        _ => return false,
    };
    *setting = Setting { value: Some(OsString::from(value).into()), origin: origin.clone() };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const VARIABLES: Variables<'static> = Variables { home: None, uid: 0 };

    fn refusal(path: &Path, role: Role) -> String {
        read(&mut Settings::default(), path, role, VARIABLES).unwrap_err().to_string()
    }

    #[test]
    fn files_that_cannot_be_used_are_named_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("huge"), vec![b'#'; FILE_MAX as usize + 1]).unwrap();
        std::fs::write(path("latin"), b"# one\n# \xe4\n").unwrap();
        std::fs::write(path("open"), "").unwrap();
        std::fs::set_permissions(path("open"), PermissionsExt::from_mode(0o666)).unwrap();
        std::fs::write(path("a\u{1b}b"), "x = 1").unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (name, expected) in [
            ("huge", "larger than 256 KiB"),
            ("latin", "line 2 is not UTF-8"),
            ("open", "everybody can write to it"),
            (".", "it is a directory"),
            ("fifo", "not a regular file"),
            ("loop", "oo many"),
            ("a\u{1b}b", "a\\u{1b}b:1:1: unknown key \"x\""),
        ] {
            let error = refusal(&path(name), Role::User);
            assert!(error.contains(expected), "{name}: {error}");
            assert!(!error.contains(['\n', '\u{1b}']), "{error:?}");
        }
        std::fs::write(path("whole"), vec![b'#'; FILE_MAX as usize]).unwrap();
        assert!(read(&mut Settings::default(), &path("whole"), Role::User, VARIABLES).unwrap());
    }

    #[test]
    fn only_a_file_that_was_named_must_exist() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent/config.toml");
        for role in [Role::System, Role::User] {
            assert!(!read(&mut Settings::default(), &absent, role, VARIABLES).unwrap());
        }
        assert!(refusal(&absent, Role::Named).contains("No such file"));
    }
}
