//! Views: named queries, changed by compare-and-set as tables are. They share the tables' space of names.

use std::sync::PoisonError;

use bytes::Bytes;
use iceberg::spec::{Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewVersion};
use iceberg::{NamespaceIdent, TableIdent, ViewUpdate};
use uuid::Uuid;

use super::{Catalog, key, text_of};
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
        let (metadata, json) = self.read_document(&metadata_location)?;
        Ok(View { ident: ident.clone(), metadata, metadata_location, json })
    }

    /// Makes a view.
    ///
    /// # Errors
    /// `NotFound` without its namespace; `Exists`, also for a table of that name; `Invalid`; storage errors.
    pub fn create_view(&self, ident: &TableIdent, create: CreateView) -> Result<View> {
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
        self.write_view(ident, None, metadata)
    }

    /// Registers the view that a metadata file describes.
    ///
    /// # Errors
    /// `Exists`; `NotFound`; `Corrupt`; storage errors.
    pub fn register_view(&self, ident: &TableIdent, location: String) -> Result<View> {
        self.refuse_taken(Sort::View, ident)?;
        let own = self.own_folders(ident, None);
        self.admit(&location, &own)?;
        let (metadata, json): (ViewMetadata, Bytes) = self.read_document(&location)?;
        self.admit_folder(metadata.location(), metadata.properties(), &own)?;
        let view = View { ident: ident.clone(), metadata, metadata_location: location, json };
        self.point_view(&view, None)?;
        Ok(view)
    }

    /// Changes a view whose UUID is `uuid`, where one is given.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`; `Invalid`; storage errors.
    pub fn replace_view(&self, ident: &TableIdent, uuid: Option<Uuid>, updates: Vec<ViewUpdate>) -> Result<View> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.load_view(ident)?;
        if uuid.is_some_and(|uuid| uuid != before.metadata.uuid()) {
            return Err(moved(ident));
        }
        let builder = before.metadata.into_builder();
        let built = updates.into_iter().try_fold(builder, apply).and_then(ViewMetadataBuilder::build);
        let metadata = built.map_err(|error| refused(error, ident))?.metadata;
        self.write_view(ident, Some(before.metadata_location), metadata)
    }

    fn write_view(&self, ident: &TableIdent, from: Option<String>, metadata: ViewMetadata) -> Result<View> {
        let own =
            self.own_folders(ident, from.as_deref().and_then(|file| file.rsplit_once("/metadata/")).map(|at| at.0));
        self.admit_folder(metadata.location(), metadata.properties(), &own)?;
        let number = from.as_deref().and_then(hint::version).map_or(0, |number| number + 1);
        let folder = metadata.properties().get("write.metadata.path").cloned();
        let folder = folder.unwrap_or_else(|| format!("{}/metadata", metadata.location().trim_end_matches('/')));
        let name = format!("{number:05}-{}.metadata.json", self.inner.store.system().ids.uuid());
        let json = document(&metadata)?;
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
        let swap = Swap { sort: Sort::View, namespace, name, from, to: view.metadata_location.clone() };
        if self.point(&[swap], None)? { Ok(()) } else { Err(moved(&view.ident)) }
    }

    /// Forgets a view; its metadata files stay.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn drop_view(&self, ident: &TableIdent) -> Result<()> {
        let namespace = key(ident.namespace());
        let location = self.inner.state.pointer(Sort::View, &namespace, ident.name())?;
        let location = location.ok_or_else(|| no_view(ident))?;
        let dropped = self.inner.state.remove(Sort::View, &namespace, ident.name())?;
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

/// A view's metadata as JSON, its versions in order: the crate keeps them in a hash map.
fn document(metadata: &ViewMetadata) -> Result<Bytes> {
    let broken = |error| Error::new(Kind::Internal, "serialising a view").because(error);
    let mut document = serde_json::to_value(metadata).map_err(broken)?;
    if let Some(versions) = document.get_mut("versions").and_then(|versions| versions.as_array_mut()) {
        versions.sort_by_key(|version| version.get("version-id").and_then(serde_json::Value::as_i64));
    }
    Ok(serde_json::to_vec(&document).map_err(broken)?.into())
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
