use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use yamabiko::auth::install_crypto_provider;

/// The secret of every [`super::Server`] that does not set another.
pub const SECRET: &str = "a secret of the tests, 32 bytes.";

/// The claims of a user's token that is valid for an hour.
pub fn claims(id: i64, name: &str, channel: &str) -> Value {
    let now = unix_time();
    json!({ "id": id, "name": name, "channel": channel, "iat": now, "exp": now + 3600 })
}

/// A token signed with [`SECRET`] (HS256) that carries any claims, also senseless ones.
pub fn token(claims: &Value) -> String {
    install_crypto_provider();
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
