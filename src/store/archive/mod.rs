//! Images as files: what `save` writes, `load` and `import` read. docker's archives of all ages,
//! OCI layouts as a directory or an archive, and skopeo's directories.
//!
//! An archive is foreign: its names choose no path on disk, every document has a size limit, and
//! what it says of its contents is verified on the way into the store.

mod contents;
mod decode;
mod import;
mod layout;
mod load;
mod members;
mod output;
mod save;
mod tarball;
#[cfg(test)]
mod tests;

pub use contents::Contents;
pub use decode::{Packing, decoded};
pub use import::{Import, Imported, import};
pub use layout::{Changing, Layout};
pub use load::{Entry, LoadOptions, Loaded, LoadedImage, load};
pub use output::{NewFile, Output};
pub use save::{Format, LayerForm, SaveOptions, Selected, save};

/// The most that a document of an archive may hold, as the registry client has it.
const DOCUMENT_MAX: u64 = 4 << 20;

/// docker's list of the images in an archive; the manifest itself in skopeo's directories.
const MANIFEST: &str = "manifest.json";
/// docker's list of old, from names to layers.
const REPOSITORIES: &str = "repositories";
/// OCI image-layout: the version, and what is in it.
const LAYOUT: &str = "oci-layout";
const LAYOUT_VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "index.json";

/// The whole name of an image, as containerd and docker write and read it.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// Its tag (OCI image-spec, annotations.md); podman and skopeo have the whole name here.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Where an OCI layout has a blob.
fn blob_name(digest: crate::spec::digest::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
