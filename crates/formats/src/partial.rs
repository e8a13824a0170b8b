//! Files and directories that are being written, under hidden names beside their targets: `.retrograd-XXXXXX.partial`.
//!
//! Whoever writes one holds a lock on it, which the system gives up when the process dies. So one without a lock is what
//! a killed process left, and the next writer in that directory removes it.

use crate::lock::try_lock;
use std::fs::{self, File};
use std::io;
use std::path::Path;

const PREFIX: &str = ".retrograd-";
const SUFFIX: &str = ".partial";
/// Milliseconds that a writer waits for its turn.
#[cfg(unix)]
const PATIENCE_MS: u32 = 200;

/// A file to be written.
pub(crate) fn file(parent: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    permit(&mut builder, 0o666);
    let _turn = Turn::take(parent);
    let file = builder.tempfile_in(parent)?;
    // Where there are no locks, nobody removes anything either.
    let _ = try_lock(file.as_file());
    Ok(file)
}

/// A directory to be filled, and what holds its lock.
pub(crate) fn directory(parent: &Path) -> io::Result<(tempfile::TempDir, Option<File>)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    permit(&mut builder, 0o777);
    let _turn = Turn::take(parent);
    let directory = builder.tempdir_in(parent)?;
    let lock = File::open(directory.path()).ok();
    if let Some(lock) = &lock {
        let _ = try_lock(lock);
    }
    Ok((directory, lock))
}

/// A temporary file is private by default; what a user asked for gets the usual mode.
#[cfg(unix)]
fn permit(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn permit(_builder: &mut tempfile::Builder<'_, '_>, _mode: u32) {}

/// The time in which one writer makes its partial file and locks it. Others that make theirs in the same directory
/// wait, so that none is seen without its lock. Taking it removes what killed processes left.
struct Turn {
    _directory: Option<File>,
}

impl Turn {
    #[cfg(unix)]
    fn take(parent: &Path) -> Turn {
        use rustix::fs::{FlockOperation, flock};
        let Ok(directory) = File::open(parent) else { return Turn { _directory: None } };
        // Others have it for microseconds, unless it is locked for a purpose of the user's: then nothing is removed.
        // Nor is it where directories have no locks.
        for _ in 0..PATIENCE_MS {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    remove_abandoned(parent);
                    return Turn { _directory: Some(directory) };
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(_) => break,
            }
        }
        Turn { _directory: None }
    }

    #[cfg(not(unix))]
    fn take(_parent: &Path) -> Turn {
        Turn { _directory: None }
    }
}

/// Removes partial files and directories without an owner; what cannot be removed is left.
#[cfg(unix)]
fn remove_abandoned(parent: &Path) {
    use rustix::fs::{Mode, OFlags, open};
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            continue;
        }
        // No links: ours are none. Without waiting, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(found) = open(entry.path(), flags, Mode::empty()) else { continue };
        let found = File::from(found);
        if !matches!(try_lock(&found), Ok(true)) {
            continue;
        }
        let _ = match found.metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(entry.path()),
            Ok(metadata) if metadata.is_file() => fs::remove_file(entry.path()),
            _ => Ok(()),
        };
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_goes_and_what_is_being_written_stays() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        fs::write(at(".retrograd-aaaaaa.partial"), "half").unwrap();
        fs::create_dir(at(".retrograd-bbbbbb.partial")).unwrap();
        fs::write(at(".retrograd-bbbbbb.partial/model.safetensors"), "half").unwrap();
        std::os::unix::fs::symlink(at("kept"), at(".retrograd-cccccc.partial")).unwrap();
        fs::write(at("kept"), "whole").unwrap();
        fs::write(at(".retrograd-training.lock"), "1").unwrap();
        let (first, _lock) = directory(parent.path()).unwrap();
        let second = file(parent.path()).unwrap();
        let _third = file(parent.path()).unwrap();
        assert!(first.path().is_dir() && second.path().is_file());
        let left: Vec<bool> = ["aaaaaa", "bbbbbb"]
            .iter()
            .map(|name| at(&format!(".retrograd-{name}.partial")).exists())
            .collect();
        assert_eq!(left, [false, false]);
        assert_eq!(fs::read_to_string(at("kept")).unwrap(), "whole");
        assert!(at(".retrograd-training.lock").exists());
    }
}
