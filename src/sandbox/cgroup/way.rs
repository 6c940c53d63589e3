//! By which way a container gets its cgroup, decided before anything is made; else why there is none, and
//! what mends it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::bus::Address;
use super::hierarchy::{self, Groups, is_ours};
use super::scope::Scope;
use super::{Way, file_in, record, unified, words};
use crate::explain::{Code, Explained};
use crate::spec::config::ContainerId;
use crate::spec::limits::{self, CgroupsMode, Limits, Setting, Unsupported};
use crate::store::Store;

/// Where systemd says that it runs.
const SYSTEMD: &str = "/run/systemd/system";
/// The line that hands all controllers to users.
const DELEGATE: &str = "mkdir -p /etc/systemd/system/user@.service.d && \
     printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf && \
     systemctl daemon-reload && systemctl restart user@$(id -u USER)";
/// What is to be made for a container that is about to start.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) way: Way,
    pub(super) settings: Vec<Setting>,
    pub(super) record: PathBuf,
    pub(super) alive: PathBuf,
    /// A system is booted in it.
    pub(super) whole: bool,
}

/// What was decided.
#[derive(Debug, Default)]
pub struct Chosen {
    way: Option<Way>,
    settings: Vec<Setting>,
    whole: bool,
    /// What is left out.
    pub warnings: Vec<String>,
}

/// A way that could be gone, and what it lacks: controllers, or files of this kernel.
struct Candidate {
    way: Way,
    settings: Vec<Setting>,
    missing: BTreeSet<String>,
    lacking: Vec<Unsupported>,
    /// Why these are missing.
    reason: Explained,
}

/// The directory of our own cgroup, if we may make others below it; else why not, and what to do.
fn delegated() -> Result<PathBuf, Explained> {
    let own = Groups::of(None).ok().and_then(|groups| groups.unified).ok_or_else(|| {
        Explained::new(Code::Cgroups, "cgroup version 2 is not mounted")
            .advice("boot with cgroup version 2 on /sys/fs/cgroup")
    })?;
    let base = unified::base_of(&own.own);
    if is_ours(&base) { Ok(base) } else { Err(not_ours(&base)) }
}

fn not_ours(directory: &Path) -> Explained {
    let cause = format!("the cgroup {} is not yours to write to", directory.display());
    let explained = Explained::new(Code::Cgroups, cause);
    match service_name(directory) {
        Some(unit) => explained.advice(format!("add Delegate=yes to the [Service] section of {unit}")),
        None => explained.you("systemd-run --user --scope -p Delegate=yes rbox run ..."),
    }
}

/// The service that a cgroup is of.
fn service_name(directory: &Path) -> Option<&str> {
    directory.file_name()?.to_str().filter(|name| name.ends_with(".service"))
}

/// The error line for a container that cannot be given a cgroup.
fn refusal(explained: Explained) -> anyhow::Error {
    anyhow::anyhow!("cannot boot a system in a container: {explained}, or --systemd=false if it is not systemd")
}

/// How `info` calls the way that a container's cgroup would be made, in docker's words, and the controllers
/// that limits can be enforced by.
pub fn driver() -> (&'static str, Vec<String>) {
    let groups = Groups::of(None).unwrap_or_default();
    let own = groups.unified.as_ref().map(|own| unified::base_of(&own.own));
    let controllers = |directory: &Path| words(&directory.join("cgroup.controllers")).unwrap_or_default();
    if let Some(base) = own.filter(|base| is_ours(base) && is_handed_over(base)) {
        let there = controllers(&base);
        if !there.is_empty() {
            return ("cgroupfs", there);
        }
    }
    if let Some(own) = &groups.unified
        && Address::candidates().iter().any(Address::answers)
    {
        return ("systemd", controllers(&service(&own.mount)));
    }
    let ours = groups.legacy.into_iter().filter(|(_, place)| is_ours(&place.own));
    let legacy: Vec<String> = ours.flat_map(|(names, _)| names).collect();
    (if legacy.is_empty() { "none" } else { "cgroupfs" }, legacy)
}

