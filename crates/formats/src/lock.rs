//! One writer at a time in a directory, by a lock that the system gives up with the process, however that ends.

use crate::FormatError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The right to write in a directory, for one purpose; given up when it is dropped, and by the system when the process
/// dies. Kept in a file `.retrograd-PURPOSE.lock` that is removed with it; one that a killed process left is nobody's.
///
/// Where the file system has no locks (some network mounts), everybody gets it.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    file: Option<File>,
}

impl DirectoryLock {
    /// Takes the lock. `directory` must exist; `purpose` is a part of a file name.
    ///
    /// # Errors
    /// When another process has it, with that process's number; when no file can be made there.
    pub fn acquire(directory: &Path, purpose: &str) -> Result<DirectoryLock, FormatError> {
        let path = directory.join(format!(".retrograd-{purpose}.lock"));
        let failed = |source| FormatError::io(&path, source);
        loop {
            let mut file = match open(&path) {
                Ok(file) => file,
                Err(error) if held_open(&error) => return Err(busy(directory, purpose, None)),
                Err(error) => return Err(failed(error)),
            };
            match try_lock(&file) {
                Ok(true) => {}
                Ok(false) => {
                    let mut owner = String::new();
                    let _ = file.read_to_string(&mut owner);
                    return Err(busy(directory, purpose, owner.trim().parse().ok()));
                }
                Err(_) => {
                    // Without locks it says nothing, and nobody would remove it.
                    let _ = fs::remove_file(&path);
                    return Ok(DirectoryLock { path, file: None });
                }
            }
            // Between opening and locking, the owner before may have removed the file: the lock must be on the one
            // that others find.
            if is_still_at(&file, &path) {
                file.set_len(0).map_err(failed)?;
                file.rewind().map_err(failed)?;
                writeln!(file, "{}", std::process::id()).map_err(failed)?;
                return Ok(DirectoryLock { path, file: Some(file) });
            }
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if self.file.is_some() {
            #[cfg(not(unix))]
            self.file.take();
            // While it is locked, so that nobody else's is removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn busy(directory: &Path, purpose: &str, owner: Option<u32>) -> FormatError {
    let owner = owner.map_or("another process".to_owned(), |owner| format!("process {owner}"));
    FormatError::malformed(
        directory,
        format!("{owner} is writing here ({purpose}): wait until it has ended, or give another directory"),
    )
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(windows)]
    {
        // Opening it is locking it: nobody else may open it meanwhile.
        use std::os::windows::fs::OpenOptionsExt;
        options.share_mode(0);
    }
    options.open(path)
}

/// Whether the system says that somebody else has the file open (Windows: a sharing violation).
fn held_open(error: &io::Error) -> bool {
    cfg!(windows) && error.raw_os_error() == Some(32)
}

/// Locks an open file or directory without waiting: `false` where another has it.
///
/// # Errors
/// Where this file system has no locks.
#[cfg(unix)]
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(crate) fn try_lock(_file: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(found)) => (ours.dev(), ours.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), "training").unwrap();
        let refused = DirectoryLock::acquire(directory.path(), "training").unwrap_err().to_string();
        assert!(refused.contains("is writing here (training)"), "{refused}");
        if cfg!(unix) {
            assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        }
        let other = DirectoryLock::acquire(directory.path(), "part-00001").unwrap();
        drop(first);
        let again = DirectoryLock::acquire(directory.path(), "training").unwrap();
        drop((again, other));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_a_killed_process_left_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".retrograd-training.lock"), "4294967294\n").unwrap();
        DirectoryLock::acquire(directory.path(), "training").unwrap();
    }

    #[test]
    fn many_take_turns() {
        let directory = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let inside = &inside;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut turns = 0;
                    while turns < 50 {
                        let Ok(lock) = DirectoryLock::acquire(directory.path(), "x") else { continue };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        turns += 1;
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
