//! Finished files go when their days are over.
//!
//! They count from when the file was first seen here, because its own time of modification is its writer's and may be
//! years ago; `.seen.json` in `done/`, `failed/` and `duplicate/` keeps those times.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Inbox;
use super::looks::is_ignored;
use crate::error::Result;
use crate::ingest::durable;

/// When each finished file was first seen.
pub(super) const SEEN: &str = ".seen.json";
/// Finished files are looked through this often.
pub(super) const EVERY: Duration = Duration::from_secs(3600);

impl Inbox {
    /// Removes finished files whose days are over.
    pub fn expire(&self) -> Result<()> {
        for folder in ["done", "failed", "duplicate"] {
            self.expire_folder(&self.place.lake.join(folder).join(&self.place.table_name))?;
        }
        Ok(())
    }

    fn expire_folder(&self, dir: &Path) -> Result<()> {
        let disk = self.place.system.disk.as_ref();
        let now = self.place.system.clock.now_ms();
        let kept = i64::try_from(self.place.kept.as_millis()).unwrap_or(i64::MAX);
        let path = dir.join(SEEN);
        // Unreadable or missing: every file counts from now, which keeps it longer and never shorter.
        let before: BTreeMap<String, i64> =
            disk.read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let mut seen = BTreeMap::new();
        for (name, _) in self.list(dir)?.into_iter().filter(|(name, stat)| stat.is_file && !is_ignored(name)) {
            let key = name.to_string_lossy().into_owned();
            let since = before.get(&key).copied().unwrap_or(now);
            if now.saturating_sub(since) >= kept {
                durable::remove(disk, &dir.join(&name))?;
            } else {
                seen.insert(key, since);
            }
        }
        if seen == before {
            return Ok(());
        }
        durable::replace(disk, &path, &serde_json::to_vec(&seen).unwrap_or_default())
    }
}
