//! Which known word was meant by one that is not known.

/// The known word that a slip of the fingers makes of it: one mistake in a short word, two in a
/// longer one, or the rest left out.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = typed.chars().count();
    let allowed = match length {
        0 | 1 => return None,
        2..=4 => 1,
        _ => 2,
    };
    let distances = known.iter().map(|name| (distance(typed, name), *name));
    let close = distances.filter(|(distance, _)| *distance <= allowed).min();
    let begun = || known.iter().copied().filter(|name| length > 2 && name.starts_with(typed)).min();
    close.map(|(_, name)| name).or_else(begun)
}

/// How many letters must be added, left out, replaced or swapped with their neighbour (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (a, b, expected) in
            [("run", "run", 0), ("rnu", "run", 1), ("", "abc", 3), ("stpo", "stop", 1), ("ca", "abc", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_likely_word_is_suggested() {
        let known = ["run", "rm", "rmi", "exec", "images", "inspect", "version"];
        for (typed, expected) in [
            ("rnu", Some("run")),
            ("runn", Some("run")),
            ("rmm", Some("rm")),
            ("iamges", Some("images")),
            ("insp", Some("inspect")),
            ("exce", Some("exec")),
            ("vresoin", Some("version")),
            ("x", None),
            ("in", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), expected, "{typed}");
        }
    }
}
