use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::UserId;

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub user_id: UserId,
    /// What the application says about the user: the text of a JSON value, exactly as signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Arc<str>>,
}

impl Member {
    /// The length of its texts in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.user_id.to_text().len() + self.user_info.as_ref().map_or(0, |info| info.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_the_same_after_a_trip_between_nodes() {
        for json in [r#"{"user_id":"7","user_info":"{\"a\":1}"}"#, r#"{"user_id":"7"}"#] {
            let member: Member = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&member).unwrap(), json);
        }
    }
}
