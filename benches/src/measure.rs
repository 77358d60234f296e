//! Time, CPU time and instructions of a case.

use crate::{cases::Case, rows};
use rustix::time::{ClockId, clock_gettime};
use std::{
    io,
    process::{Command, Stdio},
    time::Instant,
};
use throughline::BoxError;

/// Nanoseconds a message, of one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// On the clock on the wall.
    pub wall: f64,
    /// Of CPU, over all threads.
    pub cpu: f64,
}

/// Runs `n` messages.
///
/// # Errors
/// Those of the case.
pub fn time(case: &mut Case, n: u64) -> Result<Sample, BoxError> {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    case.run(n)?;
    let per = 1e9 / n as f64;
    Ok(Sample { wall: began.elapsed().as_secs_f64() * per, cpu: (cpu_seconds() - cpu) * per })
}

/// CPU time of this process so far, over all its threads.
pub fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Best, median and worst; all 0 without samples.
pub fn spread(samples: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut all: Vec<f64> = samples.into_iter().collect();
    all.sort_by(f64::total_cmp);
    let at = |n: usize| all.get(n).copied().unwrap_or_default();
    (at(0), at(all.len() / 2), at(all.len().saturating_sub(1)))
}

/// Instructions a message: this program under callgrind with `n` and with `2 n` messages, so that what is there once
/// does not count. All threads count.
///
/// # Errors
/// valgrind is not installed, or the run failed.
pub fn instructions(case: &str, n: u64) -> Result<f64, BoxError> {
    let (once, twice) = (collected(case, n)?, collected(case, 2 * n)?);
    Ok((twice - once) / n as f64)
}

fn collected(case: &str, n: u64) -> Result<f64, BoxError> {
    let profile = rows::folder().join(format!("callgrind.{}", case.replace([' ', ','], "-")));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["--run", case, &n.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BoxError::from(
                "*** instructions cannot be counted: valgrind is not installed; apt-get install valgrind ***",
            ),
            _ => error.into(),
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected.filter(|_| output.status.success()) {
        Some(collected) => Ok(collected),
        None => Err(format!("callgrind of `{case}` failed: {text}").into()),
    }
}