/// The cgroup of the user's own systemd.
fn service(mount: &Path) -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    if uid == 0 { mount.to_owned() } else { mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service")) }
}

/// Decides for a container with these limits, which must have been settled. `whole`: it boots a system, which
/// wants a cgroup of version 2 to itself. Nothing is changed.
pub fn choose(id: &ContainerId, limits: &Limits, whole: bool) -> Result<Chosen> {
    if !limits.want_cgroup() && !whole {
        return Ok(Chosen::default());
    }
    if !limits.need_cgroup() && whole && limits.cgroup_parent.is_empty() && delegated().is_ok() {
        let base = delegated().map_err(refusal)?;
        let way = Way::Unified { base, name: name(id), controllers: Vec::new() };
        return Ok(Chosen { way: Some(way), whole, ..Chosen::default() });
    }
    let groups = Groups::of(None).unwrap_or_default();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut reasons: Vec<Explained> = Vec::new();
    for way in [directly, by_systemd, by_version_one] {
        match way(id, limits, whole, &groups)? {
            Ok(candidate) if candidate.missing.is_empty() => return candidate.settle(limits, whole),
            Ok(candidate) => candidates.push(candidate),
            Err(reason) => reasons.push(reason),
        }
    }
    let best = candidates.into_iter().min_by_key(|candidate| candidate.missing.len());
    match best {
        Some(best) if limits.best_effort => best.settle(limits, whole),
        None if limits.best_effort => {
            let why = plainest(reasons, &groups, limits).map(|reason| reason.to_string()).unwrap_or_default();
            Ok(Chosen { warnings: vec![format!("no limit is enforced: {why}")], ..Chosen::default() })
        }
        Some(best) => anyhow::bail!("cannot enforce {}: {}", best.flags(), best.reason),
        None if whole && !limits.need_cgroup() => {
            Err(refusal(delegated().err().unwrap_or_else(|| Explained::new(Code::Cgroups, "no cgroup can be made"))))
        }
        None => {
            let reason = plainest(reasons, &groups, limits);
            let reason = reason.unwrap_or_else(|| Explained::new(Code::Cgroups, "there are no cgroups here"));
            anyhow::bail!("cannot enforce {}: {reason}", asked(limits)?)
        }
    }
}

/// Of the reasons against the ways, in their order, the one whose cure is nearest.
fn plainest(mut reasons: Vec<Explained>, groups: &Groups, limits: &Limits) -> Option<Explained> {
    let own = groups.unified.as_ref().map(|own| own.own.as_path());
    let place = match () {
        () if is_slice(&limits.cgroup_parent) => 1,
        // Version 1 is all there is where version 2 has no controllers.
        () if !groups.legacy.is_empty() => reasons.len().checked_sub(1)?,
        () if limits.cgroups == CgroupsMode::Split || own.and_then(service_name).is_some() => 0,
        () if Path::new(SYSTEMD).exists() => 1,
        () => 0,
    };
    (place < reasons.len()).then(|| reasons.swap_remove(place))
}

/// The flags that cannot do without a cgroup, for a message.
fn asked(limits: &Limits) -> Result<String> {
    let number = |_: &str| Ok::<_, anyhow::Error>(String::new());
    let mut flags: Vec<&str> = limits::legacy(limits, number)?.0.iter().map(|setting| setting.flag).collect();
    if !limits.conf.is_empty() {
        flags.push("--cgroup-conf");
    }
    if flags.is_empty() {
        flags.push(if limits.cgroup_parent.is_empty() { "--cgroups" } else { "--cgroup-parent" });
    }
    flags.retain(|flag| *flag != "--memory-swap");
    flags.dedup();
    Ok(flags.join(" "))
}

impl Candidate {
    fn new(
        way: Way,
        (settings, lacking): (Vec<Setting>, Vec<Unsupported>),
        there: impl Fn(&Setting) -> bool,
        reason: Explained,
    ) -> Self {
        let missing =
            settings.iter().filter(|setting| !setting.optional && !there(setting)).map(|setting| setting.file.clone());
        Self { missing: missing.collect(), way, settings, lacking, reason }
    }

