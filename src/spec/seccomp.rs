//! Seccomp for the runtime Spec: the built-in profile, and docker's JSON profiles with their
//! conditions decided.

pub mod table;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;
use serde_json::Value;

use table::{Action, Arg, Compare, Rule};

use super::caps;
use super::config::ContainerConfig;

/// Why a text is not a seccomp profile; docker's words.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProfile {
    #[error("decoding seccomp profile failed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("decoding seccomp profile failed: no default action")]
    NoDefaultAction,
    #[error("invalid seccomp profile: {0}")]
    Spec(#[from] OciSpecError),
}

/// What the conditions of a profile are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// As [`circumstantial`] gives them.
    pub capabilities: &'a [&'a str],
    /// The image's architecture, as in `amd64`.
    pub architecture: &'a str,
    /// Version and patch level of the running kernel.
    pub kernel: (u32, u32),
}

/// What decides about the profile of a container: its bounding set, and what else it is told by.
pub fn circumstantial(config: &ContainerConfig) -> Vec<&'static str> {
    let mut all = caps::effective(&config.capabilities, config.privileged);
    all.extend(config.systemd.as_ref().map(|_| table::FULL_SYSTEM));
    all
}

/// The built-in profile for one container.
pub fn builtin(now: &Circumstances<'_>) -> Result<LinuxSeccomp, OciSpecError> {
    let rules = table::resolve(&|cap| now.capabilities.contains(&cap), now.architecture);
    let architectures = table::architectures(now.architecture).iter().filter_map(|name| name.parse().ok());
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(table::DEFAULT_ERRNO as u32)
        .architectures(architectures.collect::<Vec<_>>())
        .syscalls(rules.iter().map(syscall).collect::<Result<Vec<_>, _>>()?);
    profile.build()
}

fn syscall(rule: &Rule) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = rule.names.iter().map(|name| (*name).to_owned()).collect();
    let mut syscall = LinuxSyscallBuilder::default().names(names);
    syscall = match rule.action {
        Action::Allow => syscall.action(LinuxSeccompAction::ScmpActAllow),
        Action::Errno(errno) => syscall.action(LinuxSeccompAction::ScmpActErrno).errno_ret(errno as u32),
    };
    if !rule.args.is_empty() {
        syscall = syscall.args(rule.args.iter().map(argument).collect::<Result<Vec<_>, _>>()?);
    }
    syscall.build()
}

fn argument(arg: &Arg) -> Result<LinuxSeccompArg, OciSpecError> {
    let builder = LinuxSeccompArgBuilder::default().index(arg.index as usize);
    match arg.compare {
        Compare::Equal(value) => builder.op(LinuxSeccompOperator::ScmpCmpEq).value(value),
        Compare::Greater(value) => builder.op(LinuxSeccompOperator::ScmpCmpGt).value(value),
        Compare::MaskedEqual { mask, value } => {
            builder.op(LinuxSeccompOperator::ScmpCmpMaskedEq).value(mask).value_two(value)
        }
    }
    .build()
}

/// The parts of docker's profile format that the runtime Spec doesn't have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerProfile {
    default_action: Option<Value>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    syscalls: Option<Vec<Conditional>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

/// One entry of `syscalls`.
#[derive(Deserialize)]
struct Conditional {
    /// The oldest profiles have one name an entry.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Condition {
    fn arches(&self, now: &Circumstances<'_>) -> Option<bool> {
        let arches = self.arches.as_deref().filter(|arches| !arches.is_empty())?;
        Some(arches.iter().any(|arch| arch == now.architecture))
    }

    fn kernel(&self, now: &Circumstances<'_>) -> Option<bool> {
        let wanted = self.min_kernel.as_deref().filter(|version| !version.is_empty())?;
        let mut numbers = wanted.split('.').map(|part| part.parse::<u32>().ok());
        Some(now.kernel >= (numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    fn caps<'a>(&'a self, now: &'a Circumstances<'_>) -> impl Iterator<Item = bool> + 'a {
        self.caps.iter().flatten().map(|cap| now.capabilities.contains(&cap.as_str()))
    }
}

impl Conditional {
    /// docker's rule: every included condition holds, none of the excluded does.
    fn applies(&self, now: &Circumstances<'_>) -> bool {
        let included = self.includes.as_ref().is_none_or(|condition| {
            condition.arches(now) != Some(false)
                && condition.kernel(now) != Some(false)
                && condition.caps(now).all(|has| has)
        });
        let excluded = self.excludes.as_ref().is_some_and(|condition| {
            condition.arches(now) == Some(true)
                || condition.kernel(now) == Some(true)
                || condition.caps(now).any(|has| has)
        });
        included && !excluded
    }

