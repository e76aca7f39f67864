//! Where segments are put: an object store, and on local files what it takes to survive a power cut.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// Why a segment could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object store refuses or does not answer.
    #[error("could not put segment \"{path}\"")]
    Put {
        /// The segment.
        path: String,
        /// Why.
        source: object_store::Error,
    },
    /// The disk refuses.
    #[error("could not sync segment \"{path}\"")]
    Sync {
        /// The segment.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The object store below the lake's data path.
#[derive(Clone, Debug)]
pub struct SegmentStore {
    /// Paths are those of segments.
    pub objects: Arc<dyn ObjectStore>,
    /// The folder behind it, when it is one on this machine.
    pub local_root: Option<PathBuf>,
}

impl SegmentStore {
    /// Puts a file that was not there before; it survives a power cut when this returns.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.objects.put_opts(&ObjectPath::from(path), bytes.into(), options).await;
        put.map_err(|source| StoreError::Put { path: path.to_owned(), source })?;
        self.sync(path).await
    }

    /// Syncs a file and the folders down to it: object_store leaves that to the operating system.
    pub async fn sync(&self, path: &str) -> Result<(), StoreError> {
        let Some(root) = self.local_root.clone() else { return Ok(()) };
        let below = path.to_owned();
        let synced = tokio::task::spawn_blocking(move || sync_file(&root, &below)).await;
        synced
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            .map_err(|source| StoreError::Sync { path: path.to_owned(), source })
    }

    /// Deletes files; one that is gone already is no error. Returns those that are gone.
    pub async fn delete(&self, paths: &[String]) -> Vec<String> {
        let mut deleted = Vec::new();
        for path in paths {
            match self.objects.delete(&ObjectPath::from(path.as_str())).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => deleted.push(path.clone()),
                Err(error) => tracing::warn!(path, %error, "a file that nobody needs cannot be deleted yet"),
            }
        }
        deleted
    }
}

fn sync_file(root: &Path, below: &str) -> io::Result<()> {
    let file = root.join(below);
    File::open(&file)?.sync_all()?;
    let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
    for folder in folders {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
