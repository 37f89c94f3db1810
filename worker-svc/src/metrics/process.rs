//! What the kernel says about this process, read when somebody asks.

use std::fs;

use metrics::{Counter, Gauge};

use super::{Registry, declared};

pub struct Process {
    cpu: Counter,
    resident: Gauge,
    open_fds: Gauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Self {
        registry.gauge(&declared::BUILD, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        registry.gauge(&declared::START, &[]).set(start().unwrap_or_default());
        Self {
            cpu: registry.counter(&declared::CPU, &[]),
            resident: registry.gauge(&declared::RESIDENT, &[]),
            open_fds: registry.gauge(&declared::OPEN_FDS, &[]),
        }
    }

    /// What cannot be read stays as it was.
    pub(super) fn look(&self) {
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
