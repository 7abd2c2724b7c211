//! One table without what is sought: the current snapshot first, then whatever else reaches it.
//!
//! Each round looks at the table as it is then. Records that keep coming in are not part of the erase, so the rounds are
//! bounded, and what the last look finds is told.

use std::collections::{BTreeSet, HashSet};

use iceberg::{TableIdent, TableRequirement, TableUpdate};
use laked_catalog::plan::Plan as Scan;
use laked_catalog::{Change, Origin, Outcome, Table};
use uuid::Uuid;

use super::Site;
use super::leftovers::{open_commits, strays, swept};
use super::record::Record;
use crate::commit::Committer;
use crate::commit::replace::{Clustered, ListedManifest, Made, Replaced, Replacement, listed};
use crate::daemon::compaction::{part, replacement};
use crate::error::{Error, Kind, Result};
use crate::maintain::compact::{Job, chosen, count_erased, id_of, rewrite};
use crate::maintain::erase::{ERASE, ERASED_ROWS, Findings, Removed, Sought, Survey};
use crate::maintain::reach::{Reach, hash_of};
use crate::maintain::retention::Asked;
use crate::maintain::{expire, ledger};

/// Rounds until the current snapshot is clean, and until the older ones are.
const ROUNDS: usize = 10;
/// What sorting and deletes may take in memory.
const MEMORY: usize = 128 << 20;

/// A table and what its figures go by.
pub(super) struct Place {
    pub ident: TableIdent,
    /// Of the current snapshot.
    pub name: &'static str,
    /// Of the older ones.
    pub older: &'static str,
}

/// A table that is erased from.
pub(super) struct Erasing<'a> {
    site: &'a Site<'a>,
    place: Place,
    sought: Sought,
    survey: Survey,
    /// What the table's snapshots reach.
    reach: Reach,
    /// Commits that were open when it began.
    open: Vec<Uuid>,
    /// Files whose rows are counted already.
    counted: HashSet<String>,
}

impl<'a> Erasing<'a> {
    pub fn of(site: &'a Site<'a>, place: Place, sought: Sought) -> Self {
        let survey = Survey::new(sought.clone());
        let open = open_commits(site, &place.ident).into_iter().map(|intent| intent.commit).collect();
        Erasing { site, place, sought, survey, reach: Reach::default(), open, counted: HashSet::new() }
    }

    pub fn run(mut self, record: &mut Record) -> Result<()> {
        if record.is_dry() {
            return self.count(record);
        }
        self.harvest(record)?;
        for _ in 0..ROUNDS {
            let (table, findings) = self.look()?;
            if findings.is_current_clean() {
                break;
            }
            let done = match findings.files.is_empty() {
                false => self.rewrite(&table, &findings, record),
                true => self.forget(&table, &findings, record),
            };
            lost_a_race(done)?;
        }
        for _ in 0..ROUNDS {
            let (table, findings) = self.look()?;
            let done = if self.site.request.drop_refs && !findings.refs.is_empty() {
                self.drop_refs(&table, &findings, record)
            } else if !findings.expirable().is_empty() {
                self.expire(&findings, record)
            } else {
                break;
            };
            lost_a_race(done)?;
        }
        self.unlink()?;
        self.check(record)
    }

    fn look(&mut self) -> Result<(std::sync::Arc<Table>, Findings)> {
        let table = self.site.catalog.load(&self.place.ident)?;
        let findings = self.survey.look(self.site.catalog.store(), &table.metadata, &table.refs)?;
        Ok((table, findings))
    }

