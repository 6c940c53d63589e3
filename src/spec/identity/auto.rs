//! `--userns auto`: how many ids a container gets, and which.

use super::Maps;
use super::map::{self, Extent};
use super::userns::{self, AutoOptions, InvalidUserns};

/// What containers/storage gives at least and at most where nothing is said.
pub const SIZE_MIN: u32 = 1024;
pub const SIZE_MAX: u32 = 65_536;
/// Everywhere, and of no account for the size.
const NOBODY: u32 = 65_534;

/// The size for an image with these account files.
pub fn size_for(passwd: &str, group: &str) -> u32 {
    let ids = |text: &str, fields: &[usize]| -> Option<u32> {
        let of_line = |line: &str| {
            let words: Vec<&str> = line.split(':').collect();
            let ids = fields.iter().filter_map(|&field| words.get(field)?.parse().ok());
            ids.filter(|&id| id != NOBODY).max()
        };
        text.lines().filter_map(of_line).max()
    };
    let largest = ids(passwd, &[2, 3]).into_iter().chain(ids(group, &[2])).max().unwrap_or(0);
    largest.saturating_add(1).clamp(SIZE_MIN, SIZE_MAX)
}

/// Takes the lowest free ids. `held` are the ids that other containers hold, as (first, end); `size`
/// is what the image needs.
pub fn lease(options: &AutoOptions, size: u32, parent: &Maps, held: &[(u64, u64)]) -> Result<Maps, InvalidUserns> {
    let size = options.size.unwrap_or(size);
    let additional = userns::additional(options, parent)?;
    let mut taken = held.to_vec();
    let outsides = additional.uids.iter().chain(&additional.gids);
    taken.extend(outsides.map(|extent| (u64::from(extent.outside), extent.outside_end())));
    let first = lowest_free(size, parent, &mut taken)?;
    let whole = Extent { inside: 0, outside: first, count: size };
    let with = |kind, additional: &[Extent], parent: &[Extent]| {
        let mut extents = vec![whole];
        additional.iter().for_each(|extent| map::take_over(&mut extents, *extent));
        map::fit(&extents, parent).map_err(|reason| InvalidUserns::Map { kind, reason })
    };
    Ok(Maps { uids: with("UID", &additional.uids, &parent.uids)?, gids: with("GID", &additional.gids, &parent.gids)? })
}

/// The ids that leased maps hold.
pub fn held(maps: &Maps) -> impl Iterator<Item = (u64, u64)> + '_ {
    maps.uids.iter().chain(&maps.gids).map(|extent| (u64::from(extent.outside), extent.outside_end()))
}

/// The first of `size` ids in a row, users and groups alike, without the caller's.
fn lowest_free(size: u32, parent: &Maps, taken: &mut [(u64, u64)]) -> Result<u32, InvalidUserns> {
    let end = |extents: &[Extent]| extents.iter().map(Extent::inside_end).max().unwrap_or(0);
    let end = end(&parent.uids).min(end(&parent.gids));
    taken.sort_unstable();
    let mut first = 1;
    for &(start, after) in taken.iter() {
        if start < first + u64::from(size) && after > first {
            first = after;
        }
    }
    match u32::try_from(first) {
        Ok(first) if u64::from(first) + u64::from(size) <= end => Ok(first),
        _ => {
            let mut upto = 1;
            let held = taken.iter().map(|&(start, after)| {
                let fresh = after.saturating_sub(start.max(upto));
                upto = upto.max(after);
                fresh
            });
            Err(InvalidUserns::Exhausted { wanted: size, total: end.saturating_sub(1), held: held.sum() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    fn parent() -> Maps {
        let extents = vec![e(0, 1000, 1), e(1, 100_000, 65_536)];
        Maps { uids: extents.clone(), gids: extents }
    }

    #[test]
    fn an_image_needs_what_its_accounts_have() {
        assert_eq!(size_for("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:\n", ""), SIZE_MIN);
        assert_eq!(size_for("a:x:5000:5000::/:\nbad\n", "g:x:6000:\n"), 6001);
        assert_eq!(size_for("a:x:100000:1::/:\n", ""), SIZE_MAX);
    }

    #[test]
    fn the_lowest_free_range_is_taken() {
        let auto = AutoOptions::default();
        let first = lease(&auto, 1024, &parent(), &[]).unwrap();
        assert_eq!((first.uids.as_slice(), first.gids.as_slice()), (&[e(0, 1, 1024)][..], &[e(0, 1, 1024)][..]));
        let mut taken: Vec<(u64, u64)> = held(&first).collect();
        let second = lease(&auto, 1024, &parent(), &taken).unwrap();
        assert_eq!(second.uids, [e(0, 1025, 1024)]);
        taken = held(&second).collect();
        assert_eq!(lease(&auto, 1024, &parent(), &taken).unwrap(), first, "the hole is used again");
        assert_eq!(lease(&auto, 2048, &parent(), &taken).unwrap().uids, [e(0, 2049, 2048)]);
        let all = AutoOptions { size: Some(65_536), ..AutoOptions::default() };
        assert_eq!(lease(&all, 1, &parent(), &[]).unwrap().uids, [e(0, 1, 65_536)]);
        let error = lease(&all, 1, &parent(), &taken).unwrap_err();
        assert_eq!(error, InvalidUserns::Exhausted { wanted: 65_536, total: 65_536, held: 1024 });
    }

    #[test]
    fn pieces_that_were_asked_for_are_in_the_range() {
        let options = AutoOptions { size: Some(100), uids: vec!["50:@1000:1".into()], gids: vec!["7:30000".into()] };
        let maps = lease(&options, 1, &parent(), &[]).unwrap();
        assert_eq!(maps.uids, [e(0, 1, 50), e(50, 0, 1), e(51, 52, 49)]);
        assert_eq!(maps.gids, [e(0, 1, 7), e(7, 30_000, 1), e(8, 9, 92)]);
    }
}
