//! Computes the rows of the ledgers in a folder: `ledger-check FOLDER [--append FILE] [--require ID[/BROKER]]..`.
//!
//! Each sub-folder of FOLDER, and each `.jsonl` file right in it, is one run and gives one line on stdout. The exit
//! status is 0 if every row is ok, 1 if one is not or cannot be computed, 2 if a required one is not there (or the
//! call makes no sense).

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use throughline_test::{Row, check};

const USAGE: &str = "usage: ledger-check FOLDER [--append FILE] [--require ID[/BROKER]]..";

#[derive(Debug, Default, PartialEq)]
struct Call {
    folder: PathBuf,
    append: Option<PathBuf>,
    require: Vec<String>,
}

fn main() -> ExitCode {
    let status = match Call::parse(std::env::args().skip(1)) {
        Ok(call) => call.run(&mut io::stdout().lock(), &mut io::stderr().lock()),
        Err(why) => writeln!(io::stderr(), "{why}\n{USAGE}").map(|()| 2),
    };
    // Nobody reads what we print: that is no verdict on the rows, but it is no success either.
    ExitCode::from(status.unwrap_or(1))
}

impl Call {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Call, String> {
        let (mut call, mut args) = (Call::default(), args.into_iter());
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
            match &*arg {
                "--append" => call.append = Some(value()?.into()),
                "--require" => call.require.push(value()?),
                flag if flag.starts_with('-') => return Err(format!("unknown option `{flag}`")),
                folder if call.folder.as_os_str().is_empty() => call.folder = folder.into(),
                more => return Err(format!("one folder, not also `{more}`")),
            }
        }
        if call.folder.as_os_str().is_empty() {
            return Err("which folder?".to_owned());
        }
        Ok(call)
    }

    fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
        let runs = match runs(&self.folder) {
            Ok(runs) => runs,
            Err(error) => {
                writeln!(err, "cannot read `{}`: {error}", self.folder.display())?;
                return Ok(2);
            }
        };
        let (mut status, mut rows, mut lines) = (0, Vec::new(), String::new());
        for run in runs {
            match check(&run) {
                Ok(row) => {
                    if !row.ok {
                        writeln!(err, "{}: {}", run.display(), row.why)?;
                        status = 1;
                    }
                    lines.push_str(&format!("{row}\n"));
                    rows.push(row);
                }
                Err(error) => {
                    writeln!(err, "{}: {error}", run.display())?;
                    status = 1;
                }
            }
        }
        out.write_all(lines.as_bytes())?;
        if let Some(path) = &self.append {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            OpenOptions::new().create(true).append(true).open(path)?.write_all(lines.as_bytes())?;
        }
        for name in self.require.iter().filter(|name| !rows.iter().any(|row| is_it(row, name))) {
            writeln!(err, "`{name}` left no ledger in `{}`", self.folder.display())?;
            status = 2;
        }
        Ok(status)
    }
}

fn is_it(row: &Row, name: &str) -> bool {
    match name.split_once('/') {
        Some((id, broker)) => row.id == id && row.broker == broker,
        None => row.id == name,
    }
}

fn runs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|end| end == "jsonl") {
            runs.push(path);
        }
    }
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use throughline_test::{Demands, Entry, Ev, Ledger, Meta};

    /// A folder that goes away with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("ledger-check-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn write(folder: &Path, guarantee: &str, entries: &[Entry<'_>]) {
        let demands = Demands::new();
        let meta =
            Meta { guarantee: guarantee.into(), broker: "memory".into(), tier: 1, started: 0, demands };
        let ledger = Ledger::begin(folder.join(guarantee), &meta).unwrap();
        ledger.record_all(entries.iter().cloned()).unwrap();
    }

    fn run(args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let call = Call::parse(args.iter().map(|arg| (*arg).to_owned())).unwrap();
        let status = call.run(&mut out, &mut err).unwrap();
        (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn one_row_a_run_and_the_status_says_the_worst() {
        let scratch = Scratch::new("rows");
        let folder = scratch.0.join("runs");
        let name = folder.to_str().unwrap();
        write(&folder, "G1", &[Entry::new(Ev::Produced, 1), Entry::new(Ev::Finished, 1)]);
        let append = scratch.0.join("deep/rows.jsonl");
        let (status, out, _) = run(&[name, "--require", "G1/memory", "--append", append.to_str().unwrap()]);
        assert_eq!((status, out.lines().count()), (0, 1));
        assert!(
            out.starts_with(r#"{"id":"G1","broker":"memory","tier":1,"ids":1,"lost":0,"duplicates":0"#),
            "{out}"
        );
        assert_eq!(std::fs::read_to_string(&append).unwrap(), out);

        let (status, _, err) = run(&[name, "--require", "G1/kafka", "--require", "G1"]);
        assert_eq!((status, err.contains("G1/kafka")), (2, true));

        write(&folder, "G5", &[Entry::new(Ev::Produced, 1)]);
        let (status, out, err) = run(&[name]);
        assert_eq!((status, out.lines().count()), (1, 2));
        assert!(err.contains("1 lost"), "{err}");
    }

    #[test]
    fn an_empty_folder_is_fine_unless_something_was_required() {
        let scratch = Scratch::new("empty");
        let name = scratch.0.to_str().unwrap();
        assert_eq!(run(&[name]).0, 0);
        assert_eq!(run(&[name, "--require", "G2"]).0, 2);
        assert_eq!(run(&["/no/such/folder"]).0, 2);
    }

    #[test]
    fn calls_that_make_no_sense_are_refused() {
        for args in [&[][..], &["a", "b"], &["a", "--require"], &["--wrong", "a"]] {
            assert!(Call::parse(args.iter().map(|arg| (*arg).to_owned())).is_err(), "{args:?}");
        }
    }
}