    /// The entry as the Spec has it.
    fn into_value(self) -> Value {
        let names: Vec<Value> = self.names.into_iter().flatten().chain(self.name).map(Value::from).collect();
        let mut entry: serde_json::Map<String, Value> = self
            .rest
            .into_iter()
            .filter(|(key, value)| SYSCALL_KEYS.contains(&key.as_str()) && !value.is_null())
            .collect();
        entry.insert("names".to_owned(), names.into());
        entry.into()
    }
}

const SYSCALL_KEYS: [&str; 3] = ["action", "errnoRet", "args"];

/// Checks that `json` can be read as a profile, whatever its conditions come to.
pub fn check_profile(json: &str) -> Result<(), InvalidProfile> {
    profile(json, &Circumstances { capabilities: &[], architecture: "", kernel: (0, 0) }).map(|_| ())
}

/// Reads a profile in docker's JSON, or the Spec's own, and decides its conditions.
pub fn profile(json: &str, now: &Circumstances<'_>) -> Result<LinuxSeccomp, InvalidProfile> {
    let docker: DockerProfile = serde_json::from_str(json)?;
    let mut profile: serde_json::Map<String, Value> =
        docker.rest.into_iter().filter(|(_, value)| !value.is_null()).collect();
    profile.insert("defaultAction".to_owned(), docker.default_action.ok_or(InvalidProfile::NoDefaultAction)?);
    if let Some(maps) = docker.arch_map {
        let native = table::architectures(now.architecture).first().copied().unwrap_or_default();
        let listed = maps.into_iter().filter(|map| map.architecture == native);
        let names =
            listed.flat_map(|map| [map.architecture].into_iter().chain(map.sub_architectures.into_iter().flatten()));
        profile.insert("architectures".to_owned(), names.map(Value::from).collect());
    }
    let entries = docker.syscalls.into_iter().flatten().filter(|entry| entry.applies(now));
    profile.insert("syscalls".to_owned(), entries.map(Conditional::into_value).collect());
    Ok(serde_json::from_value(profile.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Circumstances<'static> =
        Circumstances { capabilities: &["CAP_SYS_CHROOT"], architecture: "amd64", kernel: (6, 1) };

    fn names(profile: &LinuxSeccomp) -> Vec<String> {
        profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names().clone()).collect()
    }

    #[test]
    fn builtin_profile() {
        let now = Circumstances { capabilities: &caps::DEFAULT, ..NOW };
        let json = serde_json::to_value(builtin(&now).unwrap()).unwrap();
        assert_eq!((&json["defaultAction"], &json["defaultErrnoRet"]), (&json!("SCMP_ACT_ERRNO"), &json!(38)));
        assert_eq!(json["architectures"], json!(["SCMP_ARCH_X86_64"]));
        let syscalls = json["syscalls"].as_array().unwrap();
        let of = |name: &str| {
            syscalls.iter().filter(|s| s["names"].as_array().unwrap().contains(&json!(name))).collect::<Vec<_>>()
        };
        assert_eq!(of("chroot")[0]["action"], "SCMP_ACT_ALLOW");
        assert_eq!((&of("mount")[0]["action"], &of("mount")[0]["errnoRet"]), (&json!("SCMP_ACT_ERRNO"), &json!(1)));
        let mask = json!({"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"});
        assert_eq!(of("clone")[0]["args"], json!([mask]));
        for arch in ["386", "arm", "arm64", "ppc64le", "riscv64", "s390x"] {
            let profile = builtin(&Circumstances { architecture: arch, ..now }).unwrap();
            assert_eq!(profile.architectures().as_ref().unwrap().len(), table::architectures(arch).len(), "{arch}");
        }
    }

    #[test]
    fn conditions_of_docker_profiles() {
        let entry = |name: &str, key: &str, condition: Value| {
            let mut entry = json!({"names": [name], "action": "SCMP_ACT_ALLOW", "comment": "x", "args": null});
            entry[key] = condition;
            entry
        };
        let json = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "flags": null,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
            "syscalls": [
                {"name": "read", "action": "SCMP_ACT_ALLOW", "args": []},
                entry("a", "includes", json!({"caps": ["CAP_SYS_CHROOT"]})),
                entry("B", "includes", json!({"caps": ["CAP_SYS_CHROOT", "CAP_SYS_ADMIN"]})),
                entry("C", "excludes", json!({"caps": ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]})),
                entry("d", "includes", json!({"arches": ["amd64", "x32"], "minKernel": "4.8"})),
                entry("E", "includes", json!({"arches": ["arm64"]})),
                entry("F", "includes", json!({"minKernel": "6.2"})),
                entry("g", "excludes", json!({"arches": ["s390x"], "minKernel": "7.0"})),
                entry("h", "includes", json!({})),
            ],
        });
        let profile = profile(&json.to_string(), &NOW).unwrap();
        assert_eq!(names(&profile), ["read", "a", "d", "g", "h"]);
        let architectures = serde_json::to_value(profile.architectures()).unwrap();
        assert_eq!(architectures, json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    }

    #[test]
    fn bad_profiles() {
        for bad in
            ["", "[]", "{}", r#"{"defaultAction":"ALLOW"}"#, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}"#]
        {
            assert!(check_profile(bad).is_err(), "{bad}");
        }
        assert!(check_profile(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":null}"#).is_ok());
    }
}
