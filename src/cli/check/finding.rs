use serde::Serialize;

/// How well something is. The number is the exit code of the Monitoring Plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

/// What a check has found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    #[serde(rename = "status")]
    pub(super) health: Health,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) figure: Option<Figure>,
}

/// A measured value, for graphs.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) label: String,
    pub(super) value: f64,
    /// `s`, `B`, or empty for a count.
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warning: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) critical: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
    /// Whether low values are bad.
    #[serde(skip)]
    pub(super) falls: bool,
}

impl Finding {
    pub(super) fn new(name: &'static str, health: Health, text: impl Into<String>) -> Self {
        Self { name, health, text: text.into(), figure: None }
    }

    pub(super) fn with(mut self, figure: Figure) -> Self {
        self.figure = Some(figure);
        self
    }
}

impl Figure {
    pub(super) fn new(label: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let label = label.into();
        Self { label, value, unit, warning: None, critical: None, max: None, falls: false }
    }

    /// High values are bad.
    pub(super) fn at_most(self, warning: f64, critical: f64, max: Option<f64>) -> Self {
        Self { warning: Some(warning), critical: Some(critical), max, ..self }
    }

    /// Low values are bad.
    pub(super) fn at_least(self, warning: f64, critical: f64) -> Self {
        Self { warning: Some(warning), critical: Some(critical), falls: true, ..self }
    }

    pub(super) fn health(&self) -> Health {
        let is_past = |limit: Option<f64>| {
            limit.is_some_and(|limit| if self.falls { self.value < limit } else { self.value >= limit })
        };
        if is_past(self.critical) {
            Health::Critical
        } else if is_past(self.warning) {
            Health::Warning
        } else {
            Health::Ok
        }
    }
}
