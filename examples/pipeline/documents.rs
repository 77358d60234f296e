//! The input: sections of text files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is a text file inside a folder; a file that is named is taken whatever it is called.
const TEXT: [&str; 5] = ["adoc", "markdown", "md", "rst", "txt"];

/// A longer section is cut, so that every broker takes it.
const LONGEST: usize = 512 * 1024;

/// One section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) path: String,
    pub(crate) heading: String,
    pub(crate) number: usize,
    /// As in the file, which need not be UTF-8.
    pub(crate) text: Vec<u8>,
}

/// Reads all of them.
pub(crate) fn read(paths: &[PathBuf]) -> io::Result<Vec<Document>> {
    let own = [Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?];
    let paths = if paths.is_empty() { &own[..] } else { paths };
    let mut files = Vec::new();
    for path in paths {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(named)?.is_dir() {
            find(path, &mut files).map_err(named)?;
        } else {
            files.push(path.clone());
        }
    }
    let mut documents = Vec::new();
    for file in files {
        let text = fs::read(&file)?;
        documents.extend(sections(&file.display().to_string(), &text));
    }
    if documents.is_empty() {
        let error = "no text was found: name files, or folders with .md, .txt, .rst or .adoc files";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    Ok(documents)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.to_string_lossy().starts_with('.') || name == "target";
        let kind = entry.file_type()?;
        if kind.is_dir() && !hidden {
            find(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|e| TEXT.iter().any(|text| e == *text)) {
            files.push(path);
        }
    }
    Ok(())
}

/// Cuts at Markdown headings outside of code fences; a text without any is one section.
fn sections(path: &str, text: &[u8]) -> Vec<Document> {
    let mut sections: Vec<(String, Vec<u8>)> = vec![(String::new(), Vec::new())];
    let mut fenced = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let start = line.trim_ascii_start();
        if start.starts_with(b"```") || start.starts_with(b"~~~") {
            fenced = !fenced;
        }
        let heading = (!fenced && line.starts_with(b"#")).then(|| heading(line));
        let full = sections.last().is_some_and(|(_, text)| text.len() + line.len() > LONGEST);
        if heading.is_some() || full {
            let before = sections.last().map(|(name, _)| name.clone()).unwrap_or_default();
            sections.push((heading.unwrap_or(before), Vec::new()));
        }
        for piece in line.chunks(LONGEST) {
            if let Some((_, text)) = sections.last_mut() {
                text.extend_from_slice(piece);
            }
        }
    }
    let with_text = sections.into_iter().filter(|(_, text)| !text.trim_ascii().is_empty());
    with_text
        .enumerate()
        .map(|(number, (heading, text))| Document { path: path.to_owned(), heading, number, text })
        .collect()
}

fn heading(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_start_matches('#').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_cut_and_fences_hide_them() {
        let text = b"intro\n# One\na\n```\n# not a heading\n```\n## Two\n\n# Three\nc\n";
        let cut: Vec<_> = sections("x.md", text).into_iter().map(|d| (d.number, d.heading)).collect();
        let expected = [(0, ""), (1, "One"), (2, "Two"), (3, "Three")];
        assert_eq!(cut, expected.map(|(n, h)| (n, h.to_owned())));
    }

    #[test]
    fn nothing_of_a_text_is_left_out() {
        let text: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let whole: Vec<u8> = sections("x", &text).into_iter().flat_map(|d| d.text).collect();
        assert_eq!(whole, text);
    }
}