    /// The flags whose settings are missing.
    fn flags(&self) -> String {
        let missing = self.settings.iter().filter(|setting| self.missing.contains(&setting.file));
        let mut flags: Vec<&str> = missing.map(|setting| setting.flag).collect();
        flags.dedup();
        flags.join(" ")
    }

    /// Takes this way, without what is missing.
    fn settle(mut self, limits: &Limits, whole: bool) -> Result<Chosen> {
        let mut warnings = Vec::new();
        for lacking in &self.lacking {
            match lacking {
                Unsupported::Discarded(text) => warnings.push((*text).to_owned()),
                Unsupported::Refused(text) if limits.best_effort => warnings.push((*text).to_owned()),
                Unsupported::Refused(text) => anyhow::bail!("{text}"),
            }
        }
        if !self.missing.is_empty() {
            warnings.push(format!("{} is not enforced: {}", self.flags(), self.reason));
            let missing = std::mem::take(&mut self.missing);
            self.settings.retain(|setting| !missing.contains(&setting.file));
        }
        let needed: BTreeSet<String> = self.settings.iter().map(|setting| setting.controller.clone()).collect();
        if let Way::Unified { controllers, .. } | Way::Scope { controllers, .. } = &mut self.way {
            controllers.retain(|name| needed.contains(name));
        }
        Ok(Chosen { way: Some(self.way), settings: self.settings, whole, warnings })
    }
}

impl Chosen {
    /// Where the chosen cgroup is to be made; None if the container stays in the invocation's.
    pub fn place(self, store: &Store, id: &ContainerId, container: &Path) -> Result<Option<Place>> {
        let Some(way) = self.way else { return Ok(None) };
        let (record, alive) = (record::path(store, id)?, container.join("alive"));
        Ok(Some(Place { way, settings: self.settings, record, alive, whole: self.whole }))
    }
}

fn name(id: &ContainerId) -> String {
    format!("rbox-{id}")
}

fn is_slice(parent: &str) -> bool {
    parent.ends_with(".slice")
}

fn slice_of_nobody(limits: &Limits) -> Explained {
    Explained::new(Code::Cgroups, format!("{} is systemd's to make", limits.cgroup_parent))
}

/// The directory that `--cgroup-parent` means, else the one that new cgroups are made in.
fn parent(limits: &Limits, place: &hierarchy::Place) -> PathBuf {
    match limits.cgroup_parent.as_str() {
        "" => unified::base_of(&place.own),
        path if path.starts_with('/') => place.mount.join(path.trim_start_matches('/')),
        path => unified::base_of(&place.own).join(path),
    }
}

/// The first way.
fn directly(id: &ContainerId, limits: &Limits, _: bool, groups: &Groups) -> Result<Result<Candidate, Explained>> {
    let none = || Explained::new(Code::Cgroups, "cgroup version 2 is not mounted");
    let Some(own) = &groups.unified else { return Ok(Err(none())) };
    if is_slice(&limits.cgroup_parent) {
        return Ok(Err(slice_of_nobody(limits)));
    }
    let base = parent(limits, own);
    // What --cgroup-parent names is made if it is not there.
    let top = hierarchy::nearest(&base);
    if !is_ours(top) {
        return Ok(Err(not_ours(top)));
    }
    let settings = limits::unified(limits, device_number)?;
    let controllers = controllers(&settings.0);
    let enabled = words(&top.join("cgroup.subtree_control")).unwrap_or_default();
    let there = match controllers.iter().all(|name| enabled.contains(name)) {
        true => enabled,
        // Whoever may write here might still not be meant to: a terminal's cgroup is systemd's.
        false if is_handed_over(top) => words(&top.join("cgroup.controllers")).unwrap_or_default(),
        false => return Ok(Err(not_ours(top))),
    };
    let lacking: Vec<&String> = controllers.iter().filter(|name| !there.contains(name)).collect();
    let reason = match lacking.is_empty() {
        true => Explained::new(Code::Cgroups, "this kernel lacks the file"),
        false => missing_in(top, &lacking),
    };
    let is_there = |setting: &Setting| there.contains(&setting.controller) && has_file(top, setting);
    let way = Way::Unified { base: base.clone(), name: name(id), controllers };
    Ok(Ok(Candidate::new(way, settings, is_there, reason)))
}

