//! A benchmark on a broker: measured where there is one, and else a row that says why not.

use crate::rows::Rows;
use throughline::BoxError;

/// Measures on the broker at this address.
pub type Bench = fn(&str, &mut Rows) -> Result<(), BoxError>;

/// Runs the benchmark `id`, if it was built in, on the broker that the variable names; `what` is in the row that takes its
/// place.
///
/// # Errors
/// Those of the benchmark, or a file of rows that cannot be written.
pub fn run(
    file: &str,
    [id, what]: [&str; 2],
    variable: &str,
    feature: &str,
    bench: Option<Bench>,
) -> Result<(), BoxError> {
    let mut rows = Rows::open(file)?;
    let why = match (std::env::var(variable), bench) {
        (Ok(address), Some(bench)) => return bench(&address, &mut rows),
        (_, None) => format!("built without `--features {feature}`"),
        (Err(_), _) => format!("{variable}=host:port names no broker"),
    };
    Ok(rows.skipped(id, what, &why)?)
}
