//! Descriptors that a process is given: sockets that systemd opened for it (sd_listen_fds(3)), and the
//! values of `--preserve-fd` and `--preserve-fds`.

use std::collections::BTreeSet;

/// The first number that is no standard stream.
pub const FIRST: i32 = 3;
/// No process has more, unless its administrator raised the kernel's limit of it (fs.nr_open).
const COUNT_MAX: u32 = 1 << 20;

/// Sockets that were opened for this process: descriptors from [`FIRST`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub count: u32,
    /// `LISTEN_FDNAMES` as it came.
    pub names: Option<String>,
}

/// Why descriptors cannot be passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDescriptors {
    #[error("LISTEN_FDS={0:?} is no number of descriptors")]
    Count(String),
    #[error("invalid descriptor {0:?} for --preserve-fd: give numbers from 3 on, separated by commas")]
    Number(String),
    #[error("--preserve-fds {0}: there cannot be so many descriptors")]
    Many(u32),
}

impl Listen {
    /// What the environment offers to the process `pid`; nothing where it means another one.
    pub fn offered(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Option<Self>, InvalidDescriptors> {
        if variable("LISTEN_PID").is_none_or(|value| value.parse() != Ok(pid)) {
            return Ok(None);
        }
        let Some(count) = variable("LISTEN_FDS") else { return Ok(None) };
        match count.parse() {
            Ok(0) => Ok(None),
            Ok(number) if number <= COUNT_MAX => Ok(Some(Self { count: number, names: variable("LISTEN_FDNAMES") })),
            _ => Err(InvalidDescriptors::Count(count)),
        }
    }

    /// The numbers of the descriptors.
    pub fn numbers(&self) -> impl Iterator<Item = i32> {
        FIRST..FIRST + self.count as i32
    }

    /// The variables for a process that has them, and the pid `pid`.
    pub fn environment(&self, pid: u32) -> Vec<String> {
        let mut all = vec![format!("LISTEN_PID={pid}"), format!("LISTEN_FDS={}", self.count)];
        all.extend(self.names.iter().map(|names| format!("LISTEN_FDNAMES={names}")));
        all
    }
}

/// The numbers that `--preserve-fds COUNT` and `--preserve-fd LIST...` name.
pub fn preserved(count: u32, lists: &[String]) -> Result<BTreeSet<i32>, InvalidDescriptors> {
    if count > COUNT_MAX {
        return Err(InvalidDescriptors::Many(count));
    }
    let mut numbers: BTreeSet<i32> = (FIRST..FIRST + count as i32).collect();
    for word in lists.iter().flat_map(|list| list.split(',')) {
        match word.trim().parse() {
            Ok(number) if number >= FIRST => numbers.insert(number),
            _ => return Err(InvalidDescriptors::Number(word.to_owned())),
        };
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(variables: &[(&str, &str)]) -> Result<Option<Listen>, InvalidDescriptors> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Listen::offered(find, 42)
    }

    #[test]
    fn what_is_offered() {
        let both = [("LISTEN_PID", "42"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")];
        let listen = offered(&both).unwrap().unwrap();
        assert_eq!(listen.numbers().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(listen.environment(7), ["LISTEN_PID=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"]);
        for nothing in [&both[1..], &both[..1], &[("LISTEN_PID", "41"), ("LISTEN_FDS", "x")], &[("LISTEN_PID", "")]] {
            assert_eq!(offered(nothing), Ok(None));
        }
        assert_eq!(offered(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "0")]), Ok(None));
        for wrong in ["", "-1", "x", "4294967295"] {
            let error = offered(&[("LISTEN_PID", "42"), ("LISTEN_FDS", wrong)]).unwrap_err();
            assert_eq!(error.to_string(), format!("LISTEN_FDS={wrong:?} is no number of descriptors"));
        }
    }

    #[test]
    fn what_is_preserved() {
        let lists = |lists: &[&str]| lists.iter().map(|list| (*list).to_owned()).collect::<Vec<_>>();
        let numbers = preserved(2, &lists(&["9,5", "4"])).unwrap();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [3, 4, 5, 9]);
        assert!(preserved(0, &[]).unwrap().is_empty());
        for wrong in ["", "2", "x", "3,,4", "-3", "3 4"] {
            assert!(preserved(0, &lists(&[wrong])).is_err(), "{wrong}");
        }
        assert_eq!(preserved(u32::MAX, &[]), Err(InvalidDescriptors::Many(u32::MAX)));
    }
}
