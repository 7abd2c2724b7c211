//! The `iceberg` crate's storage interface over the [`Store`], for its manifest readers and writers.
//!
//! The crate wants its storage to be serialisable; ours is a handle of this process, so what comes back from
//! serialisation has no store and answers every call with an error.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use serde::{Deserialize, Serialize};

use super::local::Store;
use crate::error::{Error, Kind};

impl Store {
    /// The `iceberg` crate's file access over this store. Calls block the polling thread.
    pub fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(Bridge { store: Some(self.clone()) })).build()
    }
}

/// What the caller does about an error of the crate's readers: storage that does not answer is not a broken file.
pub fn kind_of(error: &iceberg::Error) -> Kind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        match one.downcast_ref::<Error>() {
            Some(own) if own.kind() == Kind::Unavailable => return Kind::Unavailable,
            _ => cause = one.source(),
        }
    }
    Kind::Corrupt
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bridge {
    #[serde(skip)]
    store: Option<Store>,
}

impl Bridge {
    fn store(&self) -> iceberg::Result<&Store> {
        self.store.as_ref().ok_or_else(|| foreign(Error::new(Kind::Internal, "a storage handle does not travel")))
    }
}

fn foreign(error: Error) -> iceberg::Error {
    let kind = match error.kind() {
        Kind::NotFound => iceberg::ErrorKind::DataInvalid,
        _ => iceberg::ErrorKind::Unexpected,
    };
    iceberg::Error::new(kind, error.message().to_string()).with_source(error)
}

#[typetag::serde(name = "laked")]
impl StorageFactory for Bridge {
    fn build(&self, _config: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde(name = "laked")]
impl Storage for Bridge {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        match self.store()?.len(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(foreign(error)),
        }
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        Ok(FileMetadata { size: self.store()?.len(path).map_err(foreign)? })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        self.store()?.read(path).map_err(foreign)
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader { store: self.store()?.clone(), path: path.to_string() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.store()?.put(path, &bytes).map_err(foreign)
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer { store: self.store()?.clone(), path: path.to_string(), bytes: BytesMut::new() }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.store()?.delete(path).map_err(foreign)
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        let store = self.store()?;
        let found = store.list(path).map_err(foreign)?;
        found.iter().try_for_each(|entry| store.delete(&entry.location)).map_err(foreign)
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_string()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_string()))
    }
}

struct Reader {
    store: Store,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        self.store.read_range(&self.path, range).map_err(foreign)
    }
}

/// Gathers the file and publishes it when closed: manifests and lists are small.
struct Writer {
    store: Store,
    path: String,
    bytes: BytesMut,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        self.store.put(&self.path, &self.bytes).map_err(foreign)
    }
}
