//! A scan as the REST protocol plans it: prepared once, then given out page by page.
//!
//! Preparing reads the manifest list and the manifests of delete files; what is held afterwards is small and bounded
//! ([`Limits::weight`]). A page reads data manifests from a [`Position`] on until it is full, so a table of millions of
//! files is never in memory at once. The same position always gives the same page: a client that lost an answer asks
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use iceberg::spec::{ManifestFile, Schema, SchemaRef, SnapshotRef, TableMetadata};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::content::describe;
use super::deletes::Deletes;
use super::filter::Filter;
use super::incremental::appends;
use super::predicate::Predicate;
use super::snapshot::{PlannedFile, Reading, corrupt, lists_deletes, manifests, spec_of};
use super::spec::Spec;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// What a held manifest costs beside its path and summaries, in bytes.
const MANIFEST: usize = 300;
/// A longer residual is left out: the client has the filter.
const RESIDUAL: usize = 16 << 10;

/// What is asked for: the protocol's `PlanTableScanRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Request {
    snapshot_id: Option<i64>,
    start_snapshot_id: Option<i64>,
    end_snapshot_id: Option<i64>,
    select: Option<Vec<String>>,
    filter: Option<Json>,
    case_sensitive: Option<bool>,
    use_snapshot_schema: Option<bool>,
    stats_fields: Option<Vec<String>>,
    min_rows_requested: Option<u64>,
}

/// How much a page and a prepared scan may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files of a page.
    pub files: usize,
    /// Bytes of a page, roughly: the file that exceeds them is the last.
    pub bytes: usize,
    /// Manifests that a page reads.
    pub manifests: usize,
    /// Bytes that a prepared scan holds, roughly.
    pub weight: usize,
}

/// A place in a scan: before which file of which manifest, and the manifest where the part ends that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The manifest.
    pub manifest: usize,
    /// Live files of it that are passed over.
    pub file: usize,
    /// The first manifest that is not part of it.
    pub end: usize,
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// `file-scan-tasks` and, if any, `delete-files`.
    pub tasks: Map<String, Json>,
    /// Where the next begins.
    pub rest: Vec<Position>,
}

/// A prepared scan.
#[derive(Debug)]
pub struct Scan {
    store: Store,
    schema: SchemaRef,
    specs: HashMap<i32, Spec>,
    filter: Option<Filter>,
    predicate: Predicate,
    metrics: BTreeSet<i32>,
    enough: Option<u64>,
    manifests: Vec<ManifestFile>,
    deletes: Deletes,
    /// In an incremental scan: the snapshots whose files count.
    appended: Option<BTreeSet<i64>>,
    weight: usize,
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, what)
}

/// What a request reads.
enum Range {
    Nothing,
    Snapshot(SnapshotRef),
    Appends(Option<i64>, SnapshotRef),
}

impl Request {
    fn range(&self, metadata: &TableMetadata) -> Result<Range> {
        let find = |id: i64| {
            metadata.snapshot_by_id(id).cloned().ok_or_else(|| invalid("the table has no such snapshot").with("id", id))
        };
        match (self.snapshot_id, self.start_snapshot_id, self.end_snapshot_id) {
            (None, None, None) => Ok(metadata.current_snapshot().cloned().map_or(Range::Nothing, Range::Snapshot)),
            (Some(id), None, None) => Ok(Range::Snapshot(find(id)?)),
            (None, start, Some(end)) => Ok(Range::Appends(start, find(end)?)),
            (None, Some(_), None) => Err(invalid("'start-snapshot-id' needs an 'end-snapshot-id'")),
            (Some(_), ..) => Err(invalid("'snapshot-id' excludes 'start-snapshot-id' and 'end-snapshot-id'")),
        }
    }

    fn schema(&self, metadata: &TableMetadata, range: &Range) -> Result<SchemaRef> {
        match range {
            Range::Snapshot(snapshot) | Range::Appends(_, snapshot) if self.use_snapshot_schema == Some(true) => {
                snapshot.schema(metadata).map_err(corrupt)
            }
            _ => Ok(metadata.current_schema().clone()),
        }
    }

    fn fields(&self, names: Option<&Vec<String>>, schema: &Schema) -> Result<BTreeSet<i32>> {
        let find = |name: &String| {
            let found = match self.case_sensitive {
                Some(false) => schema.field_by_name_case_insensitive(name),
                _ => schema.field_by_name(name),
            };
            found.map(|field| field.id).ok_or_else(|| invalid(format!("there is no column '{name}'")))
        };
        names.into_iter().flatten().map(find).collect()
    }
}

