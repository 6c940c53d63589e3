//! The arithmetic of id maps (user_namespaces(7)).

use serde::{Deserialize, Serialize};

/// The most lines that the kernel takes.
pub const EXTENTS_MAX: usize = 340;
/// No id: (uid_t) -1.
const NO_ID: u64 = u32::MAX as u64;

/// One line of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

impl Extent {
    /// The first id inside that is beyond it.
    pub fn inside_end(&self) -> u64 {
        u64::from(self.inside) + u64::from(self.count)
    }

    /// The first id outside that is beyond it.
    pub fn outside_end(&self) -> u64 {
        u64::from(self.outside) + u64::from(self.count)
    }

    fn part(&self, from: u64, to: u64) -> Option<Self> {
        let skipped = u32::try_from(from).ok()?;
        let count = u32::try_from(to.checked_sub(from)?).ok().filter(|&count| count > 0)?;
        Some(Self { inside: self.inside.checked_add(skipped)?, outside: self.outside.checked_add(skipped)?, count })
    }
}

/// Why a map cannot be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMap {
    #[error("the ids {first} to {last} are not among those you may map, which are {available}")]
    Outside { first: u64, last: u64, available: String },
    #[error("the id {0} inside is mapped twice")]
    Inside(u64),
    #[error("the id {0} outside is mapped twice")]
    Twice(u64),
    #[error("an id beyond 4294967294 is mapped")]
    Beyond,
    #[error("the map has {0} parts, more than the {EXTENTS_MAX} that the kernel takes")]
    Parts(usize),
}

/// The id outside of an id inside.
pub fn look_up(extents: &[Extent], id: u32) -> Option<u32> {
    let extent = extents.iter().find(|extent| id >= extent.inside && id - extent.inside < extent.count)?;
    Some(extent.outside + (id - extent.inside))
}

/// The map the other way round.
pub fn inverse(extents: &[Extent]) -> Vec<Extent> {
    extents
        .iter()
        .map(|extent| Extent { inside: extent.outside, outside: extent.inside, count: extent.count })
        .collect()
}

/// Whether any id has another number outside.
pub fn is_shifted(extents: &[Extent]) -> bool {
    extents.iter().any(|extent| extent.inside != extent.outside)
}

/// The lowest id of `parent` that `extents` map nothing to.
pub fn spare(extents: &[Extent], parent: &[Extent]) -> Option<u32> {
    let mut used: Vec<(u64, u64)> =
        extents.iter().map(|extent| (u64::from(extent.outside), extent.outside_end())).collect();
    used.sort_unstable();
    let lowest = |from: &Extent| {
        let mut id = u64::from(from.inside);
        for (start, end) in &used {
            if id >= *start && id < *end {
                id = *end;
            }
        }
        (id < from.inside_end()).then_some(id)
    };
    parent.iter().filter_map(lowest).min().and_then(|id| u32::try_from(id).ok())
}

/// Makes of `extents` a map for a child namespace of the one that `parent` describes: each part
/// within one of `parent`'s (which the kernel demands), sorted, with no id twice.
pub fn fit(extents: &[Extent], parent: &[Extent]) -> Result<Vec<Extent>, InvalidMap> {
    let mut fitted = Vec::new();
    for extent in extents.iter().filter(|extent| extent.count > 0) {
        if extent.inside_end() > NO_ID || extent.outside_end() > NO_ID {
            return Err(InvalidMap::Beyond);
        }
        let mut done = 0;
        while done < u64::from(extent.count) {
            let id = u64::from(extent.outside) + done;
            let holds = |range: &&Extent| id >= u64::from(range.inside) && id < range.inside_end();
            let Some(range) = parent.iter().find(holds) else {
                let next = parent.iter().map(|range| u64::from(range.inside)).filter(|start| *start > id).min();
                let end = next.unwrap_or(u64::MAX).min(extent.outside_end());
                return Err(InvalidMap::Outside { first: id, last: end - 1, available: ranges(parent) });
            };
            let end = range.inside_end().min(extent.outside_end()) - u64::from(extent.outside);
            fitted.extend(extent.part(done, end));
            done = end;
        }
    }
    refuse_overlaps(&fitted)?;
    fitted.sort_by_key(|extent| extent.inside);
    if fitted.len() > EXTENTS_MAX {
        return Err(InvalidMap::Parts(fitted.len()));
    }
    Ok(fitted)
}

