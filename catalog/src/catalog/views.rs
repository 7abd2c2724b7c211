//! Views: named queries, changed by compare-and-set as tables are. They share the tables' space of names.

use std::sync::PoisonError;

use bytes::Bytes;
use iceberg::spec::{Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewVersion};
use iceberg::{NamespaceIdent, TableIdent, ViewUpdate};
use uuid::Uuid;

use super::view_document::{self as document, ViewSaid};
use super::{Catalog, Reply, key, nesting, text_of};
use crate::document::foreign;
use crate::error::{Error, Kind, Result};
use crate::hint;
use crate::state::{Sort, Swap};

/// A view at one metadata file.
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub ident: TableIdent,
    /// Its metadata.
    pub metadata: ViewMetadata,
    /// Where that metadata lies.
    pub metadata_location: String,
    /// The metadata as JSON.
    pub json: Bytes,
}

/// A new view.
#[derive(Debug)]
pub struct CreateView {
    /// The schema of its rows.
    pub schema: Schema,
    /// Its first version.
    pub version: ViewVersion,
    /// Where its metadata lies; the catalog chooses if absent.
    pub location: Option<String>,
    /// Its properties.
    pub properties: std::collections::HashMap<String, String>,
}

fn no_view(ident: &TableIdent) -> Error {
    Error::new(Kind::NotFound, format!("View does not exist: {}", text_of(ident))).with("view", text_of(ident))
}

fn refused(error: iceberg::Error, ident: &TableIdent) -> Error {
    let kind = if error.message().contains("Cannot drop dialect") { Kind::Conflict } else { Kind::Invalid };
    Error::new(kind, "the change does not fit the view").with("view", text_of(ident)).because(error)
}

fn moved(ident: &TableIdent) -> Error {
    Error::new(Kind::Conflict, "the view has changed: read it again").with("view", text_of(ident))
}