impl Scan {
    /// Checks a request and prepares its scan; ends early, with what it has, once `cancelled` is set.
    ///
    /// # Errors
    /// `Invalid` for a request that contradicts itself or the table, and for a scan that needs more than it may hold;
    /// `Corrupt` if a manifest cannot be read; storage errors.
    pub fn prepare(
        store: &Store,
        metadata: &TableMetadata,
        request: &Request,
        limits: &Limits,
        cancelled: &AtomicBool,
    ) -> Result<Scan> {
        let range = request.range(metadata)?;
        let schema = request.schema(metadata, &range)?;
        request.fields(request.select.as_ref(), &schema)?;
        let metrics = request.fields(request.stats_fields.as_ref(), &schema)?;
        let case_sensitive = request.case_sensitive != Some(false);
        let filter = request.filter.as_ref().filter(|json| !json.is_null());
        let filter = filter.map(|json| Filter::read(json, &schema, case_sensitive)).transpose()?;
        let mut scan = Scan {
            store: store.clone(),
            specs: Spec::all(metadata, &schema),
            predicate: filter.as_ref().map_or(Predicate::True, Filter::predicate),
            weight: request.filter.as_ref().map_or(0, |json| 3 * json.to_string().len()),
            schema,
            filter,
            metrics,
            enough: request.min_rows_requested.filter(|rows| *rows > 0),
            manifests: Vec::new(),
            deletes: Deletes::default(),
            appended: None,
        };
        scan.collect(metadata, range, limits, cancelled)?;
        Ok(scan)
    }

    fn collect(
        &mut self,
        metadata: &TableMetadata,
        range: Range,
        limits: &Limits,
        cancelled: &AtomicBool,
    ) -> Result<()> {
        let listed = match range {
            Range::Nothing => return Ok(()),
            Range::Snapshot(snapshot) => manifests(&self.store, metadata, &snapshot)?,
            Range::Appends(start, end) => {
                let appends = appends(&self.store, metadata, start, &end, cancelled)?;
                self.appended = Some(appends.snapshots);
                appends.manifests
            }
        };
        for manifest in listed {
            if cancelled.load(Ordering::Relaxed) {
                break;
            }
            if !spec_of(&self.specs, &manifest)?.manifest_may_match(&manifest, &self.predicate) {
                continue;
            }
            if lists_deletes(&manifest) {
                self.add_deletes(&manifest)?;
            } else {
                self.weight += MANIFEST + manifest.manifest_path.len();
                self.manifests.push(manifest);
            }
            if self.weight() > limits.weight {
                return Err(invalid(
                    "this scan is too large to be planned here: narrow its filter, rewrite the table's manifests and \
                     position deletes, or plan it in the client",
                ));
            }
        }
        Ok(())
    }

    fn add_deletes(&mut self, manifest: &ManifestFile) -> Result<()> {
        for delete in self.read(manifest)? {
            let spec = self.specs.get(&delete.spec_id);
            if let Some(spec) = spec.filter(|_| delete.by_partition) {
                self.deletes.add(&delete, spec);
            }
        }
        Ok(())
    }

    fn read(&self, manifest: &ManifestFile) -> Result<Vec<PlannedFile>> {
        let reading = Reading { store: &self.store, schema: &self.schema, predicate: &self.predicate };
        reading.one(Vec::new(), manifest, spec_of(&self.specs, manifest)?)
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        self.weight + self.deletes.weight()
    }

    /// Its first page; the rest is in parts that can be fetched side by side.
    ///
    /// # Errors
    /// As [`Scan::page`].
    pub fn first(&self, limits: &Limits) -> Result<Page> {
        let whole = Position { manifest: 0, file: 0, end: self.manifests.len() };
        let mut filling = Filling::new(self, limits);
        let at = filling.fill(whole)?;
        let rest = match filling.is_enough() {
            true => Vec::new(),
            false => at.map_or_else(Vec::new, |at| self.parts(at, limits)),
        };
        Ok(Page { tasks: filling.into_tasks(), rest })
    }

    /// The page at a position; `None` if the scan has no such position.
    ///
    /// # Errors
    /// `Corrupt` if a manifest cannot be read; storage errors.
    pub fn page(&self, at: Position, limits: &Limits) -> Result<Option<Page>> {
        if at.manifest >= at.end || at.end > self.manifests.len() {
            return Ok(None);
        }
        let mut filling = Filling::new(self, limits);
        let rest = filling.fill(at)?;
        Ok(Some(Page { tasks: filling.into_tasks(), rest: rest.into_iter().collect() }))
    }