fn refuse_overlaps(extents: &[Extent]) -> Result<(), InvalidMap> {
    let overlap = |mut ranges: Vec<(u64, u64)>| {
        ranges.sort_unstable();
        ranges.windows(2).find(|pair| pair[1].0 < pair[0].1).map(|pair| pair[1].0)
    };
    let inside = extents.iter().map(|extent| (u64::from(extent.inside), extent.inside_end())).collect();
    let outside = extents.iter().map(|extent| (u64::from(extent.outside), extent.outside_end())).collect();
    match (overlap(inside), overlap(outside)) {
        (Some(id), _) => Err(InvalidMap::Inside(id)),
        (_, Some(id)) => Err(InvalidMap::Twice(id)),
        _ => Ok(()),
    }
}

/// `0 to 65536` for people.
fn ranges(parent: &[Extent]) -> String {
    let merged = merge(parent.iter().map(|range| Extent { outside: range.inside, ..*range }).collect());
    let texts = merged.iter().map(|range| match range.count {
        1 => range.inside.to_string(),
        _ => format!("{} to {}", range.inside, range.inside_end() - 1),
    });
    texts.collect::<Vec<String>>().join(" and ")
}

/// Sorted by the ids inside, with neighbours made one.
pub(super) fn merge(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_by_key(|extent| extent.inside);
    let mut merged: Vec<Extent> = Vec::new();
    for extent in extents {
        match merged.last_mut() {
            Some(last)
                if last.inside_end() == u64::from(extent.inside) && last.outside_end() == u64::from(extent.outside) =>
            {
                last.count = last.count.saturating_add(extent.count);
            }
            _ => merged.push(extent),
        }
    }
    merged
}

/// Adds an extent that takes its ids, of both sides, away from those that were there.
pub(super) fn take_over(extents: &mut Vec<Extent>, new: Extent) {
    let mut kept = Vec::new();
    for extent in extents.drain(..) {
        let cut = |start: u32, end: u64, base: u32| {
            let relative = |id: u64| id.saturating_sub(u64::from(base)).min(u64::from(extent.count));
            (relative(u64::from(start)), relative(end))
        };
        let mut cuts =
            [cut(new.inside, new.inside_end(), extent.inside), cut(new.outside, new.outside_end(), extent.outside)];
        cuts.sort_unstable();
        let mut from = 0;
        for (start, end) in cuts.into_iter().filter(|(start, end)| start < end) {
            kept.extend(extent.part(from, start.max(from)));
            from = from.max(end);
        }
        kept.extend(extent.part(from, u64::from(extent.count)));
    }
    kept.push(new);
    *extents = kept;
}

