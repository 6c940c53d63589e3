//! `events --filter`: docker's keys.

use anyhow::Result;

use crate::cmd::format::filter::{Filter, Filters};
use crate::spec::event::{Event, Subject};

const KEYS: [&str; 15] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "pod",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Which events are shown.
pub struct Wanted(Filters);

impl Wanted {
    /// Takes the filters; an unknown key is an error.
    pub fn new(filters: Vec<Filter>) -> Result<Self> {
        Ok(Self(Filters::new(filters, &KEYS)?))
    }

    /// Whether the event is one of them.
    pub fn takes(&self, event: &Event) -> bool {
        let (what, filters) = (&event.what, &self.0);
        let object = |subject: Subject| {
            let is_named =
                |name: &str| what.id.starts_with(name) || what.attributes.get("name").is_some_and(|n| n == name);
            filters.any(subject.as_str(), |name| what.subject == subject && !name.is_empty() && is_named(name))
        };
        // What happens to a network or a volume on behalf of a container is the container's too.
        let container = |name: &str| {
            let on_behalf = what.attributes.get("container").is_some_and(|id| id.starts_with(name));
            let own = what.subject == Subject::Container
                && (what.id.starts_with(name) || what.attributes.get("name").is_some_and(|own| own == name));
            !name.is_empty() && (own || on_behalf)
        };
        let none = |key: &str| filters.any(key, |_| false);
        filters.any("event", |action| is_action(&what.action, action))
            && filters.any("type", |subject| what.subject.as_str() == subject)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("container", container)
            && filters.any("image", |image| is_of_image(event, image))
            && [Subject::Network, Subject::Secret, Subject::Volume].into_iter().all(object)
            && filters.labels(&what.attributes)
            && ["config", "daemon", "node", "plugin", "pod", "service"].into_iter().all(none)
    }
}

/// `exec_start` means `exec_start: sh -c true` too; podman's words mean docker's.
fn is_action(action: &str, wanted: &str) -> bool {
    let wanted = match wanted {
        "died" => "die",
        "exec_died" => "exec_die",
        "remove" if action != "remove" => "destroy",
        other => other,
    };
    action == wanted || action.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
}

/// By id, or by name with or without its tag: that of the image, or of the one a container is made from.
fn is_of_image(event: &Event, wanted: &str) -> bool {
    let what = &event.what;
    let key = match what.subject {
        Subject::Image => "name",
        Subject::Container => "image",
        _ => return false,
    };
    let hex = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
    let by_id = what.subject == Subject::Image && !wanted.is_empty() && hex(&what.id).starts_with(&hex(wanted));
    by_id || what.attributes.get(key).is_some_and(|name| name == wanted || without_tag(name) == wanted)
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::event::Happening;

    fn shown(filters: &[&str], what: &Happening) -> bool {
        let filters = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        let event = Event { time: jiff::Timestamp::UNIX_EPOCH, what: what.clone() };
        Wanted::new(filters).unwrap().takes(&event)
    }

    #[test]
    fn filters_combine_as_dockers() {
        let start = Happening::new(Subject::Container, "exec_start: sh -c true", "abc123")
            .with("name", "web")
            .with("image", "localhost:5000/nginx:1.29")
            .with("tier", "front");
        for yes in [
            &["event=exec_start"][..],
            &["event=die", "event=exec_start"],
            &["container=web"],
            &["container=abc"],
            &["image=localhost:5000/nginx"],
            &["image=localhost:5000/nginx:1.29"],
            &["type=container", "label=tier=front", "label=tier"],
        ] {
            assert!(shown(yes, &start), "{yes:?}");
        }
        for no in [
            &["event=exec"][..],
            &["container=we"],
            &["container="],
            &["type=image"],
            &["volume=web"],
            &["image=nginx"],
            &["label=tier=back"],
            &["daemon=x"],
            &["event=exec_start", "container=db"],
        ] {
            assert!(!shown(no, &start), "{no:?}");
        }
        let connect =
            Happening::new(Subject::Network, "connect", "net1").with("name", "front").with("container", "abc123");
        assert!(shown(&["network=front"], &connect) && shown(&["container=abc1"], &connect));
        assert!(shown(&["event=died"], &Happening::new(Subject::Container, "die", "a")));
        assert!(Wanted::new(vec!["colour=red".parse().unwrap()]).is_err());
    }
}
