use std::collections::BTreeMap;

/// The samples of a page of metrics, in either format.
#[derive(Debug, Default)]
pub struct MetricSamples(BTreeMap<String, f64>);

impl MetricSamples {
    /// Ignores lines that are no samples.
    #[must_use]
    pub fn parse(page: &str) -> Self {
        Self(page.lines().filter_map(sample).map(|(series, value)| (series.to_owned(), value)).collect())
    }

    /// The value of a series, spelled as on the page.
    #[must_use]
    pub fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// The sum over all labels of a metric, 0 if it is not there.
    #[must_use]
    pub fn sum(&self, metric: &str) -> f64 {
        let of_metric = |series: &&String| {
            series.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let series = self.0.range(metric.to_owned()..).take_while(|(series, _)| series.starts_with(metric));
        series.filter(|(series, _)| of_metric(series)).map(|(_, value)| value).sum()
    }
}

fn sample(line: &str) -> Option<(&str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    // Without the exemplar.
    let line = line.split_once(" # ").map_or(line, |(sample, _)| sample);
    let end = line.rfind('}').map_or_else(|| line.find(' '), |bracket| Some(bracket + 1))?;
    let (series, rest) = line.split_at_checked(end)?;
    Some((series, rest.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_from_both_formats() {
        let page = "# HELP a_total Some.\n# TYPE a_total counter\na_total{reason=\"x y\"} 2\na_total{reason=\"}\"} 3 # {trace=\"1\"} 1\n\
                    a_total_b 7\nb 1.5\nnonsense\nc{ 1\nd NaN 5\n# EOF\n";
        let samples = MetricSamples::parse(page);
        assert_eq!((samples.sum("a_total"), samples.get("a_total{reason=\"x y\"}")), (5.0, Some(2.0)));
        assert_eq!((samples.get("b"), samples.sum("b"), samples.sum("missing")), (Some(1.5), 1.5, 0.0));
        assert_eq!(samples.get("a_total"), None);
    }

    #[test]
    fn the_page_of_the_server_is_read() {
        let metrics = crate::telemetry::Metrics::new();
        metrics.connections.set(12);
        let samples = MetricSamples::parse(&metrics.render_text());
        assert_eq!(samples.get("yamabiko_connections"), Some(12.0));
    }
}
