//! Names by which a layer says what it hides of the layers below (OCI image-spec, layer.md,
//! "Whiteouts").

use anyhow::{Result, bail};

const PREFIX: &[u8] = b".wh.";
/// Names that AUFS, where whiteouts come from, keeps for itself.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name that is no ordinary one stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// The directory hides everything that lower layers have in it.
    Opaque,
    /// The directory's entry of this name is hidden.
    Deleted(&'a [u8]),
    /// Left over from AUFS, without meaning in an image.
    Bookkeeping,
}

impl<'a> Whiteout<'a> {
    /// Looks at the entry `name` of the directory `parent`; None for an ordinary one.
    pub fn of(parent: &[u8], name: &'a [u8]) -> Result<Option<Self>> {
        let mut above = parent.split(|&byte| byte == b'/').filter(|component| component.starts_with(PREFIX));
        if let Some(component) = above.next() {
            return match component.starts_with(RESERVED) {
                true => Ok(Some(Self::Bookkeeping)),
                false => bail!("the name goes through a whiteout"),
            };
        }
        match name.strip_prefix(PREFIX) {
            None => Ok(None),
            Some(_) if name == OPAQUE => Ok(Some(Self::Opaque)),
            Some(_) if name.starts_with(RESERVED) => Ok(Some(Self::Bookkeeping)),
            Some(b"" | b"." | b"..") => bail!("a whiteout without a name"),
            Some(deleted) => Ok(Some(Self::Deleted(deleted))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_told_from_ordinary_names() {
        assert_eq!(Whiteout::of(b"a", b"b").unwrap(), None);
        assert_eq!(Whiteout::of(b"a", b".who").unwrap(), None);
        assert_eq!(Whiteout::of(b"a", b".wh.b").unwrap(), Some(Whiteout::Deleted(b"b")));
        assert_eq!(Whiteout::of(b"", b".wh..wh..opq").unwrap(), Some(Whiteout::Opaque));
        assert_eq!(Whiteout::of(b"", b".wh..wh.plnk").unwrap(), Some(Whiteout::Bookkeeping));
        assert_eq!(Whiteout::of(b".wh..wh.plnk", b"12.34").unwrap(), Some(Whiteout::Bookkeeping));
        for (parent, name) in [("", ".wh."), ("", ".wh.."), ("", ".wh..."), ("a/.wh.b", "c")] {
            assert!(Whiteout::of(parent.as_bytes(), name.as_bytes()).is_err(), "{parent}/{name}");
        }
    }
}
