//! `.build`: a service that builds an image.

use super::draft::Draft;
use super::mounts;

pub fn fill(draft: &mut Draft<'_>) {
    if !(draft.host.has)("build", "") {
        draft.problem(None, "this version of rbox builds no images");
    }
    if draft.entries("ImageTag").is_empty() {
        draft.problem(None, "ImageTag= is not given");
    }
    mounts::networks(draft);
    mounts::volumes(draft);
    let context = context(draft);
    let mut line = draft.line(Vec::new());
    line.push(context);
    // With each start of what needs it an image is built anew, if what it is made of has changed.
    draft.once(&line, false);
}

/// The directory that is built; without one, that of the file that says how.
fn context(draft: &mut Draft<'_>) -> String {
    let file = draft.text("File");
    let is_address = |text: &str| text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/");
    let (context, in_context) = match draft.text("SetWorkingDirectory") {
        Some((_, "unit")) => (draft.source.directory().to_owned(), false),
        Some((entry, "file")) => match file {
            Some((_, file)) => (parent(&draft.path(file)), false),
            None => {
                draft.problem(Some(entry), "SetWorkingDirectory=file needs File=");
                (String::new(), false)
            }
        },
        Some((_, address)) if is_address(address) => (address.to_owned(), true),
        Some((_, path)) => (draft.path(path), true),
        None => match file {
            Some((_, address)) if is_address(address) => return address.to_owned(),
            Some((_, file)) => (parent(&draft.path(file)), false),
            None => match draft.source.unit.last("Service", "WorkingDirectory") {
                Some(entry) => (entry.value.clone(), true),
                None => {
                    draft.problem(None, "neither File= nor SetWorkingDirectory= is given");
                    (String::new(), false)
                }
            },
        },
    };
    if let Some((entry, file)) = file {
        let path = if in_context { file.to_owned() } else { draft.path(file) };
        draft.flag(entry, "--file", Some(&path));
    }
    context
}

fn parent(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
    }
}