impl Catalog {
    /// A namespace's views, in order.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn list_views(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.namespace(namespace)?;
        let names = self.inner.state.names(Sort::View, &key(namespace))?;
        Ok(names.into_iter().map(|name| TableIdent::new(namespace.clone(), name)).collect())
    }

    /// A view as it is now.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`; storage errors.
    pub fn load_view(&self, ident: &TableIdent) -> Result<View> {
        let pointer = self.inner.state.pointer(Sort::View, &key(ident.namespace()), ident.name())?;
        let metadata_location = pointer.ok_or_else(|| no_view(ident))?;
        self.read_view(ident, metadata_location)
    }

    pub(super) fn read_view(&self, ident: &TableIdent, metadata_location: String) -> Result<View> {
        let (metadata, json) = self.read_document(&metadata_location)?;
        Ok(View { ident: ident.clone(), metadata, metadata_location, json })
    }

    /// Makes a view.
    ///
    /// # Errors
    /// `NotFound` without its namespace; `Exists`, also for a table of that name; `Invalid`; storage errors.
    pub fn create_view(&self, ident: &TableIdent, create: CreateView) -> Result<View> {
        self.create_view_said(ident, create, &ViewSaid::default())
    }

    /// Makes a view of which `said` holds what the types of `create` have no place for.
    pub(crate) fn create_view_said(&self, ident: &TableIdent, create: CreateView, said: &ViewSaid) -> Result<View> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_taken(Sort::View, ident)?;
        let location = match create.location {
            Some(location) => location.trim_end_matches('/').to_string(),
            None => self.fresh_location(ident)?,
        };
        let CreateView { schema, version, properties, .. } = create;
        let built = ViewMetadataBuilder::new(location, schema, version, ViewFormatVersion::V1, properties)
            .and_then(|builder| builder.assign_uuid(self.inner.store.system().ids.uuid()).build());
        let metadata = built.map_err(|error| refused(error, ident))?.metadata;
        let document = document::write(&metadata, None, said, None)?;
        self.write_view(ident, None, document)
    }

    /// Registers the view that a metadata file describes.
    ///
    /// # Errors
    /// `Exists`; `NotFound`; `Corrupt`; storage errors.
    pub fn register_view(&self, ident: &TableIdent, location: String) -> Result<View> {
        self.refuse_taken(Sort::View, ident)?;
        let own = self.own_folders(ident, None);
        self.admit(&location, &own)?;
        let (metadata, json): (ViewMetadata, Bytes) =
            self.read_document(&location).map_err(|error| match error.kind() {
                Kind::Corrupt => Error::new(Kind::Invalid, "the file is no view's metadata").because(error),
                _ => error,
            })?;
        nesting(&json)?;
        self.admit_folder(metadata.location(), metadata.properties(), &own)?;
        let view = View { ident: ident.clone(), metadata, metadata_location: location, json };
        self.point_view(&view, None)?;
        Ok(view)
    }

    /// Changes a view whose UUID is each of `uuids`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`; `Invalid`; storage errors.
    pub fn replace_view(&self, ident: &TableIdent, uuids: &[Uuid], updates: Vec<ViewUpdate>) -> Result<View> {
        self.replace_view_said(ident, uuids, updates, &ViewSaid::default())
    }

    /// Changes a view by updates of which `said` holds what their types have no place for.
    pub(crate) fn replace_view_said(
        &self,
        ident: &TableIdent,
        uuids: &[Uuid],
        updates: Vec<ViewUpdate>,
        said: &ViewSaid,
    ) -> Result<View> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.load_view(ident)?;
        if uuids.iter().any(|uuid| *uuid != before.metadata.uuid()) {
            return Err(moved(ident));
        }
        let adds = updates.iter().any(|update| matches!(update, ViewUpdate::AddViewVersion { .. }));
        let selects = updates.iter().any(|update| matches!(update, ViewUpdate::SetCurrentViewVersion { .. }));
        let (was, now) = (before.metadata.current_version_id(), self.now_ms());
        let builder = before.metadata.into_builder();
        let built = updates.into_iter().try_fold(builder, apply).and_then(ViewMetadataBuilder::build);
        let metadata = built.map_err(|error| refused(error, ident))?.metadata;
        let returns = selects && !adds && metadata.current_version_id() != was;
        let document = document::write(&metadata, Some(&before.json), said, returns.then_some(now))?;
        self.write_view(ident, Some(before.metadata_location), document)
    }

    fn write_view(&self, ident: &TableIdent, from: Option<String>, json: Bytes) -> Result<View> {
        let metadata: ViewMetadata = foreign::read(&json)?;
        let lay = from.as_deref().and_then(|file| file.rsplit_once("/metadata/")).map(|at| at.0);
        let own = self.own_folders(ident, lay);
        self.admit_folder(metadata.location(), metadata.properties(), &own)?;
        let number = from.as_deref().and_then(hint::version).map_or(0, |number| number + 1);
        let folder = metadata.properties().get("write.metadata.path").cloned();
        let folder = folder.unwrap_or_else(|| format!("{}/metadata", metadata.location().trim_end_matches('/')));
        let name = format!("{number:05}-{}.metadata.json", self.inner.store.system().ids.uuid());
        let metadata_location = format!("{}/{name}", folder.trim_end_matches('/'));
        self.inner.store.put(&metadata_location, &json)?;
        let view = View { ident: ident.clone(), metadata, metadata_location, json };
        let pointed = self.point_view(&view, from);
        if pointed.as_ref().is_err_and(|error| error.kind() == Kind::Conflict) {
            let _ = self.inner.store.delete(&view.metadata_location);
        }
        pointed.map(|()| view)
    }

    fn point_view(&self, view: &View, from: Option<String>) -> Result<()> {
        let (namespace, name) = (key(view.ident.namespace()), view.ident.name().to_string());
        let swap = Swap { sort: Sort::View, namespace, name, from, to: view.metadata_location.clone(), body: None };
        let reply = || Reply::View(view.ident.clone(), view.metadata_location.clone());
        if self.point(&[swap], reply)? { Ok(()) } else { Err(moved(&view.ident)) }
    }

    /// Forgets a view; its metadata files stay.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn drop_view(&self, ident: &TableIdent) -> Result<()> {
        let namespace = key(ident.namespace());
        let location = self.inner.state.pointer(Sort::View, &namespace, ident.name())?;
        let location = location.ok_or_else(|| no_view(ident))?;
        let dropped = self.answering(|| Reply::Empty)?.remove(Sort::View, &namespace, ident.name())?;
        self.renamed(Sort::View, ident, None, &location);
        if dropped { Ok(()) } else { Err(no_view(ident)) }
    }

    /// Renames a view.
    ///
    /// # Errors
    /// `NotFound`, also for the new namespace; `Exists`; database errors.
    pub fn rename_view(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        let found = self.rename(Sort::View, from, to)?;
        if found { Ok(()) } else { Err(no_view(from)) }
    }
}

fn apply(builder: ViewMetadataBuilder, update: ViewUpdate) -> iceberg::Result<ViewMetadataBuilder> {
    match update {
        ViewUpdate::AssignUuid { uuid } => Ok(builder.assign_uuid(uuid)),
        ViewUpdate::UpgradeFormatVersion { format_version } => builder.upgrade_format_version(format_version),
        ViewUpdate::AddSchema { schema, .. } => Ok(builder.add_schema(schema)),
        ViewUpdate::SetLocation { location } => Ok(builder.set_location(location)),
        ViewUpdate::SetProperties { updates } => builder.set_properties(updates),
        ViewUpdate::RemoveProperties { removals } => Ok(builder.remove_properties(&removals)),
        ViewUpdate::AddViewVersion { view_version } => builder.add_version(view_version),
        ViewUpdate::SetCurrentViewVersion { view_version_id } => builder.set_current_version_id(view_version_id),
    }
}
