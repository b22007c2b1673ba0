//! Lists in pages. Every node has a part of a list, sorted by the same keys, and the node that is asked merges them.

use std::collections::{BTreeMap, btree_map};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use crate::message::NodeName;

/// The number of entries of a page.
pub(super) const DEFAULT_LIMIT: usize = 100;
pub(super) const MAX_LIMIT: usize = 500;

/// A node sends at most about this much of a list at a time, in bytes.
const PART_BYTES: usize = 64 * 1024;

/// An entry of a list, of which several nodes may have a part.
pub(super) trait Entry: Serialize + DeserializeOwned {
    /// Adds what another node has.
    fn merge(&mut self, other: Self);
}

/// A page of what one node has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part<T> {
    /// With their keys, in order.
    entries: Vec<(String, T)>,
    /// The last key that the part covers, if the node has entries with greater ones.
    end: Option<String>,
}

/// Collects the entries with the smallest keys after a cursor. Takes no more memory, however many are offered.
#[derive(Debug)]
pub(super) struct Smallest<T> {
    after: String,
    limit: usize,
    entries: BTreeMap<String, T>,
    has_more: bool,
}

/// Where a list ends, and whether it is complete.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct PageEnd {
    /// The `cursor` of the next page. It is missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Whether nodes have not answered within two seconds, so that what they have is missing.
    incomplete: bool,
    /// The names of these nodes, as in the field `node` of the log line `listening`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    missing_nodes: Vec<NodeName>,
}

impl<T> Smallest<T> {
    pub(super) fn new(after: &str, limit: usize) -> Self {
        Self { after: after.to_owned(), limit, entries: BTreeMap::new(), has_more: false }
    }

    /// Whether an entry with this key would be kept now.
    pub(super) fn wants(&mut self, key: &str) -> bool {
        if key <= self.after.as_str() {
            return false;
        }
        let is_wanted = self.entries.len() < self.limit
            || self.entries.last_key_value().is_some_and(|(last, _)| key <= last.as_str());
        self.has_more |= !is_wanted;
        is_wanted
    }

    /// The entry with a [wanted](Self::wants) key.
    pub(super) fn entry(&mut self, key: &str, new: impl FnOnce() -> T) -> &mut T {
        if !self.entries.contains_key(key) && self.entries.len() >= self.limit {
            self.entries.pop_last();
            self.has_more = true;
        }
        self.entries.entry(key.to_owned()).or_insert_with(new)
    }

    /// The keys and entries, in order, and the last key if there are more.
    pub(super) fn into_parts(self) -> (BTreeMap<String, T>, Option<String>) {
        let end = self.has_more.then(|| self.entries.last_key_value().map(|(key, _)| key.clone())).flatten();
        (self.entries, end)
    }
}

impl<T: Serialize> From<Smallest<T>> for Part<T> {
    fn from(smallest: Smallest<T>) -> Self {
        let (entries, end) = smallest.into_parts();
        Self::new(entries, end)
    }
}

impl<T: Serialize> Part<T> {
    /// Cuts off what is too much for one message, but never everything. `end` is the last key that was looked at, if there are more.
    pub(super) fn new(entries: impl IntoIterator<Item = (String, T)>, end: Option<String>) -> Self {
        let mut part = Self { entries: Vec::new(), end };
        let mut left = PART_BYTES;
        for (key, entry) in entries {
            let bytes = serde_json::to_vec(&entry).map_or(0, |json| json.len()) + key.len() + 8;
            if bytes > left
                && let Some((last, _)) = part.entries.last()
            {
                part.end = Some(last.clone());
                break;
            }
            left = left.saturating_sub(bytes);
            part.entries.push((key, entry));
        }
        part
    }
}

/// Merges the parts of all nodes into a page. What comes after the end of a part that has more is left to the next page, so that no entry
/// is missing or incomplete.
pub(super) fn merge<T: Entry>(
    parts: impl IntoIterator<Item = Part<T>>,
    limit: usize,
    missing: Vec<NodeName>,
) -> (Vec<T>, PageEnd) {
    let mut merged: BTreeMap<String, T> = BTreeMap::new();
    let mut end: Option<String> = None;
    for part in parts {
        if let Some(last) = part.end
            && end.as_ref().is_none_or(|end| last < *end)
        {
            end = Some(last);
        }
        for (key, entry) in part.entries {
            match merged.entry(key) {
                btree_map::Entry::Occupied(known) => known.into_mut().merge(entry),
                btree_map::Entry::Vacant(place) => drop(place.insert(entry)),
            }
        }
    }
    if let Some(end) = &end {
        merged.retain(|key, _| key <= end);
    }
    if merged.len() > limit {
        end = merged.keys().nth(limit.saturating_sub(1)).cloned();
    }
    let entries = merged.into_values().take(limit).collect();
    let next = end.as_deref().map(next_cursor);
    (entries, PageEnd { next, incomplete: !missing.is_empty(), missing_nodes: missing })
}

