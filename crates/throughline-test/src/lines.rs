//! Files of JSON lines that several processes append to, any of which may be killed while it writes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Ends a line that a killed process left unfinished, so that what is appended later is not glued to it.
const TORN: &[u8] = b"~torn\n";

/// A file opened for appending.
///
/// Every [`write`](Self::write) is one `write(2)`: what it was given survives the death of this process by any
/// signal (not that of the machine, as nothing is synced), and lines of several writers do not mix.
#[derive(Debug)]
pub(crate) struct Lines(File);

impl Lines {
    pub(crate) fn append(path: &Path) -> io::Result<Lines> {
        Self::open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn open(path: &Path) -> io::Result<Lines> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(TORN)?;
            }
        }
        Ok(Lines(file))
    }

    /// Appends whole lines, each with its `\n`.
    pub(crate) fn write(&self, lines: &[u8]) -> io::Result<()> {
        (&self.0).write_all(lines)
    }
}

/// Hands every whole line of a file to `each` and answers how many torn ones were passed over.
///
/// # Errors
/// A line that was finished and that `each` refuses; the error names file and line.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), serde_json::Error>,
) -> io::Result<usize> {
    let bytes = std::fs::read(path)?;
    let mut torn = 0;
    for (n, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else {
            torn += 1;
            continue;
        };
        if line.ends_with(TORN) {
            torn += 1;
        } else if !whole.is_empty() {
            each(whole).map_err(|error| {
                let at = format!("{}, line {}: {error}", path.display(), n + 1);
                io::Error::new(io::ErrorKind::InvalidData, at)
            })?;
        }
    }
    Ok(torn)
}

/// The file itself, or the `.jsonl` files right in a folder, by name.
pub(crate) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_dir() { files_ending(path, "jsonl") } else { Ok(vec![path.to_owned()]) }
}

/// The files right in a folder whose names end like this, by name.
pub(crate) fn files_ending(path: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|e| e == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A folder under the system's temporary one that is removed with the guard.
#[cfg(test)]
pub(crate) mod scratch {
    use std::path::{Path, PathBuf};

    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("throughline-{name}-{:016x}", fastrand::u64(..)));
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{scratch::Scratch, *};

    fn numbers(path: &Path) -> io::Result<(Vec<u64>, usize)> {
        let mut found = Vec::new();
        let torn = read(path, |line| {
            found.push(serde_json::from_slice(line)?);
            Ok(())
        })?;
        Ok((found, torn))
    }

    #[test]
    fn a_torn_line_is_passed_over_at_the_end_and_after_a_restart() {
        let folder = Scratch::new("torn");
        let path = folder.path().join("a.jsonl");
        Lines::append(&path).unwrap().write(b"1\n2\n3").unwrap();
        assert_eq!(numbers(&path).unwrap(), (vec![1, 2], 1));
        Lines::append(&path).unwrap().write(b"4\n").unwrap();
        assert_eq!(numbers(&path).unwrap(), (vec![1, 2, 4], 1));
    }

    #[test]
    fn a_whole_line_that_makes_no_sense_is_an_error_with_its_place() {
        let folder = Scratch::new("nonsense");
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "1\nx\n2\n").unwrap();
        let error = numbers(&path).unwrap_err().to_string();
        assert!(error.contains("a.jsonl, line 2"), "{error}");
    }
}
