//! Entries of the ingest stream: `{"app":…,"channel":…,"event":…,"data":…,"socket_id":…,"traceparent":…}`.

use std::borrow::Cow;

use super::laravel::is_reserved;
use super::{App, Channel};
use crate::message::json::string;
use crate::message::{AppEntry, Broadcast, InvalidEntry};
use crate::trace_context::TraceContext;

/// Reads an entry for a channel of this app. A text is passed on as it is, like `data` in the HTTP API; any other JSON value as JSON.
pub fn decode_entry(app: &App, entry: &AppEntry<'_>) -> Result<Broadcast, InvalidEntry> {
    let invalid = |reason| InvalidEntry(reason);
    if !app.enabled {
        return Err(invalid("unknown_app"));
    }
    let channel = entry.channel.and_then(string).ok_or(invalid("invalid_channel"))?;
    let channel =
        Channel::new(&channel, app.rules.channel_name_length).map_err(|_| invalid("invalid_channel"))?;
    let event = entry.event.and_then(string).ok_or(invalid("invalid_event"))?;
    if event.is_empty() || event.chars().count() > app.rules.event_name_length {
        return Err(invalid("invalid_event"));
    }
    if is_reserved(&event) {
        return Err(invalid("reserved_event"));
    }
    let data = entry.data.map_or(Cow::Borrowed("null"), |data| string(data).unwrap_or(Cow::Borrowed(data)));
    if data.len() > app.rules.event_bytes {
        return Err(invalid("too_large"));
    }
    let except = match entry.socket_id {
        None => None,
        Some(text) => {
            let socket = string(text).and_then(|text| text.parse().ok());
            Some(socket.ok_or(invalid("invalid_socket_id"))?)
        }
    };
    Ok(Broadcast {
        app: app.credentials.id().clone(),
        channels: vec![channel.name().clone()],
        event: event.into_owned(),
        data: data.into_owned(),
        except,
        user_id: None,
        trace: entry
            .traceparent
            .and_then(string)
            .and_then(|text| TraceContext::read_sampled(&text))
            .map(Box::new),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::SocketId;
    use crate::protocol::pusher::Apps;

    const GOOD: AppEntry<'_> = AppEntry {
        app: "1",
        channel: Some("\"room\""),
        event: Some("\"E\""),
        data: Some("{}"),
        socket_id: None,
        traceparent: None,
    };

    fn decode(entry: AppEntry<'_>) -> Result<Broadcast, &'static str> {
        let settings = json!([{ "id": "1", "key": "k", "secret": "s", "event_bytes": 1000 }]);
        let settings: Vec<_> = serde_json::from_value(settings).unwrap();
        let apps = Apps::new(&serde_json::from_value(json!({})).unwrap(), &settings).unwrap();
        decode_entry(apps.by_id("1").unwrap(), &entry).map_err(|InvalidEntry(reason)| reason)
    }

    #[test]
    fn data_of_any_type_is_passed_on() {
        for (data, expected) in [
            (None, "null"),
            (Some(r#"{"a":[1]}"#), r#"{"a":[1]}"#),
            (Some(r#""{\"a\":1}""#), r#"{"a":1}"#),
            (Some(r#""text""#), "text"),
            (Some("7"), "7"),
        ] {
            assert_eq!(decode(AppEntry { data, ..GOOD }).unwrap().data, expected, "{data:?}");
        }
        let event = decode(AppEntry { socket_id: Some("\"1.2\""), ..GOOD }).unwrap();
        assert_eq!((&*event.app, event.channels[0].as_str(), &*event.event), ("1", "room", "E"));
        assert_eq!(event.except, Some(SocketId::new(1, 2)));
    }

    #[test]
    fn a_trace_is_followed_if_it_is_sampled() {
        let sampled = "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"";
        for (text, is_traced) in
            [(sampled, true), (&sampled.replace("-01", "-00"), false), ("\"nonsense\"", false), ("7", false)]
        {
            let event = decode(AppEntry { traceparent: Some(text), ..GOOD }).unwrap();
            assert_eq!(event.trace.is_some(), is_traced, "{text}");
        }
    }

    #[test]
    fn each_problem_has_its_reason() {
        let long = format!("\"{}\"", "x".repeat(1001));
        for (entry, reason) in [
            (AppEntry { channel: None, ..GOOD }, "invalid_channel"),
            (AppEntry { channel: Some("\"a b\""), ..GOOD }, "invalid_channel"),
            (AppEntry { channel: Some("7"), ..GOOD }, "invalid_channel"),
            (AppEntry { event: None, ..GOOD }, "invalid_event"),
            (AppEntry { event: Some("\"\""), ..GOOD }, "invalid_event"),
            (AppEntry { event: Some("\"pusher:error\""), ..GOOD }, "reserved_event"),
            (AppEntry { data: Some(&long), ..GOOD }, "too_large"),
            (AppEntry { socket_id: Some("\"x\""), ..GOOD }, "invalid_socket_id"),
            (AppEntry { socket_id: Some("7"), ..GOOD }, "invalid_socket_id"),
        ] {
            assert_eq!(decode(entry), Err(reason), "{entry:?}");
        }
    }
}
