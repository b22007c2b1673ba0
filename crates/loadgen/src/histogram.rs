use hdrhistogram::Histogram as HdrHistogram;

/// Longer times are recorded as this one.
const MAX_MICROS: u64 = 600_000_000;

/// Durations in microseconds, with three significant digits.
pub(super) type Histogram = HdrHistogram<u64>;

pub(super) fn histogram() -> anyhow::Result<Histogram> {
    Ok(HdrHistogram::new_with_bounds(1, MAX_MICROS, 3)?)
}
