//! What the allocator keeps.

/// Has all threads of this process allocate from two arenas, instead of one for each thread up to eight for each
/// processor (mallopt(3)). What one thread has freed, another one takes: threads that answer in turns would otherwise
/// each keep what the largest answer took. Only glibc has arenas.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets a number of the allocator under its own lock; no pointer is passed.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    }
}
