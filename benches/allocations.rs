//! B1 to B4 and B12: allocations a message, over all threads. Apart from the timed bench, whose numbers the counting would
//! change.
#![allow(clippy::print_stdout, reason = "a bench tells what it found")]

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, collections::HashMap};
use throughline::BoxError;
use throughline_benches::{
    cases::{ALL, Case},
    rows::{Rows, Target},
    tracker::{OUT, OutOfOrder},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: u64 = 51_200;

fn main() -> Result<(), BoxError> {
    let mut found = HashMap::new();
    for &name in ALL {
        let mut case = Case::new(name)?;
        case.run(MESSAGES)?;
        let once = count(&mut case, MESSAGES)?;
        let twice = count(&mut case, 2 * MESSAGES)?;
        // What is there once for a run does not count.
        let each = |once: usize, twice: usize| (twice as f64 - once as f64) / MESSAGES as f64;
        let (allocations, bytes) = (each(once.0, twice.0), each(once.1, twice.1));
        println!("{name:<28} {allocations:>7.3} allocations, {bytes:>8.1} bytes");
        found.insert(name, allocations);
    }
    let of = |name: &str| found[name];
    let mut rows = Rows::open("allocations")?;
    let unit = "allocations";
    let mut row = |id: &str, what: &str, value: f64, target: Target| rows.add(id, what, value, unit, target);
    row("B1", "whole way, untraced", of("way"), Target::AtMost(0.1))?;
    row(
        "B1",
        "whole way, untraced, a traceparent passed through",
        of("way, context passed through"),
        Target::None,
    )?;
    row("B1", "whole way, untraced, with metrics", of("way, metrics"), Target::None)?;
    row("B2", "layer alone", of("layer"), Target::None)?;
    row("B2", "layer alone, with metrics", of("layer, metrics"), Target::None)?;
    row("B2", "by hand", of("hand"), Target::None)?;
    let ratio = of("layer") / of("hand");
    rows.add("B2", "layer alone / by hand: allocations", ratio, "x", Target::AtMost(0.6))?;
    let mut row = |id: &str, what: &str, value: f64, target: Target| rows.add(id, what, value, unit, target);
    row("B2", "full path with publish", of("full"), Target::None)?;
    row("B2", "bare by hand: process and send", of("hand full"), Target::None)?;
    let unsampled = of("layer, unsampled") - of("bare");
    row("B3", "not sampled, links followed: added to a bare call", unsampled, Target::AtMost(2.0))?;
    row("B4", "extract", of("extract"), Target::AtMost(0.0))?;
    row("B4", "inject into an empty list", of("inject"), Target::AtMost(1.0))?;
    // The two headers and their list are two more, as without an injection.
    row("B4", "make a list of two and inject", of("inject into two"), Target::None)?;
    row("B12", "offset tracker, a settlement of 10,000 out of order", tracker(), Target::AtMost(0.0))?;
    Ok(())
}

fn tracker() -> f64 {
    let mut partition = OutOfOrder::default();
    let region = Region::new(ALLOCATOR);
    partition.deliver();
    partition.settle();
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / OUT as f64
}

/// Allocations, growths included, and bytes.
fn count(case: &mut Case, n: u64) -> Result<(usize, usize), BoxError> {
    let region = Region::new(ALLOCATOR);
    case.run(n)?;
    let change = region.change();
    Ok((change.allocations + change.reallocations, change.bytes_allocated))
}