/// Whether the kernel has the file, as far as can be seen from above: a root has none of them.
fn has_file(base: &Path, setting: &Setting) -> bool {
    let shows = |name: &str| words(&base.join("cgroup.controllers")).is_ok_and(|all| all.iter().any(|one| one == name));
    let is_root = !base.join("cgroup.type").exists();
    is_root || !shows(&setting.controller) || base.join(&setting.file).exists() || setting.flag == "--cgroup-conf"
}

fn controllers(settings: &[Setting]) -> Vec<String> {
    let needed = settings.iter().filter(|setting| !setting.optional).map(|setting| setting.controller.clone());
    needed.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a cgroup that we may write to was handed over: systemd marks those (systemd.resource-control(5),
/// Delegate=), and where it does not run whoever gave it meant to.
fn is_handed_over(base: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0u8; 8];
        rustix::fs::getxattr(base, name, &mut value[..]).is_ok_and(|length| value.get(..length) == Some(b"1"))
    };
    !Path::new(SYSTEMD).exists() || marked("user.delegate") || marked("trusted.delegate")
}

fn missing_in(base: &Path, lacking: &[&String]) -> Explained {
    let names: Vec<&str> = lacking.iter().map(|name| name.as_str()).collect();
    let cause = match names[..] {
        [one] => format!("the cgroup controller {one} is not handed to {}", base.display()),
        _ => format!("the cgroup controllers {} are not handed to {}", names.join(" "), base.display()),
    };
    let explained = Explained::new(Code::Cgroups, cause);
    if !Path::new(SYSTEMD).exists() {
        return explained
            .advice("start rbox in a cgroup to which they are handed on (cgroup.subtree_control above it)");
    }
    let uid = rustix::process::getuid().as_raw();
    explained.administrator(DELEGATE.replace("$(id -u USER)", &uid.to_string()))
}

/// The second way.
fn by_systemd(id: &ContainerId, limits: &Limits, _: bool, groups: &Groups) -> Result<Result<Candidate, Explained>> {
    let no = |cause: &str| Ok(Err(Explained::new(Code::Cgroups, cause)));
    let Some(own) = &groups.unified else { return no("cgroup version 2 is not mounted") };
    if limits.cgroups == CgroupsMode::Split {
        return no("--cgroups=split means the cgroup that rbox was started in");
    }
    if !limits.cgroup_parent.is_empty() && !is_slice(&limits.cgroup_parent) {
        return no("--cgroup-parent is no slice of systemd's");
    }
    let Some(address) = Address::candidates().into_iter().find(Address::answers) else {
        return Ok(Err(no_manager()));
    };
    let service = service(&own.mount);
    let settings = limits::unified(limits, device_number)?;
    let needed = controllers(&settings.0);
    // Unknown where the service is elsewhere: then the start says what is missing.
    let there = words(&service.join("cgroup.controllers")).unwrap_or_else(|_| needed.clone());
    let lacking: Vec<&String> = needed.iter().filter(|name| !there.contains(name)).collect();
    let reason = match lacking.is_empty() {
        true => Explained::new(Code::Cgroups, "this kernel lacks the file"),
        false => missing_in(&service, &lacking),
    };
    let scope = Scope {
        address,
        unit: format!("{}.scope", name(id)),
        slice: Some(limits.cgroup_parent.clone()).filter(|parent| !parent.is_empty()),
        description: format!("rbox container {}", id.short()),
    };
    let is_there = |setting: &Setting| there.contains(&setting.controller) && has_file(&service, setting);
    let way = Way::Scope { scope, controllers: needed };
    Ok(Ok(Candidate::new(way, settings, is_there, reason)))
}

