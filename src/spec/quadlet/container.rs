//! `.container`: a service that is `rbox run`.

use super::draft::{Draft, unquoted};
use super::mounts;
use crate::spec::unit::parse_boolean;

/// Seconds that a service has to stop unless it says more (systemd's DefaultTimeoutStopSec).
const STOP_SECONDS: u64 = 90;
/// From SIGKILL until all is put away.
const SPARE_SECONDS: u64 = 30;

pub fn fill(draft: &mut Draft<'_>) {
    user(draft);
    remap(draft);
    security(draft);
    devices(draft);
    cgroups(draft);
    mounts::volumes(draft);
    mounts::mounts(draft);
    mounts::networks(draft);
    entrypoint(draft);
    environment_files(draft);
    update(draft);
    // A root that is read-only has one by itself.
    if draft.switch("VolatileTmp") == Some(true)
        && draft.switch("ReadOnly") != Some(true)
        && let Some((entry, _)) = draft.text("VolatileTmp")
    {
        draft.flag(entry, "--tmpfs", Some("/tmp:rw,size=512M,mode=1777"));
    }
    let name = name(draft);
    let notify = notify(draft);
    let image = image(draft);
    let command: Vec<String> = exec(draft);
    let first = ["--name".to_owned(), name.clone(), "--replace".to_owned(), "--rm".to_owned()];
    let mut line = draft.line(first.into_iter().chain(notify).collect());
    line.extend(image);
    line.extend(command);
    service(draft, &line, &name);
}

/// A service that is there as long as its container, and nothing of it after that.
fn service(draft: &mut Draft<'_>, line: &[String], name: &str) {
    draft.service("Type", "notify");
    // All that systemd can do with it goes by our own process, which is the service's main process.
    draft.service("NotifyAccess", "main");
    draft.service("KillMode", "mixed");
    draft.service("Delegate", "yes");
    draft.service("SyslogIdentifier", "%N");
    // A program that ends by SIGTERM has ended well; rbox says so by a code as a shell does.
    draft.service("SuccessExitStatus", "143");
    if let Some((_, seconds)) = draft.text("StopTimeout")
        && let Ok(seconds) = seconds.parse::<i64>()
    {
        match u64::try_from(seconds) {
            Ok(seconds) if seconds + SPARE_SECONDS > STOP_SECONDS => {
                draft.service("TimeoutStopSec", (seconds + SPARE_SECONDS).to_string());
            }
            Ok(_) => {}
            Err(_) => draft.service("TimeoutStopSec", "infinity"),
        }
    }
    draft.command("ExecStart", "", line);
    reload(draft, name);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    draft.command("ExecStop", "", &words(&["stop", "--ignore", name]));
    draft.command("ExecStopPost", "-", &words(&["rm", "--force", "--ignore", "--volumes", name]));
}

fn name(draft: &Draft<'_>) -> String {
    match draft.text("ContainerName") {
        Some((_, name)) => name.to_owned(),
        None if draft.source.service().contains('@') => "systemd-%p_%i".to_owned(),
        None => "systemd-%N".to_owned(),
    }
}

fn image(draft: &mut Draft<'_>) -> Vec<String> {
    match (draft.text("Image"), draft.text("Rootfs")) {
        (Some(_), Some((entry, _))) => draft.problem(Some(entry), "Image= and Rootfs= cannot be given together"),
        (None, None) => draft.problem(None, "neither Image= nor Rootfs= is given"),
        (Some((entry, image)), None) => return vec![mounts::image(draft, entry, image)],
        (None, Some((entry, root))) => {
            // podman's O is what a root directory has in any case: what is written goes with the container.
            let (path, options) = root.split_once(':').unwrap_or((root, "O"));
            if options != "O" {
                draft.problem(Some(entry), format!("Rootfs={root}: rbox has no option {options} of a root directory"));
            }
            return vec![format!("rootfs:{}", draft.path(path))];
        }
    }
    Vec::new()
}

/// An empty one takes the image's away.
fn entrypoint(draft: &mut Draft<'_>) {
    let mut section = draft.source.unit.section("Container").into_iter().flat_map(|section| &section.entries);
    if let Some(entry) = section.rfind(|entry| entry.key == "Entrypoint") {
        draft.flag(entry, "--entrypoint", Some(unquoted(&entry.value)));
    }
}

/// With a dash before its path a file may be missing, as in systemd's own key.
fn environment_files(draft: &mut Draft<'_>) {
    for (entry, word) in draft.words("EnvironmentFile") {
        let path = match word.strip_prefix('-') {
            Some(path) => format!("-{}", draft.path(path)),
            None => draft.path(&word),
        };
        draft.flag(entry, "--env-file", Some(&path));
    }
}

fn update(draft: &mut Draft<'_>) {
    if let Some((entry, kind)) = draft.text("AutoUpdate") {
        draft.warning(
            entry,
            "AutoUpdate= is only noted: rbox updates nothing by itself, let a timer run 'rbox pull' and restart the unit",
        );
        draft.flag(entry, "--label", Some(&format!("io.containers.autoupdate={kind}")));
    }
}

fn exec(draft: &mut Draft<'_>) -> Vec<String> {
    draft.text("Exec").map_or_else(Vec::new, |(entry, _)| draft.words_of(entry))
}

