//! Where copies go.

/// The last word of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Absolute, as seen from the root; links are resolved when it is used.
    pub path: Vec<u8>,
    /// It was written as a directory: with a slash or a dot at its end.
    pub directory: bool,
}

impl Destination {
    /// `text` as written, variables expanded; relative to the working directory.
    pub fn new(working_directory: &str, text: &str) -> Self {
        let path = match text.strip_prefix('/') {
            Some(_) => text.to_owned(),
            None => format!("/{working_directory}/{text}"),
        };
        let directory = text.is_empty() || matches!(text.rsplit('/').next(), Some("" | "." | ".."));
        let parts = super::pattern::components(path.as_bytes()).join(&b'/');
        Self { path: [b"/", parts.as_slice()].concat(), directory: directory || parts.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_relative_to_the_working_directory() {
        for (text, path, directory) in [
            ("/a/b", "/a/b", false),
            ("/a/b/", "/a/b", true),
            (".", "/work/dir", true),
            ("./", "/work/dir", true),
            ("x", "/work/dir/x", false),
            ("x/.", "/work/dir/x", true),
            ("../x", "/work/x", false),
            ("/../../x", "/x", false),
            ("/", "/", true),
        ] {
            let expected = Destination { path: path.into(), directory };
            assert_eq!(Destination::new("/work/dir", text), expected, "{text}");
        }
        assert_eq!(Destination::new("", "x").path, b"/x");
    }
}
