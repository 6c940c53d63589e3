//! `.volume`: a service that makes a volume, unless it is there.

use super::draft::Draft;

pub fn fill(draft: &mut Draft<'_>) {
    let image = draft.text("Image");
    let driver = draft.text("Driver");
    if let Some((entry, name)) = driver {
        draft.flag(entry, "--driver", Some(name));
    }
    match image {
        Some((entry, image)) if driver.is_some_and(|(_, driver)| driver == "image") => {
            let image = super::mounts::image(draft, entry, image);
            draft.flag(entry, "--opt", Some(&format!("image={image}")));
        }
        Some((entry, _)) => draft.problem(Some(entry), "Image= needs Driver=image"),
        None => {
            if let Some((entry, _)) = driver.filter(|(_, driver)| *driver == "image") {
                draft.problem(Some(entry), "Driver=image needs Image=");
            }
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
    draft.once(&line);
}
