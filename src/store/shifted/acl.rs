//! Ids in access control lists (linux/posix_acl_xattr.h).

/// The extended attributes that hold one.
const PREFIX: &[u8] = b"system.posix_acl_";
const HEADER: usize = 4;
const ENTRY: usize = 8;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// The value of an attribute with the ids of named users and groups mapped.
pub fn mapped(name: &[u8], value: &[u8], uid: impl Fn(u32) -> u32, gid: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut value = value.to_vec();
    if !name.starts_with(PREFIX) || value.len() < HEADER {
        return value;
    }
    for entry in value[HEADER..].chunks_exact_mut(ENTRY) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let new = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER => uid(id),
            GROUP => gid(id),
            _ => continue,
        };
        entry[4..].copy_from_slice(&new.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_users_and_groups_are_mapped() {
        let entry = |tag: u16, id: u32| [tag.to_le_bytes().to_vec(), vec![6, 0], id.to_le_bytes().to_vec()].concat();
        let list = |uid, gid| {
            [vec![2, 0, 0, 0], entry(1, u32::MAX), entry(USER, uid), entry(GROUP, gid), entry(0x20, u32::MAX)].concat()
        };
        let map = |name: &[u8]| mapped(name, &list(5, 6), |uid| uid + 100, |gid| gid + 200);
        assert_eq!(map(b"system.posix_acl_access"), list(105, 206));
        assert_eq!(map(b"user.other"), list(5, 6));
        assert_eq!(mapped(b"system.posix_acl_default", &[2], |id| id, |id| id), [2]);
    }
}
