//! podman's and CRI's file format: `TIME stdout|stderr P|F TEXT`, where P is a part of a line and F its
//! end. The text is as the container wrote it.

use super::{Piece, Stamp};

pub(super) fn encode(out: &mut Vec<u8>, piece: Piece<'_>, stamp: &Stamp) {
    out.extend_from_slice(stamp.text.as_bytes());
    // podman reads a zone in digits only.
    out.extend_from_slice(b"+00:00 ");
    out.extend_from_slice(piece.stream.name().as_bytes());
    out.extend_from_slice(if piece.ends { b" F " } else { b" P " });
    out.extend_from_slice(piece.text);
    out.push(b'\n');
}
