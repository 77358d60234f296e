//! `Measures`: the metrics that were exported last, read back.

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter,
    data::{AggregatedMetrics, MetricData, ResourceMetrics},
};
use std::collections::BTreeMap;

/// Every series of one export.
///
/// ```
/// use opentelemetry::metrics::MeterProvider;
/// use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
/// use throughline_test::Measures;
///
/// let exporter = InMemoryMetricExporter::default();
/// let reader = PeriodicReader::builder(exporter.clone()).build();
/// let provider = SdkMeterProvider::builder().with_reader(reader).build();
/// provider.meter("t").u64_counter("done").build().add(3, &[]);
/// provider.force_flush()?;
/// assert_eq!(Measures::last(&exporter).sum("done", &[]), 3.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Measures(Vec<Measure>);

/// One series.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measure {
    /// The metric's name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The schema of the meter.
    pub schema: String,
    /// What tells this series from the others of the metric; numbers are written out.
    pub attributes: BTreeMap<String, String>,
    /// The value of a counter or a gauge; how many values a histogram has.
    pub value: f64,
    /// The sum of a histogram's values; 0 for others.
    pub total: f64,
    /// The bounds of a histogram's buckets.
    pub bounds: Vec<f64>,
}

impl Measures {
    /// Those of the last export; none if there was none.
    pub fn last(exporter: &InMemoryMetricExporter) -> Self {
        let exports = exporter.get_finished_metrics().unwrap_or_default();
        exports.last().map(Measures::of).unwrap_or_default()
    }

    fn of(export: &ResourceMetrics) -> Self {
        let mut all = Vec::new();
        for scope in export.scope_metrics() {
            for metric in scope.metrics() {
                let like = Measure {
                    name: metric.name().to_owned(),
                    unit: metric.unit().to_owned(),
                    schema: scope.scope().schema_url().unwrap_or_default().to_owned(),
                    attributes: BTreeMap::new(),
                    value: 0.0,
                    total: 0.0,
                    bounds: Vec::new(),
                };
                match metric.data() {
                    AggregatedMetrics::F64(data) => read(data, |value| value, &like, &mut all),
                    AggregatedMetrics::U64(data) => read(data, |value| value as f64, &like, &mut all),
                    AggregatedMetrics::I64(data) => read(data, |value| value as f64, &like, &mut all),
                }
            }
        }
        Measures(all)
    }

    /// Every series.
    pub fn all(&self) -> &[Measure] {
        &self.0
    }

    /// The series of this metric that have these attributes, and maybe others.
    pub fn with(&self, name: &str, attributes: &[(&str, &str)]) -> Vec<&Measure> {
        self.0.iter().filter(|measure| measure.name == name && measure.has(attributes)).collect()
    }

    /// The values of these series added up.
    pub fn sum(&self, name: &str, attributes: &[(&str, &str)]) -> f64 {
        self.with(name, attributes).iter().map(|measure| measure.value).sum()
    }
}

impl Measure {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn has(&self, attributes: &[(&str, &str)]) -> bool {
        attributes.iter().all(|(name, value)| self.attribute(name) == Some(*value))
    }
}

fn read<T: Copy>(data: &MetricData<T>, number: impl Fn(T) -> f64, like: &Measure, all: &mut Vec<Measure>) {
    let of = |attributes: &mut dyn Iterator<Item = &KeyValue>, value| Measure {
        attributes: attributes.map(|kv| (kv.key.to_string(), kv.value.to_string())).collect(),
        value,
        ..like.clone()
    };
    match data {
        MetricData::Gauge(gauge) => {
            all.extend(gauge.data_points().map(|point| of(&mut point.attributes(), number(point.value()))));
        }
        MetricData::Sum(sum) => {
            all.extend(sum.data_points().map(|point| of(&mut point.attributes(), number(point.value()))));
        }
        MetricData::Histogram(histogram) => all.extend(histogram.data_points().map(|point| Measure {
            total: number(point.sum()),
            bounds: point.bounds().collect(),
            ..of(&mut point.attributes(), point.count() as f64)
        })),
        // Nothing of ours makes one.
        MetricData::ExponentialHistogram(_) => {}
    }
}
