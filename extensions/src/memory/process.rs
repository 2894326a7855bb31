//! The memory of a process.
//!
//! Invariant: a [`ProcessMemory`] has at least [`LEAST_PROCESS_BYTES`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::cache::cache_manager::DEFAULT_METADATA_CACHE_LIMIT;
use datafusion::execution::memory_pool::MemoryPool;

use super::export::ExportMemory;
use super::sort_pool::shared_pool;
use crate::error::{Error, ErrorKind, Result};

/// The lower bound for the limit of a process, in bytes.
pub const LEAST_PROCESS_BYTES: usize = 256 << 20;

/// The program's own memory: code, stacks, and buffers that are not charged to a query.
pub(super) const PROGRAM_BYTES: usize = 144 << 20;

/// Below this limit, memory that the allocator keeps after it was freed matters.
const ROOMY_BYTES: usize = 1 << 30;

/// The share of one export in the shared memory. The query that it reads needs the rest.
const EXPORT_SHARE: usize = 2;

/// The share of DataFusion's cache of Parquet footers, which the memory pool does not count.
const FOOTERS_SHARE: usize = 4;

/// The limit of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    bytes: usize,
    is_given: bool,
}

impl ProcessMemory {
    /// A limit that the user gave.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] if it is less than [`LEAST_PROCESS_BYTES`].
    pub fn new(bytes: usize) -> Result<Self> {
        if bytes < LEAST_PROCESS_BYTES {
            let (given, least) = (bytes >> 20, LEAST_PROCESS_BYTES >> 20);
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("a memory limit of {given}MB is too little: it must be at least {least}MB"),
            ));
        }
        Ok(Self {
            bytes,
            is_given: true,
        })
    }

    /// Three quarters of the memory of the machine or its control group; `None` where the system
    /// does not tell it.
    pub fn of_machine() -> Option<Self> {
        let bytes = machine_bytes()? / 4 * 3;
        Some(Self {
            bytes: bytes.max(LEAST_PROCESS_BYTES),
            is_given: false,
        })
    }

    /// The limit of the process.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// Whether the allocator should return freed memory to the system.
    pub fn is_little(self) -> bool {
        self.bytes < ROOMY_BYTES
    }

    /// The memory that queries and exports share.
    pub fn shared_bytes(self) -> usize {
        self.bytes - PROGRAM_BYTES
    }

    /// The pool that counts the shared memory.
    pub fn pool(self) -> Arc<dyn MemoryPool> {
        shared_pool(self.shared_bytes())
    }

    /// The limit of DataFusion's cache of Parquet footers, in bytes.
    pub fn footer_cache_bytes(self) -> usize {
        DEFAULT_METADATA_CACHE_LIMIT.min(self.shared_bytes() / FOOTERS_SHARE)
    }

    /// The budget of one export. Without a given limit it is no larger than the default.
    pub fn export(self) -> ExportMemory {
        let share = ExportMemory::new(self.shared_bytes() / EXPORT_SHARE);
        match self.is_given {
            true => share,
            false => share.min(ExportMemory::default()),
        }
    }
}

/// The memory of the machine, or of the process's control group if that has less.
fn machine_bytes() -> Option<usize> {
    let total = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = total
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = total.trim().trim_end_matches(" kB").parse().ok()?;
    let machine = kilobytes << 10;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| {
        let limit = std::fs::read_to_string(file).ok()?;
        limit.trim().parse::<usize>().ok()
    });
    Some(limits.fold(machine, usize::min))
}

/// The files with the memory limits of the control groups in `/proc/self/cgroup`, and of the groups
/// above them: <https://man7.org/linux/man-pages/man7/cgroups.7.html>
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container, the group's path may not exist below its root.
        let above = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(above.map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_groups_above_count() {
        let files = limit_files("0::/system.slice/x.service\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/system.slice/x.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
            .map(PathBuf::from)
        );
        let files = limit_files("3:cpu,cpuacct:/a\n2:memory:/a\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn a_given_limit_may_give_exports_more_than_the_default() {
        let given = ProcessMemory::new(8 << 30).unwrap();
        assert!(given.export() > ExportMemory::default());
        assert_eq!(given.footer_cache_bytes(), DEFAULT_METADATA_CACHE_LIMIT);
        assert!(
            ProcessMemory::of_machine().is_none_or(|own| own.export() <= ExportMemory::default())
        );
        assert!(ProcessMemory::new(LEAST_PROCESS_BYTES - 1).is_err());
    }
}