fn no_manager() -> Explained {
    let explained = Explained::new(Code::Cgroups, "no systemd of yours answers");
    if !Path::new(SYSTEMD).exists() {
        return explained.advice("start rbox in a cgroup of version 2 that belongs to you");
    }
    let uid = rustix::process::getuid().as_raw();
    explained
        .administrator(format!("loginctl enable-linger {uid}"))
        .advice(format!("log in by ssh or at the console, or set XDG_RUNTIME_DIR=/run/user/{uid}"))
}

/// The third way.
fn by_version_one(
    id: &ContainerId,
    limits: &Limits,
    whole: bool,
    groups: &Groups,
) -> Result<Result<Candidate, Explained>> {
    let no = |cause: String| Ok(Err(Explained::new(Code::Cgroups, cause)));
    if groups.legacy.is_empty() {
        return no("cgroup version 1 is not mounted".to_owned());
    }
    if is_slice(&limits.cgroup_parent) {
        return Ok(Err(slice_of_nobody(limits)));
    }
    let may_use = |base: &PathBuf| is_ours(hierarchy::nearest(base));
    let unified = groups.unified.as_ref().map(|own| parent(limits, own)).filter(may_use);
    if whole && unified.is_none() {
        return no("cgroup version 2 is not mounted".to_owned());
    }
    let settings = limits::legacy(limits, device_number)?;
    let bases = groups.legacy.iter().map(|(names, own)| (names, parent(limits, own)));
    let (ours, others): (Vec<_>, Vec<_>) = bases.partition(|(_, base)| may_use(base));
    let base_of = |controller: &str| {
        ours.iter().find(|(names, _)| names.iter().any(|name| name == controller)).map(|(_, base)| base.clone())
    };
    let is_there = |setting: &Setting| {
        base_of(&setting.controller).is_some_and(|base| file_in(hierarchy::nearest(&base), &setting.file).exists())
    };
    let lacking = settings.0.iter().find(|setting| !setting.optional && !is_there(setting));
    let reason = lacking.map(|setting| missing_of_version_one(setting, base_of(&setting.controller), &others));
    if ours.is_empty() && unified.is_none() {
        let none = || Explained::new(Code::Cgroups, "no cgroup here is yours to write to");
        return Ok(Err(reason.unwrap_or_else(none)));
    }
    let directories = ours.iter().map(|(names, base)| (names.join(","), base.join(name(id)))).collect();
    let way = Way::Legacy { unified: unified.map(|base| base.join(name(id))), directories };
    let reason = reason.unwrap_or_else(|| Explained::new(Code::Cgroups, String::new()));
    Ok(Ok(Candidate::new(way, settings, is_there, reason)))
}

fn missing_of_version_one(setting: &Setting, base: Option<PathBuf>, others: &[(&Vec<String>, PathBuf)]) -> Explained {
    if base.is_some() {
        return Explained::new(Code::Cgroups, format!("this kernel has no {}", setting.file));
    }
    let other = others.iter().find(|(names, _)| names.contains(&setting.controller)).map(|(_, base)| base);
    let Some(directory) = other.map(|base| hierarchy::nearest(base)) else {
        return Explained::new(Code::Cgroups, format!("the cgroup controller {} is not mounted", setting.controller));
    };
    let uid = rustix::process::getuid().as_raw();
    let shell = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let own = directory.join(format!("user-{uid}"));
    let cause =
        format!("the cgroup {} (version 1, {}) is not yours to write to", directory.display(), setting.controller);
    Explained::new(Code::Cgroups, cause)
        .administrator(format!("mkdir -p {0} && chown -R {uid} {0} && echo {shell} >{0}/cgroup.procs", own.display()))
}

/// `MAJOR:MINOR` of a block device.
pub fn device_number(path: &str) -> Result<String> {
    let (major, minor) = block_device(path)?;
    Ok(format!("{major}:{minor}"))
}

/// The number of a block device.
pub fn block_device(path: &str) -> Result<(u32, u32)> {
    use anyhow::Context as _;
    let stat = rustix::fs::stat(path).with_context(|| format!("error gathering device information of {path}"))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        anyhow::bail!("{path} is not a block device");
    }
    Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}
