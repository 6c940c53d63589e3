//! `.network`: a service that makes a network, unless it is there.

use super::draft::Draft;

pub fn fill(draft: &mut Draft<'_>) {
    let subnets = draft.entries("Subnet").len();
    for key in ["Gateway", "IPRange"] {
        let entries = draft.entries(key);
        if let Some(entry) = entries.get(subnets) {
            draft.problem(Some(entry), format!("there are more {key}= than Subnet="));
        }
    }
    let name = draft.source.resource().unwrap_or_default();
    let mut line = draft.line(vec!["--ignore".to_owned()]);
    line.push(name.clone());
    draft.once(&line, true);
    if draft.switch("NetworkDeleteOnStop") == Some(true) {
        draft.command("ExecStopPost", "", &["network".to_owned(), "rm".to_owned(), name]);
    }
}
