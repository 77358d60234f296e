//! B1 to B4 and B12: instructions a message, and time against hand-written code in interleaved rounds.
//!
//! `cargo bench -p throughline-benches --bench cost -- way` measures only the cases whose name begins so and prints
//! what it found; without a name the rows of BENCHMARKS are written.
#![allow(clippy::print_stdout, reason = "a bench tells what it found")]

use std::{collections::HashMap, time::Instant};
use throughline::BoxError;
use throughline_benches::{
    cases::{ALL, Case},
    measure::{self, Sample, spread},
    rows::{Rows, Target},
    tracker::{OUT, OutOfOrder},
};

/// Messages under callgrind, where everything takes fifty times as long.
const COUNTED: u64 = 20_480;
/// Messages in a timed round.
const TIMED: u64 = 100_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), BoxError> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match &words[..] {
        [run, case, n] if run == "--run" => Case::new(case)?.run(n.parse()?),
        [] => everything(),
        [begin, ..] if begin == "tracker" => tracker(&mut Rows::open("cost")?),
        [begin, ..] => some(begin),
    }
}

fn some(begin: &str) -> Result<(), BoxError> {
    let names: Vec<_> = ALL.iter().filter(|name| name.starts_with(begin)).copied().collect();
    let times = times(&names)?;
    for name in names {
        let (best, median, worst) = spread(times[name].iter().map(|sample| sample.cpu));
        let (wall, _, _) = spread(times[name].iter().map(|sample| sample.wall));
        let instructions = measure::instructions(name, COUNTED)?;
        println!(
            "{name:<28} {instructions:>7.0} instructions, CPU ns {best:.0} {median:.0} {worst:.0}, wall {wall:.0}"
        );
    }
    Ok(())
}

