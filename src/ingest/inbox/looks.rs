//! Which files of an inbox are whole: names that say they are not are passed over, moving sizes are left alone.
//!
//! Pure. A file is taken when two looks at least `settle` apart found the same length and time of modification, or
//! when the kernel said that its writer closed it or that it was renamed into place. That is a guess, as every such
//! rule is; a writer that must not be guessed about writes under a dot name or `.tmp`/`.part`, then renames.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use laked_catalog::store::Stat;

/// Whether a name says that its file is not finished, or not meant for us.
pub fn is_ignored(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let lower = name.to_ascii_lowercase();
    name.starts_with('.') || lower.ends_with(".tmp") || lower.ends_with(".part") || name.ends_with('~')
}

#[derive(Clone, Copy, Debug)]
struct Look {
    len: u64,
    modified: SystemTime,
    since: Duration,
}

/// What was seen of a folder's files before.
#[derive(Debug, Default)]
pub struct Looks {
    seen: HashMap<OsString, Look>,
}

impl Looks {
    /// The names that are whole at `now` (monotonic), oldest modification first, then by name; `closed` tells which
    /// names the kernel reported as closed or renamed into place since the last look.
    pub fn whole(
        &mut self,
        listed: &[(OsString, Stat)],
        closed: &dyn Fn(&OsStr) -> bool,
        now: Duration,
        settle: Duration,
    ) -> Vec<OsString> {
        let mut seen = HashMap::with_capacity(listed.len());
        let mut whole = Vec::new();
        for (name, stat) in listed.iter().filter(|(name, stat)| stat.is_file && !is_ignored(name)) {
            let same = self.seen.get(name).filter(|l| l.len == stat.len && l.modified == stat.modified);
            let since = same.map_or(now, |l| l.since);
            if closed(name) || now.saturating_sub(since) >= settle && same.is_some() {
                whole.push((stat.modified, name.clone()));
            }
            seen.insert(name.clone(), Look { len: stat.len, modified: stat.modified, since });
        }
        self.seen = seen;
        whole.sort();
        whole.into_iter().map(|(_, name)| name).collect()
    }

    /// Whether there are files that may become whole without another event.
    pub fn is_waiting(&self) -> bool {
        !self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, len: u64) -> (OsString, Stat) {
        (name.into(), Stat { len, modified: SystemTime::UNIX_EPOCH, is_dir: false, is_file: true })
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_moving_file_is_left_alone() {
        let mut looks = Looks::default();
        let never = |_: &OsStr| false;
        assert!(looks.whole(&[file("a", 1)], &never, at(0), at(1000)).is_empty());
        assert!(looks.whole(&[file("a", 2)], &never, at(2000), at(1000)).is_empty());
        assert!(looks.whole(&[file("a", 2)], &never, at(2999), at(1000)).is_empty());
        assert_eq!(looks.whole(&[file("a", 2)], &never, at(3000), at(1000)), ["a"]);
    }

    #[test]
    fn a_closed_file_is_taken_at_once() {
        let mut looks = Looks::default();
        let closed = |name: &OsStr| name == "a";
        assert_eq!(looks.whole(&[file("a", 1), file("b", 1)], &closed, at(0), at(1000)), ["a"]);
    }

    #[test]
    fn names_that_say_unfinished_are_passed_over() {
        for name in [".hidden", "a.tmp", "a.csv.part", "A.PART", "a~"] {
            assert!(is_ignored(OsStr::new(name)), "{name}");
        }
        assert!(!is_ignored(OsStr::new("part.csv")));
    }
}
