//! One container's configuration for another container: podman's `container clone`.

use jiff::Timestamp;

use super::config::{ContainerConfig, ContainerId, NetworkMode, RootSource};
use super::systemd;

/// What is different about the clone, but for what can only be one container's.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Another root, with its name and its platform.
    pub root: Option<(RootSource, String, String)>,
    /// Its original goes: the clone has its addresses.
    pub replaces: bool,
}

/// A configuration for another container like `original`. What is the original's alone is not taken over: its
/// name and id, files its id and pid are written to, and, unless the clone replaces it, addresses of its own.
/// Volumes, those without a name too, are shared.
pub fn clone(
    original: &ContainerConfig,
    difference: Difference,
    id: ContainerId,
    name: String,
    now: Timestamp,
) -> ContainerConfig {
    let mut config = original.clone();
    config.created = format!("{now:.9}");
    let has_root = difference.root.is_some();
    if let Some((root, image, platform)) = difference.root {
        (config.root, config.image, config.platform) = (root, image, platform);
    }
    if original.hostname == original.id.short() {
        id.short().clone_into(&mut config.hostname);
    }
    let before = own_variables(&original.id, &original.hostname);
    let after = own_variables(&id, &config.hostname);
    for variable in &mut config.env {
        if let Some(index) = before.iter().position(|old| old == variable) {
            variable.clone_from(&after[index]);
        }
    }
    if let NetworkMode::Networks(attachments) = &mut config.network
        && !difference.replaces
    {
        for attachment in attachments {
            (attachment.ip, attachment.ip6, attachment.mac) = (None, None, None);
        }
    }
    config.cidfile = None;
    config.lifetime.pidfile = None;
    config.ephemeral = false;
    let image = has_root.then_some(&*config.image);
    config.create_command = original.create_command.as_ref().map(|made| made.like(&name, image));
    (config.id, config.name) = (id, name);
    config
}

/// Variables that say who a container is.
fn own_variables(id: &ContainerId, hostname: &str) -> Vec<String> {
    let mut variables = systemd::environment(id).to_vec();
    variables.push(format!("HOSTNAME={hostname}"));
    variables
}

/// Names for clones in podman's order: `web-clone`, `web-clone1`, `web-clone2`.
pub fn names(original: &str) -> impl Iterator<Item = String> {
    const SUFFIX: &str = "-clone";
    let numbered = original.rfind(SUFFIX).and_then(|at| {
        let (stem, digits) = original.split_at(at + SUFFIX.len());
        let number: u32 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        Some((stem.to_owned(), number.checked_add(1)?))
    });
    let plain = numbered.is_none().then(|| format!("{original}{SUFFIX}"));
    let (stem, first) = numbered.unwrap_or_else(|| (format!("{original}{SUFFIX}"), 1));
    plain.into_iter().chain((first..).map(move |number| format!("{stem}{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::create::{self, Base, CreateRequest};
    use crate::spec::network::Attachment;
    use crate::spec::systemd::SystemdMode;

    fn first_names(original: &str) -> Vec<String> {
        names(original).take(3).collect()
    }

    #[test]
    fn names_are_podmans() {
        assert_eq!(first_names("web"), ["web-clone", "web-clone1", "web-clone2"]);
        assert_eq!(first_names("web-clone"), ["web-clone1", "web-clone2", "web-clone3"]);
        assert_eq!(first_names("web-clone7"), ["web-clone8", "web-clone9", "web-clone10"]);
        assert_eq!(first_names("web-cloned")[..2], ["web-cloned-clone", "web-cloned-clone1"]);
        assert_eq!(first_names("web-clone4294967295")[0], "web-clone4294967295-clone");
    }

    #[test]
    fn what_is_the_originals_alone_is_not_taken_over() {
        let ip = Some("10.88.0.9".parse().unwrap());
        let request = CreateRequest {
            command: vec!["/sbin/init".to_owned()],
            systemd: SystemdMode::Always,
            network: NetworkMode::Networks(vec![Attachment { ip, ..Attachment::to("bridge") }]),
            cidfile: Some("/cid".into()),
            ..CreateRequest::default()
        };
        let base = Base { root: RootSource::Directory("/a".into()), image: None, host_name: "host", donor_name: None };
        let (old, new) = (ContainerId::from_bytes([1; 32]), ContainerId::from_bytes([2; 32]));
        let mut original = create::resolve(request, base, old.clone(), "a".to_owned(), Timestamp::UNIX_EPOCH).unwrap();
        original.lifetime.pidfile = Some("/pid".into());
        let now = Timestamp::UNIX_EPOCH;
        let make = |root, replaces| clone(&original, Difference { root, replaces }, new.clone(), "b".to_owned(), now);

        let like = make(None, false);
        assert_eq!((like.id.clone(), &*like.name, &*like.hostname), (new.clone(), "b", new.short()));
        assert!(like.env.contains(&format!("HOSTNAME={}", new.short())));
        assert!(like.env.iter().all(|variable| !variable.contains(&old.as_str()[..8])), "{:?}", like.env);
        assert_eq!(like.env.len(), original.env.len());
        assert_eq!((like.cidfile.clone(), like.lifetime.pidfile.clone()), (None, None));
        assert_eq!(like.network.attachments()[0].ip, None);
        assert_eq!(like.root, original.root);

        let other = (RootSource::Directory("/b".into()), "rootfs:/b".to_owned(), "linux/arm64".to_owned());
        let instead = make(Some(other), true);
        assert_eq!(instead.network.attachments()[0].ip, ip);
        assert_eq!((&*instead.image, &*instead.platform), ("rootfs:/b", "linux/arm64"));

        original.hostname = "named".to_owned();
        original.env = vec!["HOSTNAME=named".to_owned()];
        let named = clone(&original, Difference { root: None, replaces: false }, new, "b".to_owned(), now);
        assert_eq!((&*named.hostname, &named.env[..]), ("named", &["HOSTNAME=named".to_owned()][..]));
    }
}
