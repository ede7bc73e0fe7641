//! A bundle: manifest and files, from the binary or from a folder, whole or refused.

use super::ModelError;
use super::manifest::{self, Manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of a bundle may not be larger; a wrong path must not eat the memory.
const MAX_FILE_BYTES: u64 = 256 << 20;

pub(crate) struct Embedded {
    manifest: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

include!(concat!(env!("OUT_DIR"), "/bundles.rs"));

/// Where a bundle came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Inside this binary; `build.rs` checked the hashes.
    Embedded,
    /// A folder; hashes were checked when it was opened.
    Folder(PathBuf),
}

/// A manifest and the content of its files, every hash checked.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What `manifest.toml` says.
    pub manifest: Manifest,
    /// Where it came from.
    pub origin: Origin,
    files: BTreeMap<String, FileBytes>,
}

/// Bytes of a file, not copied when another bundle uses it too.
#[derive(Debug, Clone)]
enum FileBytes {
    Embedded(&'static [u8]),
    Read(Arc<[u8]>),
}

impl FileBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            FileBytes::Embedded(bytes) => bytes,
            FileBytes::Read(bytes) => bytes,
        }
    }
}

/// Every bundle in `dir` (a bundle, or a folder of bundles), or in the binary when `None`.
/// Each file is read and hashed once.
///
/// A file of another bundle is looked for among these, then in the binary.
///
/// # Errors
/// The first bundle that cannot be read or is not what its manifest says.
pub fn bundles(dir: Option<&Path>) -> Result<Vec<Bundle>, ModelError> {
    let embedded =
        || -> Result<Vec<Bundle>, ModelError> { EMBEDDED.iter().map(Bundle::embedded).collect() };
    let (mut found, others) = match dir {
        None => (embedded()?, Vec::new()),
        Some(dir) => (folders(dir)?, embedded()?),
    };
    for at in 0..found.len() {
        let borrowed = found[at].borrow(&found, &others)?;
        found[at].files.extend(borrowed);
    }
    Ok(found)
}

fn folders(dir: &Path) -> Result<Vec<Bundle>, ModelError> {
    if dir.join("manifest.toml").is_file() {
        return Ok(vec![Bundle::open(dir)?]);
    }
    let unreadable = |source| ModelError::Unreadable {
        path: dir.to_path_buf(),
        source,
    };
    let mut folders: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(unreadable)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("manifest.toml").is_file())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Bundle::open(folder)).collect()
}

impl Bundle {
    /// The bundle that answers `task`, from `dir` or from the binary.
    ///
    /// # Errors
    /// No such bundle, or one that is refused.
    pub fn find(task: &str, dir: Option<&Path>) -> Result<Bundle, ModelError> {
        let found = bundles(dir)?.into_iter().find(|b| b.manifest.task == task);
        found.ok_or_else(|| ModelError::missing(task, dir))
    }

    /// Opens a folder: reads the manifest, then every file, and compares the hashes.
    ///
    /// # Errors
    /// A file that is missing, cannot be read or was changed; a manifest that is refused.
    pub fn open(dir: &Path) -> Result<Bundle, ModelError> {
        let path = dir.join("manifest.toml");
        let text = String::from_utf8(read_limited(&path)?).map_err(|_| ModelError::Manifest {
            path: path.clone(),
            what: "is not UTF-8".into(),
        })?;
        let manifest = Manifest::parse(&text).map_err(|what| ModelError::Manifest {
            path: path.clone(),
            what,
        })?;
        let mut files = BTreeMap::new();
        for file in manifest.files.iter().filter(|f| f.bundle.is_none()) {
            let path = dir.join(&file.name);
            let bytes = read_limited(&path)?;
            check_hash(&path, &bytes, &file.sha256)?;
            files.insert(file.name.clone(), FileBytes::Read(bytes.into()));
        }
        Ok(Bundle {
            manifest,
            origin: Origin::Folder(dir.to_path_buf()),
            files,
        })
    }

