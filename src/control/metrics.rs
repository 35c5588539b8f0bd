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
    let is_whole = (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
    is_whole.then_some(value as u64)
}

#[cfg(test)]
pub(in crate::control) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a scraper would refuse about `text`: families in one run with one HELP and one TYPE before them, counters that end in
    /// `_total`, well-formed labels, values that are numbers, and no two samples alike.
    pub(in crate::control) fn check_exposition(text: &str) -> Result<(), String> {
        let mut types: BTreeMap<&str, &str> = BTreeMap::new();
        let mut helped = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut current = "";
        if !text.ends_with('\n') {
            return Err("no newline at the end".to_owned());
        }
        for line in text.lines() {
            let problem = |what: &str| format!("{what}: {line}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().unwrap_or_default();
                if !helped.insert(current) {
                    return Err(problem("second HELP"));
                }
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| problem("no type"))?;
                if name != current || types.insert(name, kind).is_some() {
                    return Err(problem("TYPE out of place"));
                }
                if (kind == "counter") != name.ends_with("_total") || !["counter", "gauge"].contains(&kind) {
                    return Err(problem("a counter's name, and no other, ends in _total"));
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| problem("no value"))?;
            value.parse::<f64>().map_err(|_| problem("no number"))?;
            let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
            if name != current || !types.contains_key(name) {
                return Err(problem("sample outside of its family"));
            }
            let is_name = |name: &str| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !name.starts_with(|c: char| c.is_ascii_digit())
            };
            if !is_name(name) || !seen.insert(series) {
                return Err(problem("bad name or second sample"));
            }
            let Some(mut rest) = labels else { continue };
            let mut names = BTreeSet::new();
            while rest != "}" {
                let (label, value) = rest.split_once("=\"").ok_or_else(|| problem("no label value"))?;
                if !is_name(label) || !names.insert(label) {
                    return Err(problem("bad label"));
                }
                let mut is_escaped = false;
                let end = value.find(|c| {
                    let is_end = c == '"' && !is_escaped;
                    is_escaped = c == '\\' && !is_escaped;
                    is_end
                });
                rest = value.get(end.ok_or_else(|| problem("open label value"))? + 1..).unwrap_or_default();
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
        }
        Ok(())
    }

    struct Fixed(Vec<Sample>);

    impl Observed for Fixed {
        fn observe(&self, samples: &mut Vec<Sample>) {
            samples.extend(self.0.iter().cloned());
        }
    }

    fn queries(transport: &str, value: u64) -> Sample {
        let labels = vec![("transport", transport.to_owned()), ("rcode", "NOERROR".to_owned())];
        Sample::counter("fingerpost_dns_queries_total", "Queries", labels, value)
    }

    /// The exposition without what differs from process to process.
    fn text(metrics: &Metrics) -> String {
        let text = metrics.text().expect("text");
        check_exposition(&text).expect("exposition");
        let own = ["fingerpost_build_info", "process_start_time_seconds"];
        text.lines()
            .filter(|line| !own.iter().any(|own| line.contains(own)))
            .map(|line| line.to_owned() + "\n")
            .collect()
    }

    #[test]
    fn samples_of_many_shells_are_one_family_and_alike_ones_one_sum() {
        let up = |pool: &str, value| {
            Sample::gauge("fingerpost_up", "Whether \\ it\nis", vec![("pool", pool.to_owned())], value)
        };
        let metrics = Metrics::new(vec![
            Arc::new(Fixed(vec![queries("udp", 3), up("a", 1.0), queries("tcp", 1)])),
            Arc::new(Fixed(vec![up("q\"\\\n", 0.25), queries("udp", 4)])),
        ]);
        insta::assert_snapshot!(text(&metrics), @r#"
        # HELP fingerpost_dns_queries_total Queries
        # TYPE fingerpost_dns_queries_total counter
        fingerpost_dns_queries_total{rcode="NOERROR",transport="tcp"} 1
        fingerpost_dns_queries_total{rcode="NOERROR",transport="udp"} 7
        # HELP fingerpost_up Whether \\ it\nis
        # TYPE fingerpost_up gauge
        fingerpost_up{pool="a"} 1
        fingerpost_up{pool="q\"\\\n"} 0.25
        "#);
    }

    #[test]
    fn process_says_what_it_is_and_when_it_started() {
        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time").as_secs_f64();
        let text = Metrics::new(vec![]).text().expect("text");
        check_exposition(&text).expect("exposition");
        assert!(text.contains(&format!("fingerpost_build_info{{version=\"{VERSION}\"}} 1\n")), "{text}");
        let started = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).expect("start");
        assert!((started.parse::<f64>().expect("seconds") - before).abs() < 60.0);
    }

    #[test]
    fn replaced_observers_are_asked_no_more() {
        let metrics = Metrics::new(vec![Arc::new(Fixed(vec![queries("udp", 3)]))]);
        assert!(text(&metrics).contains("\"udp\"} 3\n"));
        metrics.replace(vec![Arc::new(Fixed(vec![queries("tcp", 2)]))]);
        assert!(text(&metrics).contains("\"tcp\"} 2\n"));
        assert!(!text(&metrics).contains("udp"));
    }

    #[test]
    fn checker_refuses_what_a_scraper_would() {
        let head = "# HELP a_total A\n# TYPE a_total counter\n";
        assert_eq!(check_exposition(&format!("{head}a_total{{b=\"c,}}\\\"\"}} 1\n")), Ok(()));
        for bad in [
            format!("{head}a_total 1"),
            format!("{head}a_total 1\na_total 2\n"),
            format!("{head}{head}a_total 1\n"),
            format!("{head}b_total 1\n"),
            format!("{head}a_total one\n"),
            format!("{head}a_total{{b=\"c}} 1\n"),
            format!("{head}a_total{{b=\"c\",b=\"d\"}} 1\n"),
            "# HELP a A\n# TYPE a counter\na 1\n".to_owned(),
        ] {
            assert!(check_exposition(&bad).is_err(), "{bad}");
        }
    }
}