/// Round by round, so that what else the machine does falls on all of them alike.
fn times(names: &[&'static str]) -> Result<HashMap<&'static str, Vec<Sample>>, BoxError> {
    let mut cases = Vec::new();
    for &name in names {
        let mut case = Case::new(name)?;
        case.run(TIMED / 10)?;
        cases.push((name, case));
    }
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for _ in 0..ROUNDS {
        for (name, case) in &mut cases {
            found.entry(*name).or_default().push(measure::time(case, TIMED)?);
        }
    }
    Ok(found)
}

fn everything() -> Result<(), BoxError> {
    let mut rows = Rows::open("cost")?;
    let times = times(ALL)?;
    let mut counted = HashMap::new();
    for &name in ALL {
        counted.insert(name, measure::instructions(name, COUNTED)?);
    }
    let cpu = |name: &str| spread(times[name].iter().map(|sample| sample.cpu));
    let wall = |name: &str| spread(times[name].iter().map(|sample| sample.wall));
    let counted = |name: &str| counted[name];
    instructions(&mut rows, counted)?;
    against_hand(&mut rows, counted, cpu, wall)?;
    unsampled(&mut rows, counted, cpu)?;
    codec(&mut rows, counted, cpu)?;
    tracker(&mut rows)
}

type Spread = (f64, f64, f64);

fn instructions(rows: &mut Rows, counted: impl Fn(&str) -> f64) -> Result<(), BoxError> {
    let unit = "instructions";
    let way = counted("way");
    let what = "whole way, untraced: mailbox at 64, lanes by key, settle, guard, bytes handler";
    rows.add("B1", what, way, unit, Target::AtMost(850.0))?;
    rows.add("B1", "of these, the replay's own clone of a message", counted("clone"), unit, Target::None)?;
    let each = (counted("way, five layers") - way) / 5.0;
    rows.add("B1", "each further plain layer, of five", each, unit, Target::AtMost(25.0))?;
    for (what, name) in [
        ("tower's Retry, on top", "way, retry"),
        ("tower's ConcurrencyLimit, on top", "way, concurrency limit"),
        ("tower's Timeout, on top", "way, timeout"),
        ("a typed handler in place of a closure, on top", "way, typed"),
        ("a traceparent in the message, passed through, on top", "way, context passed through"),
        ("a typed handler that publishes, on top", "way, publish"),
        ("metrics, on top", "way, metrics"),
        ("batches of 64 in place of messages", "way, batches"),
    ] {
        rows.add("B1", what, counted(name) - way, unit, Target::None)?;
    }
    Ok(())
}

fn against_hand(
    rows: &mut Rows,
    counted: impl Fn(&str) -> f64,
    cpu: impl Fn(&str) -> Spread,
    wall: impl Fn(&str) -> Spread,
) -> Result<(), BoxError> {
    for (what, ours, hand, target) in [
        ("layer alone / by hand, no-op processor", "layer", "hand", Target::AtMost(0.75)),
        ("layer alone / by hand, batch processor", "layer, batch", "hand, batch", Target::AtMost(0.75)),
        ("full path / bare by hand, no-op processor", "full", "hand full", Target::AtMost(1.0)),
        (
            "full path / bare by hand, batch processor",
            "full, batch",
            "hand full, batch",
            Target::AtMost(0.85),
        ),
    ] {
        let (our, their) = (cpu(ours), cpu(hand));
        rows.add("B2", &format!("{what}: CPU time, medians"), our.1 / their.1, "x", target)?;
        rows.add("B2", &format!("{what}: CPU time, best"), our.0 / their.0, "x", Target::None)?;
        let wall = wall(ours).1 / wall(hand).1;
        rows.add("B2", &format!("{what}: wall time, medians"), wall, "x", Target::None)?;
        let ratio = counted(ours) / counted(hand);
        rows.add("B2", &format!("{what}: instructions"), ratio, "x", Target::None)?;
        for (name, (best, median, worst)) in [(ours, our), (hand, their)] {
            let what = format!("{name}: CPU time, median (best {best:.0}, worst {worst:.0})");
            rows.add("B2", &what, median, "ns", Target::None)?;
        }
    }
    Ok(())
}

fn unsampled(
    rows: &mut Rows,
    counted: impl Fn(&str) -> f64,
    cpu: impl Fn(&str) -> Spread,
) -> Result<(), BoxError> {
    let bare = cpu("bare");
    let added = |name| cpu(name).1 - bare.1;
    let metered = cpu("layer, metrics").1 - cpu("layer").1;
    rows.add("B2", "metrics: added to the layer alone", metered, "ns", Target::None)?;
    let metered = counted("layer, metrics") - counted("layer");
    rows.add("B2", "metrics: added to the layer alone", metered, "instructions", Target::None)?;
    let metered = counted("full, metrics") - counted("full");
    rows.add("B2", "metrics: added to the full path", metered, "instructions", Target::None)?;
    let what = "not sampled, links followed: added to a bare call";
    rows.add("B3", what, added("layer, unsampled"), "ns", Target::AtMost(150.0))?;
    let asked = "not sampled, the SDK asked (its sampler decides): added";
    rows.add("B3", asked, added("layer, unsampled, sdk asked"), "ns", Target::None)?;
    let metered = "not sampled, with metrics: added";
    rows.add("B3", metered, added("layer, unsampled, metrics"), "ns", Target::None)?;
    let instructions = counted("layer, unsampled") - counted("bare");
    rows.add("B3", what, instructions, "instructions", Target::None)?;
    rows.add(
        "B3",
        "full path with publish, not sampled",
        counted("full, unsampled"),
        "instructions",
        Target::None,
    )?;
    Ok(())
}

fn codec(
    rows: &mut Rows,
    counted: impl Fn(&str) -> f64,
    cpu: impl Fn(&str) -> Spread,
) -> Result<(), BoxError> {
    rows.add("B4", "extract", cpu("extract").1, "ns", Target::AtMost(30.0))?;
    for (what, name) in [
        ("extract, the SDK's propagator", "extract, sdk"),
        ("inject into an empty list", "inject"),
        ("inject into an empty list, the SDK's propagator", "inject, sdk"),
    ] {
        rows.add("B4", what, cpu(name).1, "ns", Target::None)?;
    }
    rows.add("B4", "extract", counted("extract"), "instructions", Target::None)?;
    rows.add("B4", "inject into an empty list", counted("inject"), "instructions", Target::None)?;
    Ok(())
}

/// The clock starts behind the deliveries: a settlement is what is asked for.
fn tracker(rows: &mut Rows) -> Result<(), BoxError> {
    let mut partition = OutOfOrder::default();
    let (mut settling, mut delivering) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let began = Instant::now();
        let out = partition.deliver();
        let delivered = Instant::now();
        let done = partition.settle();
        let settled = Instant::now();
        if out != OUT || done.is_none_or(|offset| offset % OUT as i64 != 0) {
            return Err("the tracker did not take or did not pass what was delivered".into());
        }
        let each = |from: Instant, to: Instant| to.duration_since(from).as_nanos() as f64 / OUT as f64;
        delivering.push(each(began, delivered));
        settling.push(each(delivered, settled));
    }
    let median = |samples: Vec<f64>| spread(samples).1;
    let what = "offset tracker, a settlement of 10,000 out of order";
    rows.add("B12", what, median(settling), "ns", Target::AtMost(50.0))?;
    rows.add("B12", "offset tracker, a delivery", median(delivering), "ns", Target::None)?;
    Ok(())
}
