//! Role × RPC, and which calls the audit log tells of.

use super::Role;

/// Who may not even say who they are: health is asked by probes that hold no credentials.
const HEALTH: &str = "/grpc.health.v1.Health/";

const ANY: &[Role] = &Role::ALL;
const USERS: &[Role] = &[Role::App, Role::Operator];
const WORKERS: &[Role] = &[Role::Worker];
const OPERATORS: &[Role] = &[Role::Operator];

/// A service, or one method of it; the longest match counts. A test holds it against the descriptors.
pub const ACCESS: &[(&str, &[Role])] = &[
    ("/docket.schedule.v1.ScheduleService/", USERS),
    ("/docket.schedule.v1.RunService/", USERS),
    ("/docket.schedule.v1.WorkerService/", WORKERS),
    ("/docket.schedule.v1.WorkerService/ListWorkers", USERS),
    ("/docket.schedule.v1.LimitService/", OPERATORS),
    ("/docket.schedule.v1.StatusService/", USERS),
    ("/docket.library.v1.MailboxService/", USERS),
    ("/docket.library.v1.DocumentService/", USERS),
    (HEALTH, ANY),
    ("/grpc.reflection.v1.ServerReflection/", USERS),
    ("/grpc.reflection.v1alpha.ServerReflection/", USERS),
];

/// Verbs that change nothing. A method of any other name is a change until somebody says otherwise here.
const READS: &[&str] = &["Get", "List", "Preview", "Explain", "Watch"];

/// The worker protocol, thousands of times a second: who did what stands in the history of runs. Its sessions are told.
const WORK: &[&str] =
    &["/docket.schedule.v1.WorkerService/Heartbeat", "/docket.schedule.v1.WorkerService/ReportResults"];

/// The roles that may call a method, by its path.
pub fn roles_for(path: &str) -> Option<&'static [Role]> {
    ACCESS
        .iter()
        .filter(|(prefix, _)| if prefix.ends_with('/') { path.starts_with(prefix) } else { path == *prefix })
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, roles)| *roles)
}

pub fn needs_no_credentials(path: &str) -> bool {
    path.starts_with(HEALTH)
}

/// Changes, and whatever takes data away in bulk (exports, downloads).
pub fn is_audited(path: &str) -> bool {
    let Some((service, method)) = path.rsplit_once('/') else { return false };
    service.starts_with("/docket.")
        && !WORK.contains(&path)
        && !READS.iter().any(|verb| method.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::methods;

    #[test]
    fn every_rpc_of_the_contract_has_its_row() {
        let methods = methods("docket.");
        assert!(methods.len() > 30, "the descriptors hold only {} methods", methods.len());
        for method in methods {
            assert!(
                roles_for(&format!("/{}", method.name)).is_some(),
                "{} is in no row of ACCESS",
                method.name
            );
        }
    }

    #[test]
    fn a_worker_may_not_manage_and_an_app_may_not_work() {
        let allows = |path: &str, role| roles_for(path).is_some_and(|roles| roles.contains(&role));
        assert!(!allows("/docket.schedule.v1.ScheduleService/UpsertSchedule", Role::Worker));
        assert!(!allows("/docket.schedule.v1.WorkerService/Heartbeat", Role::App));
        assert!(allows("/docket.schedule.v1.WorkerService/ListWorkers", Role::App));
        assert!(!allows("/docket.schedule.v1.WorkerService/ListWorkers", Role::Worker));
        assert!(!allows("/docket.schedule.v1.LimitService/SetLimit", Role::App));
        assert!(roles_for("/docket.schedule.v1.Secret/Open").is_none());
    }

    #[test]
    fn other_schedulers_and_scrapers_may_call_nothing_in_their_own_name() {
        for method in methods("docket.") {
            let roles = roles_for(&format!("/{}", method.name)).unwrap();
            assert!(!roles.contains(&Role::Scheduler) && !roles.contains(&Role::Metrics), "{}", method.name);
        }
    }

    #[test]
    fn changes_are_told_and_reads_are_not() {
        for told in
            ["ScheduleService/UpsertSchedule", "RunService/RetryRuns", "ScheduleService/ExportSchedules"]
        {
            assert!(is_audited(&format!("/docket.schedule.v1.{told}")), "{told}");
        }
        for not in ["RunService/GetRun", "WorkerService/Heartbeat", "RunService/WatchEvents"] {
            assert!(!is_audited(&format!("/docket.schedule.v1.{not}")), "{not}");
        }
        assert!(!is_audited("/grpc.health.v1.Health/Check"));
    }

    /// Each row of the table in the document.
    #[test]
    fn the_document_holds_the_table() {
        let document = include_str!("../../docs/security.md");
        for (path, roles) in ACCESS {
            let name = path.trim_matches('/');
            let row = document.lines().find(|line| line.starts_with(&format!("| `{name}`")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in docs/security.md"));
            let names = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
            let names = if *roles == ANY { "everybody, without credentials" } else { &names };
            assert!(row.contains(names), "{row}: {names}");
        }
    }
}
