//! `.volume`: a service that makes a volume, unless it is there.

use super::draft::Draft;

pub fn fill(draft: &mut Draft<'_>) {
    match draft.text("Driver") {
        // Image= says what to do instead.
        Some((_, "image")) if draft.text("Image").is_some() => {}
        Some((entry, "image")) => draft.problem(Some(entry), "Driver=image needs Image="),
        Some((entry, name)) => draft.flag(entry, "--driver", Some(name)),
        None => {}
    }
    let is_bound = draft.text("Type").is_some_and(|(_, kind)| kind == "bind");
    if is_bound && let Some((_, device)) = draft.text("Device") {
        draft.unit("RequiresMountsFor", device);
    }
    for (key, flag) in [("UID", "--uid"), ("User", "--uid"), ("GID", "--gid"), ("Group", "--gid")] {
        match draft.text(key) {
            Some((entry, _)) if is_bound => {
                draft.warning(entry, format!("{key}= has no effect: a directory of the host's keeps its owner"));
            }
            Some((entry, "root")) => draft.flag(entry, flag, Some("0")),
            Some((entry, id)) if id.parse::<u32>().is_err() => {
                draft.problem(Some(entry), format!("{key}={id} is no number: who that is depends on the container"));
            }
            Some((entry, id)) => draft.flag(entry, flag, Some(id)),
            None => {}
        }
    }
    for (key, option) in [("Device", "device"), ("Type", "type"), ("Options", "o")] {
        if let Some((entry, value)) = draft.text(key) {
            if key != "Device" && draft.text("Device").is_none() {
                draft.problem(Some(entry), format!("{key}= needs Device="));
            }
            draft.flag(entry, "--opt", Some(&format!("{option}={value}")));
        }
    }
    if let Some(copy) = draft.switch("Copy")
        && let Some((entry, _)) = draft.text("Copy")
    {
        draft.flag(entry, "--opt", Some(if copy { "copy" } else { "nocopy" }));
    }
    let name = draft.source.resource().unwrap_or_default();
    let mut line = draft.line(vec!["--ignore".to_owned()]);
    line.push(name);
    draft.once(&line, true);
}