    /// What would go.
    fn count(&mut self, record: &mut Record) -> Result<()> {
        let (table, findings) = self.look()?;
        if let Some(scan) = findings.scan.as_ref().filter(|_| !findings.files.is_empty()) {
            let plan = chosen(&table.metadata, scan, &|file| findings.files.contains(file.file.file_path()))?;
            let rows = count_erased(self.job(&table, &plan))?;
            let (files, bytes) = (findings.files.len() as u64, bytes_of(scan, &findings.files));
            record.certificate.at(self.place.name).add(rows, files, bytes);
        }
        let older: u64 = findings.older.iter().map(|(_, rows)| *rows).sum();
        record.certificate.at(self.place.older).add(older, findings.older.len() as u64, 0);
        record.certificate.snapshots_expired.extend(findings.expirable());
        if !findings.files.is_empty() {
            // With the rows gone from it, what is current now is one of the older ones.
            record.certificate.snapshots_expired.extend(table.metadata.current_snapshot_id());
        }
        self.tell(&findings, &current_refs(&table, &findings), record);
        Ok(())
    }

    fn job<'b>(&'b self, table: &'b Table, plan: &'b crate::maintain::compact::Plan) -> Job<'b> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, plan.groups.len().max(1));
        Job {
            store: self.site.catalog.store(),
            metadata: &table.metadata,
            plan,
            threads,
            memory: MEMORY / threads,
            erased: Some(self.survey.rows()),
        }
    }

    /// Rewrites files without the rows.
    fn rewrite(&mut self, table: &Table, findings: &Findings, record: &mut Record) -> Result<()> {
        let (metadata, committer) = (&table.metadata, self.committer()?);
        let Some((scan, snapshot)) = findings.scan.as_ref().and_then(|scan| Some((scan, scan.snapshot.as_ref()?)))
        else {
            return Ok(());
        };
        let plan = chosen(metadata, scan, &|file| findings.files.contains(file.file.file_path()))?;
        let rewritten = rewrite(self.job(table, &plan), &|_| {})?.into_iter().collect::<Result<Vec<_>>>()?;
        let rows: Vec<u64> = rewritten.iter().map(|one| one.erased).collect();
        let parts = plan.groups.iter().zip(rewritten).map(|(group, one)| part(&plan, group, one)).collect();
        let id = record.certificate.id.clone();
        let all: u64 = rows.iter().sum();
        let Replaced { snapshot_id, dropped } = committer.replace(Replacement {
            summary: vec![(ERASE.to_string(), id), (ERASED_ROWS.to_string(), all.to_string())],
            removes_rows: true,
            ..replacement((&self.place.ident, metadata), (scan, snapshot), parts)
        })?;
        let Some(snapshot_id) = snapshot_id else { return Ok(()) };
        record.certificate.snapshots_made.push(snapshot_id);
        for (number, group) in plan.groups.iter().enumerate() {
            if !dropped.iter().any(|(part, _)| *part == number) {
                self.counted.extend(group.inputs.iter().map(|input| input.file.file.file_path().to_string()));
                record.certificate.at(self.place.name).add(rows[number], group.inputs.len() as u64, group.bytes());
            }
        }
        record.save()
    }

    /// Writes manifests anew, without the files that they say are gone and the deletes that hit nothing.
    fn forget(&mut self, table: &Table, findings: &Findings, record: &mut Record) -> Result<()> {
        let (store, metadata) = (self.site.catalog.store(), &table.metadata);
        let is_spent = |entry: &iceberg::spec::ManifestEntry| findings.spent.contains(&id_of(&entry.data_file));
        let goes = |one: &ListedManifest| {
            findings.stale.contains(&one.manifest.manifest_path) || one.entries.iter().any(is_spent)
        };
        let old: Vec<ListedManifest> = listed(store, metadata)?.into_iter().filter(goes).collect();
        let replaced = old.iter().map(|one| one.manifest.manifest_path.clone()).collect();
        let made = old.into_iter().map(|one| Made {
            spec_id: one.manifest.partition_spec_id,
            content: one.manifest.content,
            entries: one.entries.into_iter().filter(|entry| !is_spent(entry)).collect(),
        });
        let made = made.filter(|made| !made.entries.is_empty()).collect();
        let (ident, expect_uuid) = (self.place.ident.clone(), metadata.uuid());
        let summary = vec![(ERASE.to_string(), record.certificate.id.clone())];
        let snapshot = self.committer()?.cluster(Clustered { ident, expect_uuid, replaced, made, summary })?;
        record.certificate.snapshots_made.push(snapshot);
        record.save()
    }

    /// Drops branches and tags that show it.
    fn drop_refs(&mut self, table: &Table, findings: &Findings, record: &mut Record) -> Result<()> {
        let ident = self.place.ident.clone();
        let (mut requirements, mut updates) =
            (vec![TableRequirement::UuidMatch { uuid: table.metadata.uuid() }], Vec::new());
        for (name, id) in &findings.refs {
            requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref: name.clone(), snapshot_id: Some(*id) });
            updates.push(TableUpdate::RemoveSnapshotRef { ref_name: name.clone() });
        }
        match self.site.catalog.commit(vec![Change { ident, requirements, updates }], Origin::Rest) {
            Outcome::Committed(_) => {}
            Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => return Err(error),
        }
        record.certificate.refs_dropped.extend(findings.refs.iter().map(|(name, _)| name.clone()));
        record.save()
    }

    /// Takes older snapshots out; their files are owed to the ledger, and unlinked when due. What it is about to do is
    /// written down before, because afterwards nothing tells of it.
    fn expire(&mut self, findings: &Findings, record: &mut Record) -> Result<()> {
        let (catalog, ident) = (self.site.catalog, &self.place.ident);
        let asked = Asked { snapshots: findings.expirable(), ..Asked::default() };
        let request = expire::Request { asked, grace_ms: self.site.request.grace_ms, dry_run: true };
        let planned = expire::expire_with(catalog, ident, &request, &mut self.reach)?;
        let mut removed = Removed::default();
        let fresh = findings.older.iter().filter(|(file, _)| !self.counted.contains(file));
        removed.add(fresh.map(|(_, rows)| *rows).sum(), 0, 0);
        planned.files.values().for_each(|sum| removed.add(0, sum.files, sum.bytes));
        record.certificate.expiring = Some((planned.snapshots, self.place.older.to_string(), removed));
        record.save()?;
        expire::expire_with(catalog, ident, &expire::Request { dry_run: false, ..request }, &mut self.reach)?;
        self.counted.extend(findings.older.iter().map(|(file, _)| file.clone()));
        expired(record);
        record.save()
    }

    /// Unlinks what the table owes, whoever expired it: it is out of every snapshot, and may hold the rows all the same.
    fn unlink(&mut self) -> Result<()> {
        let (catalog, table) = (self.site.catalog, self.site.catalog.load(&self.place.ident)?);
        let now_ms = catalog.store().system().clock.now_ms();
        let due_ms = now_ms.saturating_add(self.site.request.grace_ms);
        let uuid = table.metadata.uuid();
        for owed in catalog.owed_of(uuid)? {
            // One that failed is put off, too.
            catalog.put_off(&owed, owed.due_ms.min(due_ms))?;
        }
        let by_ms = if due_ms > now_ms { now_ms } else { i64::MAX };
        ledger::unlink_of(catalog, uuid, by_ms, &mut self.reach)?;
        swept(self.site, &table)
    }

    /// Looks at everything once more, from the files, and tells what is left.
    fn check(&mut self, record: &mut Record) -> Result<()> {
        self.survey = Survey::new(self.sought.clone());
        let (table, findings) = self.look()?;
        self.tell(&findings, &findings.refs, record);
        let name = self.place.ident.to_string();
        let rows: u64 = findings.rows.iter().map(|(_, rows)| *rows).sum();
        if !findings.is_current_clean() {
            let why = format!("{rows} rows came in while it was erased: erase again when their sender has stopped");
            record.certificate.holds(name.clone(), why);
        }
        let left = findings.expirable().len();
        if left > 0 {
            record.certificate.holds(name.clone(), format!("{left} older snapshots reach it still: erase again"));
        }
        self.owed(&table, &name, record)?;
        strays(self.site, &self.place.ident, &self.open, record)?;
        record.save()
    }

    /// Files that wait for their grace to be over. Of a row whose commit is another's and on its way, none does.
    fn owed(&mut self, table: &Table, name: &str, record: &mut Record) -> Result<()> {
        let catalog = self.site.catalog;
        let owed: Vec<String> =
            catalog.owed_of(table.metadata.uuid())?.into_iter().flat_map(|owed| owed.files).collect();
        if owed.is_empty() {
            return Ok(());
        }
        let needed = self.reach.all(catalog.store(), &table.metadata)?;
        let files = owed.iter().filter(|file| !needed.contains(&hash_of(file))).count();
        if files > 0 {
            let why =
                "they are out of every snapshot and unlinked when their grace is over: erase again then, to be sure";
            record.certificate.holds(format!("{name}: {files} files"), why);
        }
        Ok(())
    }

    fn tell(&self, findings: &Findings, refs: &[(String, i64)], record: &mut Record) {
        record.certificate.undecided += findings.undecided;
        let dropped = record.is_dry() && self.site.request.drop_refs;
        for (name, id) in refs.iter().filter(|_| !dropped) {
            let why = format!("it shows snapshot {id}, which has such rows: drop it, or erase with --drop-refs");
            record.certificate.holds(format!("{}: branch or tag `{name}`", self.place.ident), why);
        }
        if findings.undecided > 0 {
            let why = "refused records of which it cannot be told, because their text has no such field: look at them with \
                       `lakectl quarantine show`, or erase with --remove-undecided";
            record.certificate.holds(format!("{}: {} records", self.place.ident, findings.undecided), why);
        }
    }

    /// What an earlier run did and did not live to write down.
    fn harvest(&self, record: &mut Record) -> Result<()> {
        let table = self.site.catalog.load(&self.place.ident)?;
        for snapshot in table.metadata.snapshots() {
            let fields = &snapshot.summary().additional_properties;
            let ours = fields.get(ERASE) == Some(&record.certificate.id);
            if !ours || record.certificate.snapshots_made.contains(&snapshot.snapshot_id()) {
                continue;
            }
            let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
            record.certificate.snapshots_made.push(snapshot.snapshot_id());
            let figures = (number(ERASED_ROWS), number("deleted-data-files"), number("removed-files-size"));
            record.certificate.at(self.place.name).add(figures.0, figures.1, figures.2);
        }
        if let Some((snapshots, place, _)) = &record.certificate.expiring
            && place == self.place.older
        {
            match snapshots.iter().any(|id| table.metadata.snapshot_by_id(*id).is_some()) {
                true => record.certificate.expiring = None,
                false => expired(record),
            }
        }
        record.save()
    }

    fn committer(&self) -> Result<&'a Committer> {
        self.site.committer.ok_or_else(|| Error::new(Kind::Internal, "only a lake that is open is changed"))
    }
}