    fn embedded(embedded: &Embedded) -> Result<Bundle, ModelError> {
        let manifest = Manifest::parse(embedded.manifest).map_err(|what| ModelError::Manifest {
            path: "embedded manifest.toml".into(),
            what,
        })?;
        let own = embedded.files.iter();
        let files = own
            .map(|(name, bytes)| ((*name).to_owned(), FileBytes::Embedded(bytes)))
            .collect();
        Ok(Bundle {
            manifest,
            origin: Origin::Embedded,
            files,
        })
    }

    /// A bundle of another manifest: its files are `made` now, or this bundle's.
    ///
    /// # Errors
    /// A file that the manifest lists and neither has.
    pub(crate) fn derive(
        &self,
        manifest: Manifest,
        made: Vec<(String, Vec<u8>)>,
    ) -> Result<Bundle, ModelError> {
        let mut files: BTreeMap<String, FileBytes> = made
            .into_iter()
            .map(|(name, bytes)| (name, FileBytes::Read(bytes.into())))
            .collect();
        for file in &manifest.files {
            if files.contains_key(&file.name) {
                continue;
            }
            let content = self.files.get(&file.name).cloned();
            let content = content.ok_or_else(|| ModelError::Refused {
                name: file.name.clone(),
                what: "is not in the bundle".into(),
            })?;
            files.insert(file.name.clone(), content);
        }
        Ok(Bundle {
            manifest,
            origin: self.origin.clone(),
            files,
        })
    }

    /// Compares the hashes of the bundle's own files again: a built-in bundle was compared
    /// when the binary was built, and flash memory wears.
    ///
    /// # Errors
    /// [`ModelError::Hash`] of the first file that is another than its manifest says.
    pub fn verify(&self) -> Result<(), ModelError> {
        for file in self.own_files() {
            let content = self.bytes(&file.name).unwrap_or_default();
            check_hash(Path::new(&file.name), content, &file.sha256)?;
        }
        Ok(())
    }

    /// `id@version`, as events carry it.
    pub fn name(&self) -> String {
        format!("{}@{}", self.manifest.id, self.manifest.version)
    }

    /// FileBytes of a file that the manifest lists, the bundle's own or another's.
    pub fn bytes(&self, file: &str) -> Option<&[u8]> {
        self.files.get(file).map(FileBytes::bytes)
    }

    /// Files that lie in the bundle itself.
    pub fn own_files(&self) -> impl Iterator<Item = &manifest::File> {
        self.manifest.files.iter().filter(|f| f.bundle.is_none())
    }

    /// Size of the bundle's own files together, in bytes.
    pub fn size(&self) -> usize {
        let sizes = self.own_files().filter_map(|f| self.bytes(&f.name));
        sizes.map(<[u8]>::len).sum()
    }

    /// The files that this bundle uses of others, from those that have them.
    fn borrow(
        &self,
        siblings: &[Bundle],
        others: &[Bundle],
    ) -> Result<Vec<(String, FileBytes)>, ModelError> {
        let mut borrowed = Vec::new();
        for file in &self.manifest.files {
            let Some(lender) = &file.bundle else {
                continue;
            };
            let mut holders = siblings.iter().chain(others);
            let found = holders.find_map(|b| {
                let same =
                    b.manifest.id == *lender && b.manifest.file(&file.name)?.sha256 == file.sha256;
                same.then(|| b.files.get(&file.name).cloned())?
            });
            let content = found.ok_or_else(|| ModelError::Shared {
                name: self.name(),
                bundle: lender.clone(),
                file: file.name.clone(),
            })?;
            borrowed.push((file.name.clone(), content));
        }
        Ok(borrowed)
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// The SHA-256 of bytes as manifests have it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn check_hash(path: &Path, bytes: &[u8], expected: &str) -> Result<(), ModelError> {
    let actual = sha256(bytes);
    if actual == expected {
        return Ok(());
    }
    Err(ModelError::Hash {
        path: path.to_path_buf(),
        actual,
        expected: expected.into(),
    })
}
