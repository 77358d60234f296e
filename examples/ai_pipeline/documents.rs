//! The input: text files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is a text file inside a folder; a file that is named is taken whatever it is called.
const TEXT: [&str; 5] = ["adoc", "markdown", "md", "rst", "txt"];

/// A longer file is cut, so that every broker takes its parts.
pub(crate) const LONGEST: usize = 128 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Its path, and which part of the file it is if there are several.
    pub(crate) id: String,
    /// As in the file, which need not be UTF-8.
    pub(crate) text: Vec<u8>,
}

/// Reads all of them, each so many times. What is in a folder and cannot be read is left out, aloud.
///
/// # Errors
/// Something that was named cannot be read, or there is no text.
pub(crate) fn read(paths: &[PathBuf], times: u32) -> io::Result<Vec<Document>> {
    let own = [Path::new(env!("CARGO_MANIFEST_DIR")).join("ai_pipeline/corpus")];
    let paths = if paths.is_empty() { &own[..] } else { paths };
    let mut documents = Vec::new();
    for path in paths {
        if !fs::metadata(path).map_err(|error| named(path, &error))?.is_dir() {
            let text = fs::read(path).map_err(|error| named(path, &error))?;
            documents.extend(parts(&path.display().to_string(), &text));
            continue;
        }
        let (mut files, mut left_out) = (Vec::new(), Vec::new());
        find(path, &mut files, &mut left_out);
        for file in files {
            let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
            match fs::read(&file) {
                Ok(text) => documents.extend(parts(&name, &text)),
                Err(error) => left_out.push(named(&file, &error)),
            }
        }
        left_out.iter().for_each(|error| eprintln!("left out: {error}"));
    }
    if documents.is_empty() {
        let error = "no text was found: name files, or folders with .md, .txt, .rst or .adoc files";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    let again = |n: u32| documents.iter().map(move |document| document.again(n)).collect::<Vec<_>>();
    Ok((1..=times).flat_map(again).collect())
}

impl Document {
    fn again(&self, n: u32) -> Self {
        let id = if n == 1 { self.id.clone() } else { format!("{}~{n}", self.id) };
        Document { id, text: self.text.clone() }
    }
}

/// The text files of a folder and its folders, by name; and the folders that cannot be read.
fn find(folder: &Path, files: &mut Vec<PathBuf>, left_out: &mut Vec<io::Error>) {
    let mut entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return left_out.push(named(folder, &error)),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.to_string_lossy().starts_with('.') || name == "target";
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !hidden {
            find(&path, files, left_out);
        } else if kind.is_file() && path.extension().is_some_and(|e| TEXT.iter().any(|text| e == *text)) {
            files.push(path);
        }
    }
}

/// An error that says where.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn parts(name: &str, text: &[u8]) -> Vec<Document> {
    let part = |(n, part): (usize, &[u8])| Document {
        id: if n == 0 { name.to_owned() } else { format!("{name}#{n}") },
        text: part.to_vec(),
    };
    text.chunks(LONGEST).enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_left_out() {
        let text: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let parts = parts("x", &text);
        assert_eq!(parts.iter().map(|part| &*part.id).collect::<Vec<_>>(), ["x", "x#1", "x#2"]);
        assert_eq!(parts.into_iter().flat_map(|part| part.text).collect::<Vec<_>>(), text);
    }

    #[test]
    fn the_corpus_is_found_and_repeated_under_other_names() {
        let (once, twice) = (read(&[], 1).unwrap(), read(&[], 2).unwrap());
        assert!(once.len() >= 30);
        let ids: std::collections::HashSet<_> = twice.iter().map(|document| &document.id).collect();
        assert_eq!(ids.len(), 2 * once.len());
    }
}
