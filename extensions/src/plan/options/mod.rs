//! The options of `COPY … TO`, checked.
//!
//! Invariant: the values of a [`CopyOptions`] are valid, each by itself and all together. The
//! query's columns, the connection and the store are checked later.

mod format;
mod object;
mod partition;
mod values;

pub use self::format::{FormatOptions, Passthrough, StreamOptions};
pub use self::partition::PartitionOptions;
pub use self::values::parse_bytes;
pub(super) use self::values::{choice, find, parse_boolean, quoted, text_of};

use std::sync::Arc;

use self::partition::parse_partition;
use self::values::{invalid, parse_size};
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FileFormat, ParquetFormat};
use crate::memory::ExportMemory;
use crate::sink::{MAX_PARTS, Mode, ObjectOptions, Place, Target};
use crate::sql::ast::{OptionValue, SqlOption};

const MB: u64 = 1 << 20;

/// The minimum size of a part on S3, except for a file's last part.
const MIN_PART_BYTES: u64 = 5 * MB;

/// The part size of a single file without a size limit: 10,000 parts hold 156 GB.
const SINGLE_FILE_PART_BYTES: u64 = 16 * MB;

/// The part size of a local file. Any size is allowed there.
const LOCAL_PART_BYTES: u64 = MB / 2;

const MIN_FILE_BYTES: u64 = MB;
const DEFAULT_FILE_BYTES: u64 = 256 * MB;

/// Allowance for a file that exceeds its size limit: the size of data that the encoder still
/// buffers is an estimate.
const ROLLING_SLACK_BYTES: u64 = 256 * MB;

/// The options of one `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CopyOptions {
    /// The connection's name; none for a local target.
    pub connection: Option<String>,
    /// The files' format and how it is written.
    pub format: FormatOptions,
    /// The encoded bytes at which a file is full; `None` if `MAX FILE SIZE` is not set.
    pub max_file_bytes: Option<u64>,
    /// How objects that already exist under the target are treated.
    pub mode: Mode,
    /// The target is one object.
    pub single_file: bool,
    /// How rows are divided into folders.
    pub partition: Option<PartitionOptions>,
    /// Mode overwrite replaces objects that no export wrote, too.
    pub force: bool,
    /// Encryption, storage class and checksum of the objects.
    pub object: ObjectOptions,
    /// Which row groups of Parquet files are moved without decoding; `None` for none.
    pub passthrough: Option<Passthrough>,
    /// Write a manifest.
    pub manifest: bool,
    /// Return one row per object instead of the count.
    pub return_files: bool,
}

impl CopyOptions {
    /// Checks the options of a `COPY` to `target`. `memory` is the export's memory budget, which
    /// limits `MAX FILE SIZE`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing, has an invalid value, or
    /// conflicts with another option or with the target.
    pub fn from_sql(options: &[SqlOption], target: &Target, memory: ExportMemory) -> Result<Self> {
        let find = |wanted: &str| find(options, wanted);
        let connection = connection_for(target, find("AWS CONNECTION"), "COPY … TO")?;
        let format = FormatOptions::from_sql(options)?;
        let max_file_bytes = find("MAX FILE SIZE")
            .map(|option| parse_file_size(option, memory))
            .transpose()?;
        let mode = choice(find("MODE"), "modes", Mode::from_name)?.unwrap_or_default();
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
            // A local path with the format's extension is a single file, as in DuckDB.
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
        if mode.replaces() && !single_file {
            target.refuse_broad_folder()?;
        }
        if let (Mode::OverwritePartitions, None, Some(option)) = (mode, &partition, find("MODE")) {
            let why = "MODE = 'overwrite partitions' needs PARTITION BY";
            return Err(invalid(option, why.to_owned()));
        }
        let force = match find("FORCE") {
            Some(option) if mode == Mode::Error => {
                let why = "FORCE is for MODE = 'overwrite', 'overwrite partitions' and 'append'";
                return Err(invalid(option, why.to_owned()));
            }
            Some(option) => parse_boolean(option)?,
            None => false,
        };
        let flag = |name: &str| find(name).map(parse_boolean).transpose();
        Ok(Self {
            force,
            passthrough: Passthrough::from_sql(options, &format)?,
            connection,
            format,
            max_file_bytes,
            mode,
            single_file,
            partition,
            object: parse_object_for(options, target)?,
            manifest: flag("MANIFEST")?.unwrap_or(false),
            return_files: choice(find("RETURN"), "choices", |name| Some(name == "files"))?
                .unwrap_or(false),
        })
    }

