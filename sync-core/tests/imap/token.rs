//! Access tokens that Dovecot accepts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::dovecot::TOKEN_SECRET;

/// Valid until `expires`, Unix seconds.
pub fn make(user: &str, expires: u64) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = format!("{{\"sub\":\"{user}\",\"iat\":1700000000,\"exp\":{expires}}}");
    let signed = format!("{}.{}", part("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"), part(&claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(TOKEN_SECRET).unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
}
