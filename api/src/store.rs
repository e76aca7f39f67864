//! Where segments are kept: a folder of this machine, or what a URL names.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

/// An object store and the `data_path` that DuckLake's readers use for the same place; it ends in `/`.
pub struct Store {
    /// Paths are relative to the data path.
    pub objects: Arc<dyn ObjectStore>,
    /// `/abs/path/` or `s3://bucket/prefix/`.
    pub data_path: String,
    /// The folder, when it is one of this machine: segments are synced before they are committed.
    pub local: Option<std::path::PathBuf>,
}

/// Opens the store at `url`, or the folder `default` without one.
///
/// Credentials and endpoints come from the environment, as object_store reads them (`AWS_ACCESS_KEY_ID`, …).
pub fn open(url: Option<&str>, default: &Path) -> anyhow::Result<Store> {
    let Some(url) = url else { return open_folder(default) };
    let parsed = url::Url::parse(url)
        .with_context(|| format!("the store \"{url}\" is not a URL; write for example s3://bucket/path"))?;
    if parsed.scheme() == "file" {
        let Ok(path) = parsed.to_file_path() else { bail!("the store {url} names no folder of this machine") };
        return open_folder(&path);
    }
    let environment =
        std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_lowercase(), value));
    let (objects, prefix) =
        object_store::parse_url_opts(&parsed, environment).with_context(|| format!("cannot open the store {url}"))?;
    let data_path = format!("{}/", url.trim_end_matches('/'));
    Ok(Store { objects: Arc::new(PrefixStore::new(objects, prefix)), data_path, local: None })
}

fn open_folder(path: &Path) -> anyhow::Result<Store> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot create the folder of segments {}", path.display()))?;
    let objects = LocalFileSystem::new_with_prefix(path)
        .with_context(|| format!("cannot open the folder of segments {}", path.display()))?;
    let data_path = format!(
        "{}/",
        path.to_str().context("the folder of segments has a name that is not UTF-8")?.trim_end_matches('/')
    );
    Ok(Store { objects: Arc::new(objects), data_path, local: Some(path.to_owned()) })
}