    /// What is left from a position on, in parts of about a page.
    fn parts(&self, at: Position, limits: &Limits) -> Vec<Position> {
        let files = |manifest: &ManifestFile| {
            let live = [manifest.added_files_count, manifest.existing_files_count].map(|n| n.map(|n| n as usize));
            live.into_iter().sum::<Option<usize>>().unwrap_or(limits.files)
        };
        let mut parts: Vec<Position> = Vec::new();
        let mut held = usize::MAX;
        for (number, manifest) in self.manifests.iter().enumerate().skip(at.manifest) {
            let more = files(manifest);
            match parts.last_mut() {
                Some(last) if held + more <= limits.files && number - last.manifest < limits.manifests => {
                    (last.end, held) = (number + 1, held + more);
                }
                _ => {
                    let file = if number == at.manifest { at.file } else { 0 };
                    parts.push(Position { manifest: number, file, end: number + 1 });
                    held = more;
                }
            }
        }
        parts
    }
}

/// A page while it is filled.
struct Filling<'a> {
    scan: &'a Scan,
    limits: &'a Limits,
    tasks: Vec<Json>,
    /// Delete files by their number in the scan, and where they are in the page.
    deletes: BTreeMap<usize, usize>,
    bytes: usize,
    /// Rows that are certainly wanted.
    rows: u64,
}

impl<'a> Filling<'a> {
    fn new(scan: &'a Scan, limits: &'a Limits) -> Self {
        Filling { scan, limits, tasks: Vec::new(), deletes: BTreeMap::new(), bytes: 0, rows: 0 }
    }

    fn is_enough(&self) -> bool {
        self.scan.enough.is_some_and(|enough| self.rows >= enough)
    }

    fn is_full(&self) -> bool {
        self.tasks.len() >= self.limits.files || self.bytes >= self.limits.bytes || self.is_enough()
    }

    /// Adds files from a position on; where it stopped, if it did before the end.
    fn fill(&mut self, at: Position) -> Result<Option<Position>> {
        let scan = self.scan;
        for (number, manifest) in scan.manifests.iter().enumerate().take(at.end).skip(at.manifest) {
            if self.is_full() || number - at.manifest >= self.limits.manifests {
                return Ok(Some(Position { manifest: number, file: 0, ..at }));
            }
            let passed = if number == at.manifest { at.file } else { 0 };
            for (file, planned) in scan.read(manifest)?.iter().enumerate().skip(passed) {
                if self.is_full() {
                    return Ok(Some(Position { manifest: number, file, ..at }));
                }
                if planned.by_bounds && self.counts(planned) {
                    self.add(planned);
                }
            }
        }
        Ok(None)
    }

    fn counts(&self, planned: &PlannedFile) -> bool {
        let added = |snapshots: &BTreeSet<i64>| planned.added_by().is_some_and(|id| snapshots.contains(&id));
        self.scan.appended.as_ref().is_none_or(added)
    }

    fn add(&mut self, planned: &PlannedFile) {
        let Some(spec) = self.scan.specs.get(&planned.spec_id) else { return };
        let partition = planned.file.partition();
        let residual = self.scan.filter.as_ref().map(|filter| filter.residual(&|column| spec.views(partition, column)));
        if residual == Some(Filter::Always(false)) {
            return;
        }
        let data = describe(planned, spec, &self.scan.metrics);
        self.bytes += planned.file.file_path().len() + 300 + 100 * self.scan.metrics.len();
        let mut task = Map::from_iter([("data-file".to_string(), data)]);
        let deletes = self.scan.deletes.of(planned);
        if deletes.is_empty() && residual.as_ref().is_none_or(|residual| *residual == Filter::Always(true)) {
            self.rows += planned.file.record_count();
        }
        if !deletes.is_empty() {
            let references: Vec<usize> = deletes.iter().map(|number| self.reference(*number)).collect();
            self.bytes += 8 * references.len();
            task.insert("delete-file-references".into(), json!(references));
        }
        if let Some(residual) = residual.map(|residual| residual.to_json()) {
            let length = residual.to_string().len();
            if length <= RESIDUAL {
                self.bytes += length;
                task.insert("residual-filter".into(), residual);
            }
        }
        self.tasks.push(Json::Object(task));
    }

    /// Where a delete file is among the page's.
    fn reference(&mut self, number: usize) -> usize {
        let next = self.deletes.len();
        let place = *self.deletes.entry(number).or_insert(next);
        if place == next {
            self.bytes += 400;
        }
        place
    }

    fn into_tasks(self) -> Map<String, Json> {
        let mut tasks = Map::new();
        if !self.deletes.is_empty() {
            let mut places: Vec<(usize, usize)> =
                self.deletes.iter().map(|(number, place)| (*place, *number)).collect();
            places.sort_unstable();
            let files = places.iter().filter_map(|(_, number)| self.scan.deletes.describe(*number).cloned());
            tasks.insert("delete-files".into(), Json::Array(files.collect()));
        }
        tasks.insert("file-scan-tasks".into(), Json::Array(self.tasks));
        tasks
    }
}