    /// The encoded bytes at which a file is full: [`u64::MAX`] for a single file.
    pub fn max_file_bytes(&self) -> u64 {
        if self.single_file {
            return u64::MAX;
        }
        self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES)
    }

    /// The size in bytes of every part except a file's last. It is fixed on the local disk and for
    /// a single file without a size limit. Otherwise it is the smallest size that S3 accepts and
    /// that keeps a full file within [`MAX_PARTS`] parts.
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

    /// The format of files of moved row groups; `None` if it is not Parquet.
    pub fn moved_format(&self) -> Option<ParquetFormat> {
        let max_file_bytes = self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES);
        self.format.moved_format(max_file_bytes, self.return_files)
    }

    /// Returns the format with its settings. `memory` is the export's memory budget, `columns` the
    /// number of columns in its files.
    pub fn file_format(&self, memory: ExportMemory, columns: usize) -> Arc<dyn FileFormat> {
        let max_file_bytes = self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES);
        let is_short = memory.is_short_for(self.partition.is_some(), columns);
        self.format
            .file_format(max_file_bytes, self.return_files, is_short)
    }
}

fn parse_object_for(options: &[SqlOption], target: &Target) -> Result<ObjectOptions> {
    let refused = match target.place() {
        Place::LocalDisk => {
            let of_buckets = object::OF_BUCKETS.iter();
            let given = of_buckets.filter_map(|name| find(options, name)).next();
            given.map(|option| (option, "'s3://…' targets", "is on this machine"))
        }
        Place::Bucket(_) => find(options, "SYNC")
            .map(|option| (option, "targets on this machine", "is in a bucket")),
    };
    if let Some((option, wanted, place)) = refused {
        let why = format!("{} is for {wanted}; {target} {place}", option.name);
        return Err(invalid(option, why));
    }
    object::parse_object(options)
}

/// Returns the connection of a target. S3 requires a connection, the local disk refuses one.
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
#[non_exhaustive]
pub struct RecoverOptions {
    /// The connection's name; none for a local target.
    pub connection: Option<String>,
    /// Recover exports that may still be running, too.
    pub force: bool,
}

impl RecoverOptions {
    /// Checks the options of a `RECOVER EXPORT` at `target`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing, has an invalid value, or
    /// conflicts with the target.
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

/// Parses `MAX FILE SIZE`, in bytes. The upper bound keeps a full file within [`MAX_PARTS`] parts
/// of the largest size that the memory budget allows.
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
    use std::collections::HashSet;

    use super::*;
    use crate::sql::choices;

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

    /// Every listed value has a meaning of its own.
    #[test]
    fn every_choice_is_understood() {
        let target = Target::parse("s3://b/x").unwrap();
        let text = |name, value: &str| SqlOption::new(name, OptionValue::Text(value.into()));
        for name in [
            "MODE",
            "PARTITION COLUMNS",
            "RETURN",
            "PASSTHROUGH",
            "TIMESTAMP UNIT",
            "SERVER SIDE ENCRYPTION",
            "CHECKSUM",
            "FORMAT",
        ] {
            let read = |value: &&str| {
                let mut options = vec![text("AWS CONNECTION", "c"), text(name, value)];
                if name != "FORMAT" {
                    options.push(text("FORMAT", "parquet"));
                }
                if matches!(name, "PARTITION COLUMNS" | "MODE") {
                    options.push(text("PARTITION BY", "a"));
                }
                CopyOptions::from_sql(&options, &target, ExportMemory::default()).unwrap()
            };
            let meanings: HashSet<CopyOptions> = choices(name).iter().map(read).collect();
            assert!(
                choices(name).len() > 1 && meanings.len() == choices(name).len(),
                "{name}"
            );
        }
    }
}
