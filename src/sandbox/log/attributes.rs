//! Names of attributes where not every name will do.

/// The name of a journal's field for a label or variable: capitals, digits and underscores, none in
/// front (docker's rule). None when nothing is left of it.
pub fn journal_name(name: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches('_');
    // The journal takes no longer one, and none that begins with a digit.
    let valid = (1..=64).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| name.to_owned())
}
