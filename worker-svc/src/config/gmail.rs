//! `[gmail]`: what Gmail allows, and what is read there.

use docket::settings::ConfigError;
use serde::{Deserialize, Serialize};
use sync_core::source::gmail::{Settings, quota::Limits};

const QUERY_MAX: usize = 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gmail {
    pub user_units_per_minute: u32,
    pub project_units_per_minute: u32,
    pub get_units: u32,
    pub list_units: u32,
    pub history_units: u32,
    pub query: String,
}

impl Gmail {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let costs = [
            ("get_units", self.get_units),
            ("list_units", self.list_units),
            ("history_units", self.history_units),
        ];
        let limits = [
            ("user_units_per_minute", self.user_units_per_minute),
            ("project_units_per_minute", self.project_units_per_minute),
        ];
        for (key, value) in costs {
            if value > 1_000 {
                return Err(ConfigError(format!("gmail.{key} is {value}; it must be 0 to 1000")));
            }
        }
        for (key, value) in limits {
            if value < 60 {
                return Err(ConfigError(format!("gmail.{key} is {value}; it must be at least 60")));
            }
        }
        if self.query.len() > QUERY_MAX || self.query.contains(char::is_control) {
            let wanted = format!("it must be at most {QUERY_MAX} bytes on one line");
            return Err(ConfigError(format!("gmail.query: {wanted}")));
        }
        Ok(())
    }

    pub fn settings(&self) -> Settings {
        let limits = Limits {
            user_per_minute: self.user_units_per_minute,
            project_per_minute: self.project_units_per_minute,
            get: self.get_units,
            list: self.list_units,
            history: self.history_units,
        };
        Settings { limits, query: self.query.clone(), ..Settings::default() }
    }
}
