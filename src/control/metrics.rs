//! `/metrics`: what every shell counts, as Prometheus reads it (text format 0.0.4).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

use super::protocol::VERSION;
use crate::observe::{Kind, Observed, Sample};

/// The `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Everybody who counts something, and what the process says of itself.
pub struct Metrics {
    observed: Arc<Observers>,
    registry: Registry,
}

/// Who is asked at each scrape.
struct Observers {
    observed: Mutex<Vec<Arc<dyn Observed>>>,
    started_seconds: f64,
}

impl Metrics {
    /// The metrics of a process that starts now.
    pub fn new(observed: Vec<Arc<dyn Observed>>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let observed = Arc::new(Observers { observed: Mutex::new(observed), started_seconds: now.as_secs_f64() });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(observed.clone()));
        Self { observed, registry }
    }

    /// Asks `observed`, and nobody else, from now on: for listeners that come and go with a reload.
    pub fn replace(&self, observed: Vec<Arc<dyn Observed>>) {
        *self.observed.observed.lock().unwrap_or_else(PoisonError::into_inner) = observed;
    }

    /// Everything, as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

/// All samples of one name.
struct SampleFamily {
    help: &'static str,
    kind: Kind,
    /// By labels, which are sorted: what several shells of one kind count under the same labels is one sum, for two samples of the same
    /// name and labels would make the whole scrape invalid.
    values: BTreeMap<Vec<(&'static str, String)>, f64>,
}

impl Collector for Observers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = vec![
            Sample::gauge(
                "fingerpost_build_info",
                "Always 1; the labels say what runs",
                vec![("version", VERSION.to_owned())],
                1.0,
            ),
            Sample::gauge(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970",
                vec![],
                self.started_seconds,
            ),
        ];
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for observed in observed {
            observed.observe(&mut samples);
        }
        for (name, family) in families(samples) {
            encode_family(&mut encoder, name, &family)?;
        }
        Ok(())
    }
}

fn families(samples: Vec<Sample>) -> BTreeMap<&'static str, SampleFamily> {
    let mut families = BTreeMap::new();
    for Sample { name, help, kind, mut labels, value } in samples {
        labels.sort_unstable();
        let family = families.entry(name).or_insert_with(|| SampleFamily { help, kind, values: BTreeMap::new() });
        debug_assert_eq!(family.kind, kind, "{name} is a counter here and a gauge there");
        *family.values.entry(labels).or_insert(0.0) += value;
    }
    families
}

fn encode_family(encoder: &mut DescriptorEncoder<'_>, name: &str, family: &SampleFamily) -> fmt::Result {
    // The encoder appends `_total` by itself.
    let (name, kind) = match family.kind {
        Kind::Counter => (name.strip_suffix("_total").unwrap_or(name), MetricType::Counter),
        Kind::Gauge => (name, MetricType::Gauge),
    };
    let mut descriptor = encoder.encode_descriptor(name, family.help, None, kind)?;
    for (labels, &value) in &family.values {
        let mut metric = descriptor.encode_family(labels)?;
        match (family.kind, whole(value)) {
            (Kind::Counter, Some(value)) => metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
            (Kind::Counter, None) => metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
            (Kind::Gauge, Some(value)) => metric.encode_gauge(&value)?,
            (Kind::Gauge, None) => metric.encode_gauge(&value)?,
        }
    }
    Ok(())
}

/// The number without a fraction, if it has none and is exact.
fn whole(value: f64) -> Option<u64> {
    let is_whole = value >= 0.0 && value <= 9_007_199_254_740_992.0 && value.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
    is_whole.then_some(value as u64)
}
