//! What the allocator keeps of memory that nobody uses any more.

/// Gives it back to the system. What a load leaves lies in the arenas of threads that have no more to do, and glibc does
/// not look there by itself.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
