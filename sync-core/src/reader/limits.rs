//! What a child takes from itself before it looks at foreign bytes.

use std::io;

use super::Bounds;

/// Gives up everything that parsing does not need, for good: children inherit nothing, for there are none.
///
/// Open descriptors (the pipes to the parent) stay usable; new ones, files and sockets alike, are refused.
pub fn confine(bounds: &Bounds) -> io::Result<()> {
    let mapped = mapped_bytes();
    close_inherited();
    for (resource, limit) in [
        (libc::RLIMIT_AS, mapped.saturating_add(bounds.memory)),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NPROC, 0),
        (libc::RLIMIT_NOFILE, 0),
    ] {
        set_limit(resource, limit, limit)?;
    }
    harden()
}

/// From now on, `seconds` more of CPU time; then SIGXCPU ends the process.
pub fn allow_cpu(seconds: u64) -> io::Result<()> {
    let used = usage()?;
    let spent = used.ru_utime.tv_sec + used.ru_stime.tv_sec;
    // One more, since the limit counts whole seconds and part of one is spent.
    set_limit(libc::RLIMIT_CPU, spent.unsigned_abs() + seconds + 1, libc::RLIM_INFINITY)
}

/// The most memory that was ever in use.
pub fn peak_memory() -> u64 {
    usage().map_or(0, |used| used.ru_maxrss.unsigned_abs() * 1024)
}

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

fn usage() -> io::Result<libc::rusage> {
    let mut used = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `used` is writable memory for one rusage, and all-zero is a valid one.
    let used = unsafe {
        check(libc::getrusage(libc::RUSAGE_SELF, used.as_mut_ptr()))?;
        used.assume_init()
    };
    Ok(used)
}

/// Closes all but the three pipes. The parent marks its descriptors close-on-exec, but whoever started the
/// parent may have left it others.
fn close_inherited() {
    let (first, last, flags) = (3 as libc::c_uint, libc::c_uint::MAX, 0 as libc::c_uint);
    // SAFETY: closing takes integers only. Nothing in this process owns a descriptor above 2 yet.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, last, flags) != 0 {
            (3..4096).for_each(|descriptor| {
                libc::close(descriptor);
            });
        }
    }
}

/// No new privileges, no tracing by others and no core dump, and no life after the parent.
fn harden() -> io::Result<()> {
    let (zero, one) = (0 as libc::c_ulong, 1 as libc::c_ulong);
    // SAFETY: these options of prctl take integers only.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero))?;
        check(libc::prctl(libc::PR_SET_DUMPABLE, zero, zero, zero, zero))?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, zero, zero, zero))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Address space in use now: the program, its libraries and stacks.
fn mapped_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    // SAFETY: sysconf has no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    pages.map_or(64 << 20, |pages| pages * page)
}
