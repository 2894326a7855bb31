//! The options of `COPY … TO`, checked.
//!
//! Invariant: a [`CopyOptions`] holds only values that an export can work with; whatever can be
//! refused without asking the store was refused when it was built.

mod format;
mod object;
mod partition;
mod values;

pub use self::format::{FormatOptions, StreamOptions};
pub use self::object::{Encryption, ObjectOptions};
pub use self::partition::PartitionOptions;
pub use self::values::parse_bytes;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::partition::parse_partition;
use self::values::{choice, find, invalid, parse_boolean, parse_size};
use super::memory::ExportMemory;
use super::s3_store::MAX_PARTS;
use super::target::{Place, Target};
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileFormat;
use crate::sql::ast::{OptionValue, SqlOption};

const MB: u64 = 1 << 20;

/// The smallest part that S3 takes, but for a file's last.
const MIN_PART_BYTES: u64 = 5 * MB;

/// The parts of a single file, whose size is not known: 10,000 of them are 156 GB.
const SINGLE_FILE_PART_BYTES: u64 = 16 * MB;

/// The parts of a local file, which may be of any size.
const LOCAL_PART_BYTES: u64 = MB / 2;

const MIN_FILE_BYTES: u64 = MB;
const DEFAULT_FILE_BYTES: u64 = 256 * MB;

/// A file may grow past its size by what is being gathered when it is measured.
const ROLLING_SLACK_BYTES: u64 = 256 * MB;

/// What an export does about objects that are under its target already.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refuses a target that is not empty.
    #[default]
    Error,
    /// Adds its objects to them.
    Append,
    /// Deletes them once its own objects are there.
    Overwrite,
}

impl Mode {
    /// The name as `MODE` takes it.
    pub fn name(self) -> &'static str {
        let known = MODES.iter().find(|(_, mode)| *mode == self);
        known.map_or("error", |(name, _)| name)
    }
}

/// The options of one `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyOptions {
    /// The connection's name; none for a local target.
    pub connection: Option<String>,
    /// The files' format and how it is written.
    pub format: FormatOptions,
    /// When a file is full, in encoded bytes; none where it was not said.
    pub max_file_bytes: Option<u64>,
    /// What is done about objects that are there already.
    pub mode: Mode,
    /// The target is one object.
    pub single_file: bool,
    /// How rows are divided into folders.
    pub partition: Option<PartitionOptions>,
    /// How the store keeps the objects.
    pub object: ObjectOptions,
    /// Leave a manifest behind.
    pub manifest: bool,
    /// Return one row per object instead of the count.
    pub return_files: bool,
}

impl CopyOptions {
    /// Checks the options of a `COPY` to `target` as they were written; `memory` is what the export
    /// may use.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing, has a value it can't take, or
    /// does not go with another.
    pub fn from_sql(options: &[SqlOption], target: &Target, memory: ExportMemory) -> Result<Self> {
        let find = |wanted: &str| find(options, wanted);
        let connection = connection_for(target, find("AWS CONNECTION"), "COPY … TO")?;
        let format = FormatOptions::from_sql(options)?;
        let max_file_bytes = find("MAX FILE SIZE")
            .map(|option| parse_file_size(option, memory))
            .transpose()?;
        let mode = choice(find("MODE"), "modes", &MODES)?.unwrap_or_default();
        let partition = parse_partition(options)?;
        let single_file = match find("SINGLE FILE") {
            Some(option) => {
                let wanted = parse_boolean(option)?;
                if wanted && partition.is_some() {
                    let why = "SINGLE FILE and PARTITION BY exclude each other";
                    return Err(invalid(option, why.to_owned()));
                }
                if wanted && mode == Mode::Append {
                    let why =
                        "SINGLE FILE can't be appended to: MODE must be 'error' or 'overwrite'";
                    return Err(invalid(option, why.to_owned()));
                }
                wanted
            }
            // As DuckDB and others do: COPY t TO 'file.parquet'.
            None => {
                let name = target.folder().trim_end_matches('/');
                let extension = format.file_format(u64::MAX, false, false).extension();
                *target.place() == Place::LocalDisk
                    && partition.is_none()
                    && mode != Mode::Append
                    && (name.ends_with(&extension)
                        || name.ends_with(&format!(".{}", format.name())))
            }
        };
        let flag = |name: &str| find(name).map(parse_boolean).transpose();
        Ok(Self {
            connection,
            format,
            max_file_bytes,
            mode,
            single_file,
            partition,
            object: parse_object(options, target)?,
            manifest: flag("MANIFEST")?.unwrap_or(false),
            return_files: choice(
                find("RETURN"),
                "choices",
                &[("count", false), ("files", true)],
            )?
            .unwrap_or(false),
        })
    }