/// An expiry that was under way has taken effect.
fn expired(record: &mut Record) {
    if let Some((snapshots, place, Removed { rows, files, bytes })) = record.certificate.expiring.take() {
        record.certificate.snapshots_expired.extend(snapshots);
        record.certificate.at(&place).add(rows, files, bytes);
    }
}

/// Who loses a race looks again; so does who finds that a snapshot is gone, or shown by a new tag.
fn lost_a_race(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => Ok(()),
        done => done,
    }
}

/// Branches and tags that would still show such rows once the current snapshot is clean.
fn current_refs(table: &Table, findings: &Findings) -> Vec<(String, i64)> {
    let current = table.metadata.current_snapshot_id();
    let mut refs = findings.refs.clone();
    if !findings.files.is_empty() {
        let shown = table.refs.iter().filter(|(name, reference)| {
            name.as_str() != iceberg::spec::MAIN_BRANCH && Some(reference.snapshot_id) == current
        });
        refs.extend(shown.map(|(name, reference)| (name.clone(), reference.snapshot_id)));
    }
    refs
}

fn bytes_of(scan: &Scan, files: &BTreeSet<String>) -> u64 {
    let chosen = scan.files.iter().filter(|file| files.contains(file.file.file_path()));
    chosen.map(|file| file.file.file_size_in_bytes()).sum()
}
