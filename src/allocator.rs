//! What glibc's allocator keeps of freed memory. Others don't mind what is done here.
//!
//! Invariant: where there is plenty, what was freed is kept for what comes next; where memory is
//! limited, large blocks go back to the system as soon as they are freed.
//!
//! Its thresholds and arenas, and the variables that set them: <https://man7.org/linux/man-pages/man3/mallopt.3.html>

use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// With so much memory, in bytes, what the allocator keeps does not matter.
const ROOMY_BYTES: usize = 1 << 30;

/// A little less than the largest block that glibc's thresholds follow, 32 MB.
const FOLLOWED_BYTES: usize = (32 << 20) - (64 << 10);

/// Blocks of so many bytes are apart from all others. Parts of local files, which come and go all the
/// time, are smaller.
const APART_BYTES: usize = (1 << 20) + (256 << 10);

/// What sets the size of such blocks, once, when a program starts.
const APART_VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";

/// Each of glibc's arenas keeps freed memory that threads of another can't use, and there would be eight
/// for each core.
const THREADS_OF_ARENA: usize = 4;

/// One would have CSV's writers wait for each other.
const LEAST_ARENAS: usize = 2;

/// What sets how many arenas there are, once, when a program starts.
const ARENAS_VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Says that the program was started anew: some systems take the other one away again from programs with
/// special rights.
const ANEW_VARIABLE: &str = "TIDEGATE_STARTED_ANEW";

/// Sets the allocator up for a process that may use `memory_limit` bytes, none if it is not limited, and
/// works with so many `threads`, none if with all of the machine's.
///
/// Call it before anything was read or begun: where memory is short it starts the program anew.
///
/// # Errors
/// It can't be started anew.
pub(crate) fn set_up(memory_limit: Option<usize>, threads: Option<NonZeroUsize>) -> io::Result<()> {
    match memory_limit {
        Some(bytes) if bytes < ROOMY_BYTES => keep_little(threads),
        _ => {
            keep_freed_memory();
            Ok(())
        }
    }
}

/// Makes glibc keep freed memory, up to 64 MB at the end of each of its arenas, where it would give it
/// back and ask for it again with every column chunk that is read: that was half of an export's system
/// time. Its thresholds follow the largest mapped block that was freed, unless the environment sets them
/// (`M_MMAP_THRESHOLD`).
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        FOLLOWED_BYTES,
    )));
}

/// Keeps glibc's thresholds from following, and its arenas few. A freed block among smaller ones that are
/// still in use can't go back to the system: a sort that spills took half as much memory again. Eight
/// writers took a quarter more in arenas of their own, and asked the system for it twice as often.
///
/// Only the environment of a new program says so, and its variables are read before `main`: so this
/// process becomes that program.
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
    // Who started it by way of something else knows better how to.
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
    // It has changed how signals are taken by the time it fails.
    Err(command.exec())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_little(_threads: Option<NonZeroUsize>) -> io::Result<()> {
    Ok(())
}