    /// When a file is full, in encoded bytes.
    pub fn max_file_bytes(&self) -> u64 {
        if self.single_file {
            return u64::MAX;
        }
        self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES)
    }

    /// The size of every part but a file's last, in bytes: the smallest that S3 takes, or larger
    /// where a full file would have too many of them.
    pub fn part_bytes(&self, place: &Place) -> usize {
        if *place == Place::LocalDisk {
            return LOCAL_PART_BYTES as usize;
        }
        let bytes = match (self.max_file_bytes, self.single_file) {
            (None, true) => SINGLE_FILE_PART_BYTES,
            (bytes, _) => {
                let bytes = bytes.unwrap_or(DEFAULT_FILE_BYTES) + ROLLING_SLACK_BYTES;
                bytes.div_ceil(MAX_PARTS as u64).max(MIN_PART_BYTES)
            }
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The format with its settings, for an export that has so much memory for files of `columns`
    /// columns.
    pub fn file_format(&self, memory: ExportMemory, columns: usize) -> Arc<dyn FileFormat> {
        let max_file_bytes = self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES);
        let is_short = memory.is_short_for(self.partition.is_some(), columns);
        self.format
            .file_format(max_file_bytes, self.return_files, is_short)
    }
}

fn parse_object(options: &[SqlOption], target: &Target) -> Result<ObjectOptions> {
    let of_store = object::NAMES.iter().find_map(|name| find(options, name));
    match of_store {
        Some(option) if *target.place() == Place::LocalDisk => {
            let why = format!(
                "{} is for 's3://…' targets; {target} is on this machine",
                option.name
            );
            Err(invalid(option, why))
        }
        _ => ObjectOptions::from_sql(options),
    }
}

/// The connection that a target needs: one on S3, none on the local disk.
fn connection_for(
    target: &Target,
    option: Option<&SqlOption>,
    statement: &str,
) -> Result<Option<String>> {
    match (target.place(), option) {
        (Place::Bucket(_), Some(option)) => Ok(Some(parse_connection(option)?)),
        (Place::Bucket(_), None) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("AWS CONNECTION is required for {statement}"),
        )
        .with_hint("WITH (AWS CONNECTION = name, …); CREATE CONNECTION makes one")),
        (Place::LocalDisk, Some(option)) => Err(invalid(
            option,
            format!("AWS CONNECTION is for 's3://…' targets; {target} is on this machine"),
        )),
        (Place::LocalDisk, None) => Ok(None),
    }
}

fn parse_connection(option: &SqlOption) -> Result<String> {
    match &option.value {
        OptionValue::Word(name) => Ok(fold(name)),
        OptionValue::Text(name) if !name.is_empty() => Ok(name.clone()),
        _ => Err(invalid(
            option,
            "AWS CONNECTION must be the name of a connection".to_owned(),
        )),
    }
}

/// The options of one `RECOVER EXPORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecoverOptions {
    /// The connection's name; none for a local target.
    pub connection: Option<String>,
    /// Recover exports that may be alive, too.
    pub force: bool,
}

impl RecoverOptions {
    /// Checks the options of a `RECOVER EXPORT` at `target` as they were written.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing or has a value it can't take.
    pub fn from_sql(options: &[SqlOption], target: &Target) -> Result<Self> {
        let find = |wanted: &str| find(options, wanted);
        Ok(Self {
            connection: connection_for(target, find("AWS CONNECTION"), "RECOVER EXPORT")?,
            force: find("FORCE")
                .map(parse_boolean)
                .transpose()?
                .unwrap_or(false),
        })
    }
}

const MODES: [(&str, Mode); 3] = [
    ("error", Mode::Error),
    ("append", Mode::Append),
    ("overwrite", Mode::Overwrite),
];

/// What a file may grow to, in bytes.
fn parse_file_size(option: &SqlOption, memory: ExportMemory) -> Result<u64> {
    let max_file_bytes = MAX_PARTS as u64 * memory.largest_part() as u64 - ROLLING_SLACK_BYTES;
    let bytes = parse_size(option)?;
    if (MIN_FILE_BYTES..=max_file_bytes).contains(&bytes) {
        return Ok(bytes);
    }
    Err(invalid(
        option,
        format!(
            "MAX FILE SIZE {} is out of range: it must be between {}MB and {}GB",
            option.value,
            MIN_FILE_BYTES / MB,
            max_file_bytes / (MB * 1024),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_has_at_most_ten_thousand_parts() {
        let memory = ExportMemory::default();
        let bucket = Place::Bucket("b".into());
        for size in ["1MB", "256MB", "100GB", "624GB"] {
            let written = |name, value: &str| SqlOption {
                name,
                value: OptionValue::Text(value.into()),
                location: crate::error::Location { line: 1, column: 1 },
            };
            let options = [
                written("AWS CONNECTION", "c"),
                written("FORMAT", "csv"),
                written("MAX FILE SIZE", size),
            ];
            let target = Target::parse("s3://b/x").unwrap();
            let options = CopyOptions::from_sql(&options, &target, memory).unwrap();
            let part_bytes = options.part_bytes(&bucket);
            let most = options.max_file_bytes() + ROLLING_SLACK_BYTES;
            assert!(
                most.div_ceil(part_bytes as u64) <= MAX_PARTS as u64,
                "{size}"
            );
            assert!(part_bytes <= memory.largest_part());
        }
    }
}
