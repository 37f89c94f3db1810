//! What the kernel says about this process, read when somebody asks.

use std::fs;

use metrics::{Counter, Gauge};

use super::{BYTES, COUNT, Registry, SECONDS, Sort};

crate::declare_metrics! {
    START: Sort::Gauge, SECONDS, "process_start_time_seconds", [],
        "When the process started, since the Unix epoch.";
    CPU: Sort::Counter, SECONDS, "process_cpu_seconds_total", [], "Processor time, of user and system.";
    RESIDENT: Sort::Gauge, BYTES, "process_resident_memory_bytes", [],
        "Resident memory of this process, without its children.";
    OPEN_FDS: Sort::Gauge, COUNT, "process_open_fds", [], "Open file descriptors.";
    MAX_FDS: Sort::Gauge, COUNT, "process_max_fds", [], "File descriptors that may be open.";
    BUILD: Sort::Gauge, None, "docket_build_info", ["version"], "Always 1; the version is in its label.";
}

pub struct Process {
    cpu: Counter,
    resident: Gauge,
    open_fds: Gauge,
}

impl Process {
    /// `version`: of the service.
    pub fn new(registry: &Registry, version: &str) -> Self {
        registry.gauge(&BUILD, &[version]).set(1.0);
        if let Some(most) = max_open_files() {
            registry.gauge(&MAX_FDS, &[]).set(most as f64);
        }
        registry.gauge(&START, &[]).set(start().unwrap_or_default());
        Self {
            cpu: registry.counter(&CPU, &[]),
            resident: registry.gauge(&RESIDENT, &[]),
            open_fds: registry.gauge(&OPEN_FDS, &[]),
        }
    }

    /// What cannot be read stays as it was.
    pub fn look(&self) {
        if let Some(resident) = resident() {
            self.resident.set(resident as f64);
        }
        if let Some(cpu) = cpu() {
            self.cpu.absolute(cpu);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The folder itself is open meanwhile.
            self.open_fds.set(open.count().saturating_sub(1) as f64);
        }
    }
}

/// Ticks in which the kernel tells times to programs, on every Linux.
const TICKS: f64 = 100.0;

/// How many files this process may open; None where nothing bounds them, or the kernel does not say.
pub(crate) fn max_open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// The fields of `/proc/self/stat` after the name, which may hold anything.
fn stat(field: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    // The first one after the name is the third of all.
    rest.split_whitespace().nth(field - 3)?.parse().ok()
}

/// Whole seconds: counters of this library are integers.
fn cpu() -> Option<u64> {
    let (user, system) = (stat(14)?, stat(15)?);
    Some(((user + system) / TICKS) as u64)
}

fn start() -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat(22)? / TICKS)
}
