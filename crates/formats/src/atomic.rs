//! Files and directories that appear whole or not at all.

use crate::{FormatError, partial};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`: a temporary file beside it, flushed to the disk, then renamed.
/// On failure nothing is left behind and a file that was there before is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    write_atomic_with(path, |out| out.write_all(bytes))
}

/// As [`write_atomic`], with the content streamed by `write` (already buffered).
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    let parent = parent_directory(path)?;
    let failed = |source| FormatError::io(path, source);
    let mut file = partial::file(parent).map_err(failed)?;
    {
        // 1 MiB: large enough that tensors go out in few system calls.
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        write(&mut out).map_err(failed)?;
        out.flush().map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_directory(parent);
    Ok(())
}

/// A directory that is filled under a temporary name beside its target and renamed when complete.
/// Dropped before [`commit`](AtomicDir::commit), it is removed.
#[derive(Debug)]
pub struct AtomicDir {
    target: PathBuf,
    directory: tempfile::TempDir,
    /// Says, for as long as it is open, that the directory is somebody's.
    _lock: Option<fs::File>,
}

impl AtomicDir {
    /// Creates the temporary directory next to `target`, whose parent must exist.
    pub fn new(target: &Path) -> Result<Self, FormatError> {
        let parent = parent_directory(target)?;
        let (directory, lock) =
            partial::directory(parent).map_err(|source| FormatError::io(target, source))?;
        Ok(AtomicDir { target: target.to_owned(), directory, _lock: lock })
    }

    /// Whether `target` can become a new directory: its parent exists, and it does not or is empty. Asked
    /// before anything is computed for it.
    pub fn check(target: &Path) -> Result<(), FormatError> {
        parent_directory(target)?;
        match state_of(target)? {
            Target::Absent | Target::EmptyDirectory => Ok(()),
            Target::FullDirectory => Err(FormatError::malformed(
                target,
                "already exists and is not empty: give the name of a new directory",
            )),
        }
    }

    /// Where the files are to be written.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Flushes every file to the disk, then renames onto the target, which must not exist or be an empty directory.
    pub fn commit(self) -> Result<(), FormatError> {
        match state_of(&self.target)? {
            Target::Absent => {}
            Target::EmptyDirectory => {
                fs::remove_dir(&self.target).map_err(|source| FormatError::io(&self.target, source))?;
            }
            Target::FullDirectory => {
                return Err(FormatError::malformed(&self.target, "already exists and is not empty"));
            }
        }
        self.move_into_place()
    }

    fn move_into_place(self) -> Result<(), FormatError> {
        sync_files(self.directory.path()).map_err(|source| FormatError::io(&self.target, source))?;
        fs::rename(self.directory.path(), &self.target)
            .map_err(|source| FormatError::io(&self.target, source))?;
        // Renamed: there is nothing left to remove under the temporary name.
        let _ = self.directory.keep();
        if let Ok(parent) = parent_directory(&self.target) {
            sync_directory(parent);
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Target {
    Absent,
    EmptyDirectory,
    FullDirectory,
}

fn state_of(target: &Path) -> Result<Target, FormatError> {
    match fs::read_dir(target) {
        Ok(mut entries) => {
            Ok(if entries.next().is_none() { Target::EmptyDirectory } else { Target::FullDirectory })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Target::Absent),
        Err(error) => Err(FormatError::io(target, error)),
    }
}

fn parent_directory(path: &Path) -> Result<&Path, FormatError> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(FormatError::malformed(path, "is not a name that a file can have")),
    };
    if !parent.is_dir() {
        return Err(FormatError::malformed(
            path,
            format!("cannot be written: there is no directory {}", parent.display()),
        ));
    }
    Ok(parent)
}

/// Flushes the files of a directory, and their names.
fn sync_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_files(&entry.path())?,
            kind if kind.is_file() => sync_file(&entry.path())?,
            _ => {}
        }
    }
    sync_directory(directory);
    Ok(())
}

fn sync_file(path: &Path) -> io::Result<()> {
    // Windows flushes only what may be written; elsewhere a copy of a file that may not is flushed too.
    match cfg!(windows) {
        true => fs::OpenOptions::new().write(true).open(path)?.sync_all(),
        false => fs::File::open(path)?.sync_all(),
    }
}

/// Makes a rename durable where the system can; a failure costs durability, not correctness.
fn sync_directory(directory: &Path) {
    #[cfg(unix)]
    if let Ok(handle) = fs::File::open(directory) {
        let _ = handle.sync_all();
    }
    #[cfg(not(unix))]
    let _ = directory;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.txt");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        let failed = write_atomic_with(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("stop"))
        });
        assert!(failed.unwrap_err().to_string().contains("out.txt: stop"));
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(directory.path()), ["out.txt"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_atomic(&directory.path().join("absent/out.txt"), b"").unwrap_err();
        assert!(error.to_string().contains("no directory"), "{error}");
        assert!(AtomicDir::new(&directory.path().join("absent/out")).is_err());
    }

    #[test]
    fn a_directory_appears_on_commit_only() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        let abandoned = AtomicDir::new(&target).unwrap();
        fs::write(abandoned.path().join("a"), b"1").unwrap();
        drop(abandoned);
        assert!(names(root.path()).is_empty());

        fs::create_dir(&target).unwrap();
        let first = AtomicDir::new(&target).unwrap();
        fs::write(first.path().join("a"), b"1").unwrap();
        first.commit().unwrap();
        assert_eq!(names(&target), ["a"]);

        let refused = AtomicDir::new(&target).unwrap();
        assert!(refused.commit().unwrap_err().to_string().contains("not empty"));
        assert_eq!(names(root.path()), ["model"]);

        fs::write(root.path().join("file"), b"").unwrap();
        assert!(AtomicDir::new(&root.path().join("file")).unwrap().commit().is_err());
        assert_eq!(names(root.path()), ["file", "model"]);
    }
}
