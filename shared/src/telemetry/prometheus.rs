//! The Prometheus page.

use super::names::{self, Kind};
use crate::BoxError;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of every `*_seconds` histogram.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// The process's metrics.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes this the process's recorder.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install() -> Result<Self, BoxError> {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?;
        let handle = builder.install_recorder()?;
        for (kind, name, help) in names::ALL {
            match kind {
                Kind::Counter => metrics::describe_counter!(*name, *help),
                Kind::Gauge => metrics::describe_gauge!(*name, *help),
                Kind::Histogram => metrics::describe_histogram!(*name, *help),
            }
        }
        Ok(Self(handle))
    }

    /// The page. Drains what histograms have collected, so that they do not grow while nobody looks.
    #[must_use]
    pub fn page(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Drains what histograms have collected; to be called every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}
