//! Records of limits, and of keys that throttling has closed.

use bytes::Bytes;
use docket::stored::v1 as stored;
use prost::Message as _;

use super::{Unreadable, bytes};
use crate::state_machine::gate::{closing::Closing, limit::Limit};

/// A closing as it is stored: on the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredClosing {
    pub until: i64,
    pub span: u64,
    pub token: u64,
    pub reason: Box<str>,
}

pub fn limit(limit: &Limit) -> Bytes {
    bytes(&stored::Limit { max_running: limit.max_running, rate: limit.rate, burst: limit.burst })
}

pub fn read_limit(value: Bytes) -> Result<Limit, Unreadable> {
    let stored::Limit { max_running, rate, burst } = stored::Limit::decode(value)?;
    Ok(Limit { max_running, rate, burst })
}

/// `until` in wall milliseconds.
pub fn closing(closing: &Closing, until: i64) -> Bytes {
    let Closing { span, token, reason, .. } = closing;
    bytes(&stored::Closing { until, span: *span, token: *token, reason: reason.to_string() })
}

pub fn read_closing(value: Bytes) -> Result<StoredClosing, Unreadable> {
    let stored::Closing { until, span, token, reason } = stored::Closing::decode(value)?;
    Ok(StoredClosing { until, span, token, reason: reason.into() })
}
