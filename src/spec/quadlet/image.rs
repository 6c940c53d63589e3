//! `.image`: a service that pulls an image.

use super::draft::Draft;

pub fn fill(draft: &mut Draft<'_>) {
    if let Some((entry, credentials)) = draft.text("Creds") {
        draft.warning(entry, "Creds= shows in the service, which others may read: use AuthFile=");
        draft.flag(entry, "--creds", Some(credentials));
    }
    let image = match draft.text("Image") {
        Some((_, image)) => image.to_owned(),
        None => {
            draft.problem(None, "Image= is not given");
            String::new()
        }
    };
    let mut line = draft.line(Vec::new());
    line.push(image);
    draft.once(&line, true);
}
