//! The kernel: its version, its system calls, user namespaces, and whether this is a container.

use std::path::Path;

use nix::libc;

use super::Finding;
use super::child::{self, NoAnswer};
use crate::explain::{Code, Explained, facts, user_namespaces};
use crate::sys::calls::Call;
use crate::sys::process;

/// The oldest release that has everything (mount_setattr).
const OLDEST: (u32, u32) = (5, 12);

fn release() -> (String, (u32, u32)) {
    let text = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (text, version)
}

/// The release.
pub fn version() -> Finding {
    let (text, version) = release();
    if version >= OLDEST {
        return Finding::pass(Code::Kernel, format!("Linux {text}"));
    }
    let cause = format!("Linux {text} is older than {}.{}", OLDEST.0, OLDEST.1);
    Finding::fail(Explained::new(Code::Kernel, cause).advice("install a newer kernel of your distribution and boot it"))
}

/// Every call that a start makes, made here.
pub fn system_calls() -> Finding {
    let (mut missing, mut spared) = (Vec::new(), Vec::new());
    for call in Call::ALL {
        match ask(call) {
            Ok((_, Some(libc::ENOSYS))) if call.has_substitute() => spared.push(call.since().0),
            answer => missing.extend(refused(call, answer)),
        }
    }
    if missing.is_empty() {
        let all = Call::ALL.len();
        return Finding::pass(
            Code::SystemCalls,
            match &spared[..] {
                [] => format!("all {all} answer"),
                _ => format!("{} of {all} answer; rbox does without {}", all - spared.len(), spared.join(", ")),
            },
        );
    }
    let explained = Explained::new(Code::SystemCalls, missing.join(", "));
    Finding::fail(if facts::is_filtered() {
        explained.advice("start the outer container or service with a seccomp profile that allows them (--security-opt seccomp=unconfined)")
    } else {
        explained.advice("install a newer kernel of your distribution and boot it")
    })
}

/// Whether there were capabilities to make the call with, and the kernel's answer.
type Answer = Result<(bool, Option<i32>), NoAnswer>;

fn ask(call: Call) -> Answer {
    child::ask(|| {
        // Some ask for capabilities before they look at their arguments.
        let capable = process::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).is_ok();
        (capable, call.answer().raw_os_error())
    })
}

/// What is wrong with a call, if it is not to be had.
fn refused(call: Call, answer: Answer) -> Option<String> {
    let (name, since) = call.since();
    match answer {
        Ok((_, Some(libc::ENOSYS))) if release().1 >= since => Some(format!("{name} is hidden by a seccomp filter")),
        Ok((_, Some(libc::ENOSYS))) => Some(format!("{name} is missing (it came with Linux {}.{})", since.0, since.1)),
        Ok((true, Some(libc::EPERM))) => Some(format!("{name} is forbidden by a seccomp filter")),
        Ok(_) => None,
        Err(why) => Some(format!("{name}: {}", why.describe())),
    }
}

/// Really made, and used for what needs a capability in it.
pub fn user_namespaces() -> Finding {
    match attempt() {
        Ok(()) => {
            let limit = facts::sysctl("user.max_user_namespaces").map(|limit| format!(" (at most {limit})"));
            Finding::pass(Code::UserNamespaces, format!("allowed{}", limit.unwrap_or_default()))
        }
        Err(explained) => Finding::fail(explained),
    }
}

fn attempt() -> Result<(), Explained> {
    let errno = |result: std::io::Result<()>| result.err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
    let answer = child::ask(|| {
        let made = errno(process::unshare(libc::CLONE_NEWUSER));
        (made, errno(process::unshare(libc::CLONE_NEWNS)))
    });
    match answer {
        Ok((None, None)) => Ok(()),
        Ok((None, Some(libc::ENOSPC))) => {
            Err(Explained::new(Code::UserNamespaces, "the limit of mount namespaces is reached")
                .administrator("sysctl -w user.max_mnt_namespaces=15000"))
        }
        Ok((None, Some(_))) => Err(user_namespaces::powerless()),
        Ok((Some(number), _)) => Err(user_namespaces::refusal(rustix::io::Errno::from_raw_os_error(number))),
        Err(NoAnswer::Killed(_)) => {
            Err(Explained::new(Code::UserNamespaces, "a seccomp filter kills whoever asks for one"))
        }
        Err(why) => Err(Explained::new(Code::UserNamespaces, why.describe())),
    }
}

/// Signs of a container around us. `works` says that user namespaces and /proc do.
pub fn nested(works: bool) -> Finding {
    let Some(outer) = outer_container() else {
        return Finding::pass(Code::Nested, "not inside another container");
    };
    if works {
        return Finding::pass(Code::Nested, format!("inside a container ({outer}) that allows what rbox needs"));
    }
    Finding::warn(Explained::new(Code::Nested, format!("inside a container ({outer})")).advice(
        "the outer container needs, for docker and podman: --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
         --security-opt systempaths=unconfined --device /dev/fuse --device /dev/net/tun",
    ))
}

/// What kind of container this is, if it is one.
pub fn outer_container() -> Option<String> {
    for (path, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if Path::new(path).exists() {
            return Some(name.to_owned());
        }
    }
    // What container managers tell their payload (systemd's CONTAINER_INTERFACE).
    let told = std::env::var("container").ok().or_else(|| facts::text(Path::new("/run/systemd/container")));
    if let Some(name) = told.filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let map = facts::text(Path::new("/proc/self/uid_map"))?;
    let whole = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    (!whole).then(|| "a user namespace that is not the first".to_owned())
}
