//! Processes that get no time until they are let go on.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Group, write};

/// How long the last of them may take to stand still.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

impl Group {
    /// Whether there is a freezer.
    pub fn can_freeze(&self) -> bool {
        self.freezer().is_some()
    }

    /// The file that freezes, and what it takes for yes and no.
    fn freezer(&self) -> Option<(PathBuf, [&'static str; 2])> {
        let unified = self.unified.as_deref().map(|directory| (directory.join("cgroup.freeze"), ["1", "0"]));
        let legacy = || {
            let directory = self.legacy.iter().find(|(names, _)| names.split(',').any(|name| name == "freezer"))?;
            Some((directory.1.join("freezer.state"), ["FROZEN", "THAWED"]))
        };
        unified.filter(|(file, _)| file.exists()).or_else(legacy)
    }

    /// Lets whoever is left go on.
    pub fn thaw(&self) {
        if let Some((file, [_, thawed])) = self.freezer().filter(|(file, _)| file.ends_with("freezer.state")) {
            let _ = write(&file, thawed);
        }
    }

    /// Freezes all processes, or lets them go on; returns when it is so.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        let (file, words) = self.freezer().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let word = words[usize::from(!frozen)];
        write(&file, word)?;
        let is_done = || -> io::Result<bool> {
            Ok(match words {
                ["FROZEN", _] => std::fs::read_to_string(&file)?.trim() == word,
                _ => std::fs::read_to_string(file.with_file_name("cgroup.events"))?
                    .lines()
                    .any(|line| line.strip_prefix("frozen ") == Some(word)),
            })
        };
        let deadline = Instant::now() + PATIENCE;
        while !is_done()? {
            if Instant::now() > deadline {
                let _ = write(&file, words[usize::from(frozen)]);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its processes do not stand still"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
