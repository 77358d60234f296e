//! A lock that ends with its process, whatever ends that.

use std::{fs::File, io, path::Path};

use rustix::fs::{FlockOperation, flock};

use crate::failure::{Failure, Outcome, While};

/// An exclusive lock on a file. Dropping it lets go; the file stays.
#[derive(Debug)]
pub(crate) struct FileLock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl FileLock {
    /// Waits for it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn wait(path: &Path) -> Outcome<Self> {
        let file = open(path)?;
        flock(&file, FlockOperation::LockExclusive).while_doing(format!("lock {}", path.display()))?;
        Ok(Self(file))
    }

    /// `None` while somebody holds it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn try_take(path: &Path) -> Outcome<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => Ok(Some(Self(file))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::said(format!("could not lock {}: {error}", path.display()))),
        }
    }
}

fn open(path: &Path) -> Outcome<File> {
    File::create(path).while_doing(format!("create {}", path.display()))
}
