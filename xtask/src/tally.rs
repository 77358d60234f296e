//! Counts of tests, read from the closing lines of the test runners.

use std::{fmt, ops::AddAssign};

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// One failure that no test runner counts: a build, a crash, a ledger.
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One thing that could not be tried.
    pub(crate) const SKIP: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Sums the `test result:` lines in the output of a test binary that ended well or not. A binary that failed
    /// without saying so counts as one failure, and so does one that says nothing at all: it never got to its end.
    pub(crate) fn of_output(output: &str, success: bool) -> Self {
        let mut sum = Self::default();
        let mut lines = 0;
        for tally in output.lines().filter_map(Self::of_line) {
            sum += tally;
            lines += 1;
        }
        if sum.failed == 0 && (!success || lines == 0) {
            sum += Self::FAILURE;
        }
        sum
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let count = |word: &str| {
            counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim_end().parse::<u64>().ok())
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_closing_lines() {
        let output = "running 4 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n\
            test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        assert_eq!(Tally::of_output(output, false), Tally { passed: 3, failed: 2, skipped: 1 });
        assert_eq!(Tally::of_output(output, false).to_string(), "3 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_crash_is_a_failure_although_no_line_counts_it() {
        let ok =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(Tally::of_output(ok, false), Tally { passed: 3, failed: 1, skipped: 0 });
        assert_eq!(Tally::of_output("running 4 tests\n", true), Tally::FAILURE);
        assert_eq!(Tally::of_output("", false), Tally::FAILURE);
    }
}
