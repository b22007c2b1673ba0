//! The labels that counters can have, each of which starts at 0. Tests compare them with the documentation.

pub(super) const HANDSHAKES_REFUSED: &[&str] = &[
    "accept_failed",
    "algorithm_not_accepted",
    "bad_signature",
    "going_away",
    "http_version",
    "invalid_claims",
    "invalid_handshake",
    "malformed_token",
    "missing_token",
    "no_descriptors",
    "no_keys",
    "origin_not_allowed",
    "revoked",
    "token_expired",
    "token_not_yet_valid",
    "unknown_key",
    "unsupported_version",
    "upgrade_required",
    "wrong_audience",
    "wrong_issuer",
];

pub(super) const RENEWALS_REFUSED: &[&str] = &[
    "algorithm_not_accepted",
    "bad_signature",
    "invalid_claims",
    "malformed_token",
    "missing_token",
    "other_identity",
    "revoked",
    "token_expired",
    "token_not_yet_valid",
    "unknown_key",
    "wrong_audience",
    "wrong_issuer",
];

pub(super) const JWKS_FAILURES: &[&str] =
    &["invalid", "no_keys", "status", "timeout", "too_large", "too_many_keys", "unreachable"];

pub(super) const HTTP_DROPPED: &[&str] = &["no_room", "write_timeout"];

pub(super) const MESSAGES_REFUSED: &[&str] = &[
    "internal",
    "invalid_json",
    "invalid_message",
    "message_too_large",
    "not_allowed",
    "rate_limited",
    "refused",
    "unavailable",
];

pub(super) const SUBSCRIPTIONS_REFUSED: &[&str] = &[
    "bad_signature",
    "channel_full",
    "invalid_channel",
    "invalid_member",
    "malformed_signature",
    "member_too_large",
    "missing_signature",
    "not_this_user",
    "other_app",
    "too_many_channels",
    "unavailable",
];

pub(super) const BROKER_DROPPED: &[&str] = &[
    "empty",
    "invalid_channel",
    "invalid_data",
    "invalid_disconnect",
    "invalid_envelope",
    "invalid_event",
    "invalid_json",
    "invalid_revoke",
    "invalid_sender",
    "invalid_signal",
    "invalid_target",
    "invalid_type",
    "lost_store",
    "refused",
    "reserved_event",
    "too_large",
];

pub(super) const INGEST_LOST: &[&str] = &["expired", "interrupted", "no_room", "overflow", "too_old"];

pub(super) const INGEST_REJECTED: &[&str] = &[
    "invalid_channel",
    "invalid_data",
    "invalid_envelope",
    "invalid_event",
    "invalid_json",
    "invalid_sender",
    "invalid_socket_id",
    "invalid_type",
    "no_payload",
    "reserved_event",
    "too_large",
    "unknown_app",
];

pub(super) const CLUSTER_MESSAGES_IGNORED: &[&str] = &["malformed", "newer_version", "unknown_kind"];

pub(super) const CONNECTIONS_CLOSED: &[&str] = &[
    "app_disabled",
    "client_closed",
    "connection_lost",
    "disconnected",
    "going_away",
    "heartbeat_timeout",
    "invalid_token",
    "invalid_utf8",
    "invalid_version",
    "message_too_large",
    "no_such_app",
    "no_version",
    "over_capacity",
    "over_quota",
    "path_not_found",
    "protocol_error",
    "slow_consumer",
    "superseded",
    "token_expired",
    "token_revoked",
    "unauthorized",
    "unavailable",
    "unsupported_version",
];

pub(super) const GAPS: &[&str] = &["lost", "no_history", "not_kept", "timeout", "unreadable"];

pub(super) const GATE_DECISIONS: &[&str] = &["allow", "refuse", "rewrite"];

pub(super) const GATE_FAILURES: &[&str] = &[
    "circuit_open",
    "invalid_answer",
    "invalid_data",
    "overloaded",
    "status",
    "timeout",
    "too_large",
    "unreachable",
];

pub(super) const PUSHER_RECOVERIES: &[&str] = &["gap", "recovered"];

/// The endpoints of the HTTP API.
pub(super) const ENDPOINTS: &[&str] =
    &["batch_events", "channel", "channels", "connections", "events", "terminate_connections", "users"];

/// Outcomes with a correctly configured client. Others appear when they occur.
pub(super) const OUTCOMES: &[&str] = &["ok", "unauthorized", "unavailable"];
/// The outcomes of requests to `/api/v1` that no key belongs to.
pub(super) const WITHOUT_KEY: &[&str] = &["no_key", "unknown_key"];

pub(super) const PROTOCOLS: &[&str] = &["native", "pusher"];

/// How a webhook request ends.
pub(super) const WEBHOOK_OUTCOMES: &[&str] = &["ok", "status", "timeout", "unreachable"];

/// Why spans are dropped.
pub(super) const SPANS_DROPPED: &[&str] =
    &["queue_full", "rejected", "shutdown", "status", "timeout", "unreachable"];
