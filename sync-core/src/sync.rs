use std::sync::Arc;
/// Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;