/// How systemd learns that it is ready. A service that is not of a type that waits for it has no
/// such flag.
fn notify(draft: &mut Draft<'_>) -> Option<String> {
    let kind = draft.source.unit.last("Service", "Type");
    match kind.map(|entry| (entry, entry.value.as_str())) {
        None | Some((_, "notify")) => {}
        Some((_, "oneshot")) => return None,
        Some((entry, other)) => {
            draft.problem(Some(entry), format!("Type={other}: a container's service is of type notify or oneshot"));
        }
    }
    let who = match draft.text("Notify") {
        None => "conmon",
        Some((_, value)) if value.eq_ignore_ascii_case("healthy") => "healthy",
        Some((entry, value)) => match parse_boolean(value) {
            Some(true) => "container",
            Some(false) => "conmon",
            None => {
                draft.problem(Some(entry), format!("Notify={value} is not one of true, false and healthy"));
                "conmon"
            }
        },
    };
    Some(format!("--sdnotify={who}"))
}

fn reload(draft: &mut Draft<'_>, name: &str) {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match (draft.text("ReloadCmd"), draft.text("ReloadSignal")) {
        (Some(_), Some((entry, _))) => {
            draft.problem(Some(entry), "ReloadCmd= and ReloadSignal= cannot be given together")
        }
        (Some((entry, _)), None) => {
            let mut line = owned(&["exec", name]);
            line.extend(draft.words_of(entry));
            draft.command("ExecReload", "", &line);
        }
        (None, Some((_, signal))) => draft.command("ExecReload", "", &owned(&["kill", "--signal", signal, name])),
        (None, None) => {}
    }
}

fn user(draft: &mut Draft<'_>) {
    match (draft.text("User"), draft.text("Group")) {
        (Some((entry, user)), None) => draft.flag(entry, "--user", Some(user)),
        (Some((entry, user)), Some((_, group))) => draft.flag(entry, "--user", Some(&format!("{user}:{group}"))),
        (None, Some((entry, _))) => draft.problem(Some(entry), "Group= needs User="),
        (None, None) => {}
    }
}

/// The keys that podman had before `UserNS=`.
fn remap(draft: &mut Draft<'_>) {
    let Some((entry, mode)) = draft.text("RemapUsers") else {
        for key in ["RemapUid", "RemapGid", "RemapUidSize"] {
            if let Some((entry, _)) = draft.text(key) {
                draft.problem(Some(entry), format!("{key}= needs RemapUsers="));
            }
        }
        return;
    };
    let (uids, gids) = (draft.words("RemapUid"), draft.words("RemapGid"));
    match mode {
        "manual" => {
            uids.iter().for_each(|(entry, map)| draft.flag(entry, "--uidmap", Some(map)));
            gids.iter().for_each(|(entry, map)| draft.flag(entry, "--gidmap", Some(map)));
        }
        "auto" | "keep-id" => {
            let mut options: Vec<String> = Vec::new();
            let (uid, gid) = if mode == "auto" { ("uidmapping", "gidmapping") } else { ("uid", "gid") };
            options.extend(uids.iter().map(|(_, map)| format!("{uid}={map}")));
            options.extend(gids.iter().map(|(_, map)| format!("{gid}={map}")));
            options.extend(draft.text("RemapUidSize").map(|(_, size)| format!("size={size}")));
            let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
            draft.flag(entry, "--userns", Some(&format!("{mode}{options}")));
        }
        _ => draft.problem(Some(entry), format!("RemapUsers={mode} is not one of manual, auto and keep-id")),
    }
}

fn security(draft: &mut Draft<'_>) {
    for (key, option) in [("NoNewPrivileges", "no-new-privileges"), ("SecurityLabelDisable", "label=disable")] {
        if draft.switch(key) == Some(true)
            && let Some((entry, _)) = draft.text(key)
        {
            draft.flag(entry, "--security-opt", Some(option));
        }
    }
    if let Some((entry, profile)) = draft.text("SeccompProfile") {
        let profile = if profile == "unconfined" { profile.to_owned() } else { draft.path(profile) };
        draft.flag(entry, "--security-opt", Some(&format!("seccomp={profile}")));
    }
    if let Some((entry, profile)) = draft.text("AppArmor") {
        if profile == "unconfined" {
            draft.flag(entry, "--security-opt", Some("apparmor=unconfined"));
        } else {
            draft.problem(Some(entry), format!("AppArmor={profile}: rbox loads no profiles; unconfined is what it is"));
        }
    }
}

/// A device whose name begins with a dash is for machines that have it.
fn devices(draft: &mut Draft<'_>) {
    for (entry, word) in draft.words("AddDevice") {
        match word.strip_prefix('-') {
            Some(device) if !(draft.host.exists)(device.split(':').next().unwrap_or(device)) => {}
            Some(device) => draft.flag(entry, "--device", Some(device)),
            None => draft.flag(entry, "--device", Some(&word)),
        }
    }
}

/// podman's `split` is what a container in a service has in any case: a cgroup below the service's.
fn cgroups(draft: &mut Draft<'_>) {
    if let Some((entry, mode)) = draft.text("CgroupsMode")
        && mode != "split"
    {
        draft.flag(entry, "--cgroups", Some(mode));
    }
}