/// Gives every id of `parent` that has none yet the lowest free number inside.
pub(super) fn fill(extents: Vec<Extent>, parent: &[Extent]) -> Vec<Extent> {
    let mut used: Vec<(u64, u64)> =
        extents.iter().map(|extent| (u64::from(extent.outside), extent.outside_end())).collect();
    used.sort_unstable();
    let mut free: Vec<(u64, u64)> = Vec::new();
    for range in parent {
        let mut from = u64::from(range.inside);
        for (start, end) in &used {
            let start = (*start).clamp(from, range.inside_end());
            if start > from {
                free.push((from, start));
            }
            from = from.max((*end).min(range.inside_end()));
        }
        if from < range.inside_end() {
            free.push((from, range.inside_end()));
        }
    }
    free.sort_unstable();
    let mut given = extents.clone();
    given.sort_by_key(|extent| extent.inside);
    let mut filled = given.clone();
    let (mut next, mut given) = (0u64, given.into_iter().peekable());
    for (mut from, end) in free {
        while from < end {
            while let Some(extent) = given.next_if(|extent| u64::from(extent.inside) <= next) {
                next = next.max(extent.inside_end());
            }
            let room = given.peek().map_or(NO_ID, |extent| u64::from(extent.inside)).saturating_sub(next);
            let count = room.min(end - from);
            let (Ok(inside), Ok(outside), Ok(count)) = (u32::try_from(next), u32::try_from(from), u32::try_from(count))
            else {
                return filled;
            };
            if count == 0 {
                return filled;
            }
            filled.push(Extent { inside, outside, count });
            next += u64::from(count);
            from += u64::from(count);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    /// The map of the user's namespace: the caller and two ranges.
    fn parent() -> Vec<Extent> {
        vec![e(0, 1000, 1), e(1, 100_000, 65_536), e(65_537, 300_000, 10)]
    }

    #[test]
    fn parts_lie_within_one_part_of_the_parents() {
        assert_eq!(fit(&[e(0, 0, 65_537)], &parent()), Ok(vec![e(0, 0, 1), e(1, 1, 65_536)]));
        assert_eq!(fit(&[e(10, 65_530, 17)], &parent()), Ok(vec![e(10, 65_530, 7), e(17, 65_537, 10)]));
        assert_eq!(fit(&[e(5, 1, 0)], &parent()), Ok(vec![]));
        let error = fit(&[e(0, 65_540, 100)], &parent()).unwrap_err();
        assert_eq!(error.to_string(), "the ids 65547 to 65639 are not among those you may map, which are 0 to 65546");
        assert_eq!(fit(&[e(0, 0, 1), e(0, 1, 1)], &parent()), Err(InvalidMap::Inside(0)));
        assert_eq!(fit(&[e(0, 1, 10), e(20, 10, 5)], &parent()), Err(InvalidMap::Twice(10)));
        assert_eq!(fit(&[e(u32::MAX - 1, 0, 2)], &parent()), Err(InvalidMap::Beyond));
        assert_eq!(fit(&[e(u32::MAX, 0, 1)], &parent()), Err(InvalidMap::Beyond));
        let many: Vec<Extent> = (0..400).map(|n| e(2 * n, 1 + 2 * n, 1)).collect();
        assert_eq!(fit(&many, &parent()), Err(InvalidMap::Parts(400)));
    }

    #[test]
    fn an_extent_takes_its_ids_from_the_others() {
        let mut extents = vec![e(0, 0, 65_000)];
        take_over(&mut extents, e(100_000, 1, 1));
        assert_eq!(merge(extents), [e(0, 0, 1), e(2, 2, 64_998), e(100_000, 1, 1)]);
        let mut extents = vec![e(0, 0, 100)];
        take_over(&mut extents, e(10, 50, 5));
        assert_eq!(merge(extents), [e(0, 0, 10), e(10, 50, 5), e(15, 15, 35), e(55, 55, 45)]);
        let mut extents = vec![e(0, 0, 10), e(20, 20, 10)];
        take_over(&mut extents, e(5, 5, 20));
        assert_eq!(merge(extents), [e(0, 0, 30)]);
        let mut extents = vec![e(0, 0, 10)];
        take_over(&mut extents, e(0, 0, 10));
        assert_eq!(extents, [e(0, 0, 10)]);
    }

    #[test]
    fn what_is_left_is_filled_in() {
        assert_eq!(fill(vec![], &[e(0, 9, 5)]), [e(0, 0, 5)]);
        let filled = merge(fill(vec![e(1000, 0, 1)], &[e(0, 9, 1), e(1, 50, 2000)]));
        assert_eq!(filled, [e(0, 1, 1000), e(1000, 0, 1), e(1001, 1001, 1000)]);
        assert_eq!(merge(fill(vec![e(0, 3, 2)], &[e(0, 9, 6)])), [e(0, 3, 2), e(2, 0, 3), e(5, 5, 1)]);
    }

    #[test]
    fn a_spare_id_is_one_that_nothing_is_mapped_to() {
        assert_eq!(spare(&[e(0, 1, 1024)], &parent()), Some(0));
        assert_eq!(spare(&[e(0, 0, 10)], &parent()), Some(10));
        assert_eq!(spare(&[e(0, 0, 65_547)], &parent()), None);
    }

    /// Random maps: what is fitted says the same as what was asked for, and backwards.
    #[test]
    fn maps_and_their_inverses_agree() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below) as u32
        };
        for _ in 0..2000 {
            let mut asked = Vec::new();
            for _ in 0..random(6) {
                take_over(&mut asked, e(random(300), random(250), 1 + random(60)));
            }
            let parent = [e(0, 7, 1), e(1, 500, 1 + random(150)), e(200, 900, 150)];
            let covered = |id: u32| look_up(&parent, id).is_some();
            let whole = asked.iter().all(|extent| (0..extent.count).all(|n| covered(extent.outside + n)));
            let Ok(fitted) = fit(&asked, &parent) else {
                assert!(!whole, "{asked:?} {parent:?}");
                continue;
            };
            assert!(whole);
            let back = inverse(&fitted);
            for id in 0..400 {
                assert_eq!(look_up(&fitted, id), look_up(&asked, id));
                if let Some(outside) = look_up(&fitted, id) {
                    assert_eq!(look_up(&back, outside), Some(id));
                }
            }
            assert_eq!(inverse(&back), fitted);
            for extent in &fitted {
                let holders = parent
                    .iter()
                    .filter(|range| extent.outside >= range.inside && extent.outside_end() <= range.inside_end());
                assert_eq!(holders.count(), 1);
            }
            let full = fill(fitted.clone(), &parent);
            assert!(fit(&full, &parent).is_ok(), "{full:?}");
            assert_eq!(spare(&full, &parent), None, "{full:?}");
            if let Some(id) = spare(&fitted, &parent) {
                assert_eq!(look_up(&back, id), None);
            }
        }
    }
}
