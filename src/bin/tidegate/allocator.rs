//! Settings of glibc's allocator for freed memory. They have no effect on other allocators.
//!
//! Invariant: with plenty of memory, freed memory is kept for later allocations. With a low memory
//! limit, large blocks go back to the system as soon as they are freed.
//!
//! The thresholds and arenas, and the variables that set them:
//! <https://man7.org/linux/man-pages/man3/mallopt.3.html>

use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use tidegate_extensions::memory::ProcessMemory;

/// A little less than 32 MB, the largest freed block that raises glibc's dynamic thresholds.
const FOLLOWED_BYTES: usize = (32 << 20) - (64 << 10);

/// Blocks of at least this size, in bytes, are mapped separately from all others. Parts of local
/// files, which are allocated and freed all the time, are smaller.
const APART_BYTES: usize = (1 << 20) + (256 << 10);

/// Sets the size of such blocks. glibc reads it once, when a program starts.
const APART_VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";

/// One arena for this many threads. Freed memory in an arena can't be used by threads of another
/// arena, and glibc's default is eight arenas per core.
const THREADS_OF_ARENA: usize = 4;

/// With a single arena, CSV writers would wait for each other.
const LEAST_ARENAS: usize = 2;

/// Sets the number of arenas. glibc reads it once, when a program starts.
const ARENAS_VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Marks a program that has restarted itself, so that it does so only once. Some systems remove the
/// other variable from the environment of privileged programs.
const ANEW_VARIABLE: &str = "TIDEGATE_STARTED_ANEW";

/// Sets the allocator up for a process with this memory limit (none: no limit) and `threads` worker
/// threads (none: as many as the machine has).
///
/// Call it before reading any input or starting any work: with a low limit it restarts the program.
///
/// # Errors
/// The program can't be restarted.
pub(crate) fn set_up(
    memory: Option<ProcessMemory>,
    threads: Option<NonZeroUsize>,
) -> io::Result<()> {
    match memory {
        Some(memory) if memory.is_little() => keep_little(threads),
        _ => {
            keep_freed_memory();
            Ok(())
        }
    }
}

/// Makes glibc keep freed memory, up to 64 MB at the end of each arena. Otherwise it returns memory
/// to the system and requests it again for every column chunk that is read, which was half of the
/// system time of an export. The thresholds follow the largest mapped block that was freed, unless
/// the environment sets them (`M_MMAP_THRESHOLD`).
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        FOLLOWED_BYTES,
    )));
}

/// Keeps glibc's thresholds fixed and its arenas few. A freed block among smaller blocks that are
/// still in use can't go back to the system: a sort that spills took half as much memory again.
/// Eight writers with arenas of their own took a quarter more memory, and requested memory from the
/// system twice as often.
///
/// glibc reads these settings from the environment before `main`. So the process replaces itself
/// with the same program in a new environment.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_little(threads: Option<NonZeroUsize>) -> io::Result<()> {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    let is_set = |name| env::var_os(name).is_some();
    let mut arguments = env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), env::current_exe()) else {
        return Ok(());
    };
    // If `argv[0]` names another program, this one was started through a wrapper or a loader, which
    // a restart would bypass.
    let is_itself = program.file_name() == Path::new(&name).file_name();
    if !is_itself || is_set(APART_VARIABLE) || is_set(ANEW_VARIABLE) {
        return Ok(());
    }
    let mut command = Command::new(program);
    command.arg0(name).args(arguments);
    command.env(APART_VARIABLE, APART_BYTES.to_string());
    if !is_set(ARENAS_VARIABLE) {
        let threads = threads.or_else(|| available_parallelism().ok());
        let threads = threads.map_or(1, NonZeroUsize::get);
        let arenas = threads.div_ceil(THREADS_OF_ARENA).max(LEAST_ARENAS);
        command.env(ARENAS_VARIABLE, arenas.to_string());
    }
    command.env(ANEW_VARIABLE, "1");
    // A failed `exec` is not ignored: it has already changed the handling of signals.
    Err(command.exec())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_little(_threads: Option<NonZeroUsize>) -> io::Result<()> {
    Ok(())
}