/// The key of what belongs to an app; empty for what is native, which comes first.
pub(super) fn entry_key(app: &str, name: &str) -> String {
    const SEPARATOR: char = '\u{1f}';
    format!("{app}{SEPARATOR}{name}")
}

/// The key after which a page starts, and the number of its entries.
pub(super) fn read_page(cursor: Option<&str>, limit: Option<usize>) -> Result<(String, usize), Problem> {
    let limit = read_limit(limit, MAX_LIMIT)?;
    Ok((read_cursor(cursor)?, limit))
}

/// The cursor of the page that starts after a key.
pub(super) fn next_cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key after which a page starts.
pub(super) fn read_cursor(cursor: Option<&str>) -> Result<String, Problem> {
    let Some(cursor) = cursor else { return Ok(String::new()) };
    let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.filter(|key| !key.is_empty()).ok_or_else(|| {
        Problem::bad_request("invalid_cursor", "`cursor` must be the `next` of the page before")
    })
}

/// The number of entries of a page.
pub(super) fn read_limit(limit: Option<usize>, most: usize) -> Result<usize, Problem> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => {
            Err(Problem::bad_request("invalid_query", format!("`limit` must be a number from 1 to {most}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Counted(String, u64);

    impl Entry for Counted {
        fn merge(&mut self, other: Self) {
            self.1 += other.1;
        }
    }

    fn part(node: &BTreeMap<String, u64>, after: &str, limit: usize) -> Part<Counted> {
        let mut smallest = Smallest::new(after, limit);
        // In no order.
        for (name, count) in node.iter().rev() {
            if smallest.wants(name) {
                smallest.entry(name, || Counted(name.clone(), 0)).1 += count;
            }
        }
        smallest.into()
    }

    proptest! {
        #[test]
        fn the_pages_of_all_nodes_have_every_entry_once(
            nodes in prop::collection::vec(prop::collection::btree_map("[a-z]{1,2}", 1u64..9, 0..40), 1..4),
            limit in 1usize..20,
        ) {
            let mut all: BTreeMap<String, u64> = BTreeMap::new();
            for (name, count) in nodes.iter().flatten() {
                *all.entry(name.clone()).or_default() += count;
            }
            let (mut found, mut cursor) = (BTreeMap::new(), None::<String>);
            loop {
                let after = read_cursor(cursor.as_deref()).unwrap();
                let parts: Vec<_> = nodes.iter().map(|node| part(node, &after, limit)).collect();
                let (entries, end) = merge(parts, limit, Vec::new());
                prop_assert!(entries.len() <= limit);
                for Counted(name, count) in entries {
                    prop_assert!(found.insert(name, count).is_none());
                }
                cursor = end.next;
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn a_part_is_bounded_in_bytes_but_has_one_entry_at_least() {
        let large = || Counted("x".repeat(60_000), 1);
        let entries = [("a".to_owned(), large()), ("b".to_owned(), large())];
        let part = Part::new(entries, None);
        assert_eq!((part.entries.len(), part.end.as_deref()), (1, Some("a")));
        let part = Part::new([("a".to_owned(), Counted("x".repeat(100_000), 1))], None);
        assert_eq!((part.entries.len(), part.end), (1, None));
    }

    #[test]
    fn what_is_no_cursor_or_no_limit_is_rejected() {
        for cursor in ["", "!", "a", "_w", "a==", "山"] {
            assert!(read_cursor(Some(cursor)).is_err(), "{cursor}");
        }
        assert_eq!(read_cursor(None).unwrap(), "");
        assert_eq!(read_limit(None, 500).unwrap(), 100);
        assert_eq!(read_limit(Some(500), 500).unwrap(), 500);
        for limit in [0, 501, usize::MAX] {
            assert!(read_limit(Some(limit), 500).is_err(), "{limit}");
        }
    }
}
