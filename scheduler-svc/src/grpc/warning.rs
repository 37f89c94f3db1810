//! What an upsert accepts and warns of. Codes are stable; docs/errors.md has the table.

use docket::schedule::v1 as pb;

use crate::state_machine::{
    timing::{Oddity, Timing},
    view::ScheduleView,
};

const NO_WORKER: &str = "NO_WORKER";
const SELDOM_ZONE: &str = "SELDOM_ZONE";
const REPEATED_EXPRESSION: &str = "REPEATED_EXPRESSION";
const CROWD: &str = "CROWD";

/// `crowd`: others with the same timing and no spread.
pub fn of(schedule: &ScheduleView, no_worker: bool, crowd: u32, next_due: Option<i64>) -> Vec<pb::Warning> {
    let mut warnings = Vec::new();
    if no_worker {
        let kind = &schedule.definition.task.kind;
        warnings.push(warning(NO_WORKER, format!("no connected worker takes kind {kind}")));
    }
    if let Timing::Cron(cron) = &schedule.definition.timing {
        warnings.extend(cron.oddities().iter().map(|oddity| warning(code(oddity), oddity.to_string())));
    }
    warnings.extend(super::forecast::crowd_warning(crowd, next_due).map(|text| warning(CROWD, text)));
    warnings
}

fn code(oddity: &Oddity) -> &'static str {
    match oddity {
        Oddity::SeldomZone { .. } => SELDOM_ZONE,
        Oddity::RepeatedExpression { .. } => REPEATED_EXPRESSION,
    }
}

fn warning(code: &str, message: String) -> pb::Warning {
    pb::Warning { code: code.into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_the_codes() {
        let document = include_str!("../../../docs/errors.md");
        for code in [NO_WORKER, SELDOM_ZONE, REPEATED_EXPRESSION, CROWD] {
            assert!(document.lines().any(|line| line.starts_with(&format!("| `{code}` |"))), "{code}");
        }
    }
}
