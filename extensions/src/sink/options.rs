//! The options of `COPY … TO`, checked.
//!
//! Invariant: a [`CopyOptions`] holds only values that an export can work with; whatever can be
//! refused without asking the store was refused when it was built.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::memory::ExportMemory;
use super::s3_store::MAX_PARTS;
use super::target::{Place, Target};
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{CsvFormat, FileFormat, ParquetFormat};
use crate::sql::ast::{OptionValue, SqlOption};
use crate::sql::nearest;

const MB: u64 = 1 << 20;

/// The smallest part that S3 takes, but for a file's last.
const MIN_PART_BYTES: u64 = 5 * MB;

/// The parts of a single file, whose size is not known: 10,000 of them are 156 GB.
const SINGLE_FILE_PART_BYTES: u64 = 16 * MB;

/// The parts of a local file, which may be of any size.
const LOCAL_PART_BYTES: u64 = 2 * MB;

const MIN_FILE_BYTES: u64 = MB;
const DEFAULT_FILE_BYTES: u64 = 256 * MB;
const DEFAULT_OPEN_FILES: usize = 64;

/// A file may grow past its size by what is being gathered when it is measured.
const ROLLING_SLACK_BYTES: u64 = 256 * MB;

/// A format that `FORMAT` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FormatName {
    /// `parquet`
    Parquet,
    /// `csv`
    Csv,
}

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

/// The options of one `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyOptions {
    /// The connection's name; none for a local target.
    pub connection: Option<String>,
    /// The files' format.
    pub format: FormatName,
    /// When a file is full, in encoded bytes; none where it was not said.
    pub max_file_bytes: Option<u64>,
    /// What is done about objects that are there already.
    pub mode: Mode,
    /// The target is one object.
    pub single_file: bool,
    /// How rows are divided into folders.
    pub partition: Option<PartitionOptions>,
    /// Leave a manifest behind.
    pub manifest: bool,
    /// Return one row per object instead of the count.
    pub return_files: bool,
}

/// The options of one `COPY` that `PARTITION BY` needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionOptions {
    /// The names of the partition columns, folded.
    pub columns: Vec<String>,
    /// Keep them in the files, too.
    pub keep_columns: bool,
    /// How many files may be open at once.
    pub max_open_files: usize,
}

impl CopyOptions {
    /// Checks the options of a `COPY` to `target` as they were written; `memory` is what the export
    /// may use.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing, has a value it can't take, or
    /// does not go with another.
    pub fn from_sql(options: &[SqlOption], target: &Target, memory: ExportMemory) -> Result<Self> {
        let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
        let connection = connection_for(target, find("AWS CONNECTION"), "COPY … TO")?;
        let format = find("FORMAT").ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "COPY TO requires a FORMAT option",
            )
            .with_hint("the formats are parquet and csv")
        })?;
        let format = parse_format(format)?;
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
                *target.place() == Place::LocalDisk
                    && partition.is_none()
                    && mode != Mode::Append
                    && name.ends_with(format.extension())
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
        match self.format {
            FormatName::Parquet => {
                let max_file_bytes = self.max_file_bytes.unwrap_or(DEFAULT_FILE_BYTES);
                let is_short = memory.is_short_for(self.partition.is_some(), columns);
                let format = ParquetFormat::new(max_file_bytes)
                    .with_column_summaries(self.return_files)
                    .with_page_index(!is_short);
                Arc::new(format)
            }
            FormatName::Csv => Arc::new(CsvFormat::new()),
        }
    }
}

impl FormatName {
    /// The name as `FORMAT` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => ".parquet",
            Self::Csv => ".csv",
        }
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

fn parse_partition(options: &[SqlOption]) -> Result<Option<PartitionOptions>> {
    let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
    let Some(by) = find("PARTITION BY") else {
        let needs_it = ["PARTITION COLUMNS", "MAX OPEN FILES"];
        return match needs_it.iter().find_map(|name| find(name)) {
            Some(option) => {
                let why = format!("{} is only for exports with PARTITION BY", option.name);
                Err(invalid(option, why))
            }
            None => Ok(None),
        };
    };
    let columns: Vec<String> = match &by.value {
        OptionValue::Names(names) => names.iter().map(fold).collect(),
        OptionValue::Word(name) => vec![fold(name)],
        OptionValue::Text(name) => vec![name.clone()],
        _ => Vec::new(),
    };
    if columns.is_empty() {
        return Err(invalid(
            by,
            "PARTITION BY needs columns: PARTITION BY (a, b)".to_owned(),
        ));
    }
    if let Some(twice) = columns
        .iter()
        .enumerate()
        .find_map(|(i, name)| columns[..i].contains(name).then_some(name))
    {
        return Err(invalid(
            by,
            format!("PARTITION BY names column \"{twice}\" twice"),
        ));
    }
    let keep = [("drop", false), ("keep", true)];
    let max_open_files = match find("MAX OPEN FILES") {
        Some(option) => parse_count(option)?,
        None => DEFAULT_OPEN_FILES,
    };
    Ok(Some(PartitionOptions {
        columns,
        keep_columns: choice(find("PARTITION COLUMNS"), "choices", &keep)?.unwrap_or(false),
        max_open_files,
    }))
}

fn invalid(option: &SqlOption, why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why).at(option.location)
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
        let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
        Ok(Self {
            connection: connection_for(target, find("AWS CONNECTION"), "RECOVER EXPORT")?,
            force: find("FORCE")
                .map(parse_boolean)
                .transpose()?
                .unwrap_or(false),
        })
    }
}

fn parse_boolean(option: &SqlOption) -> Result<bool> {
    let written = match &option.value {
        OptionValue::None => return Ok(true),
        OptionValue::Word(word) => word.value.to_ascii_lowercase(),
        OptionValue::Text(text) => text.to_ascii_lowercase(),
        OptionValue::Number(digits) => digits.clone(),
        _ => String::new(),
    };
    match written.as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(invalid(
            option,
            format!("{} requires a Boolean value", option.name),
        )),
    }
}

fn parse_format(option: &SqlOption) -> Result<FormatName> {
    let written = match &option.value {
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) => text,
        other => return Err(invalid(option, format!("unknown FORMAT: {other}"))),
    };
    match written.to_ascii_lowercase().as_str() {
        "parquet" => Ok(FormatName::Parquet),
        "csv" => Ok(FormatName::Csv),
        _ => {
            let error = invalid(option, format!("unknown FORMAT: {written}"));
            Err(match nearest(written, &["parquet", "csv"]) {
                Some(name) => error.with_hint(format!("did you mean '{name}'?")),
                None => error.with_hint("the formats are parquet and csv"),
            })
        }
    }
}

const MODES: [(&str, Mode); 3] = [
    ("error", Mode::Error),
    ("append", Mode::Append),
    ("overwrite", Mode::Overwrite),
];

/// The value that the option's word stands for; `what` names the words in the hint.
fn choice<T: Copy>(
    option: Option<&SqlOption>,
    what: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>> {
    let Some(option) = option else {
        return Ok(None);
    };
    let unknown = |written: &dyn std::fmt::Display| {
        invalid(option, format!("unknown {}: {written}", option.name))
    };
    let written = match &option.value {
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) => text,
        other => return Err(unknown(other)),
    };
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let chosen = choices
        .iter()
        .find(|(name, _)| written.eq_ignore_ascii_case(name));
    match (chosen, nearest(written, &names)) {
        (Some((_, value)), _) => Ok(Some(*value)),
        (None, Some(name)) => Err(unknown(written).with_hint(format!("did you mean '{name}'?"))),
        (None, None) => {
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            let hint = format!("the {what} are {} and {last}", others.join(", "));
            Err(unknown(written).with_hint(hint))
        }
    }
}

fn parse_count(option: &SqlOption) -> Result<usize> {
    let digits = match &option.value {
        OptionValue::Number(digits) | OptionValue::Text(digits) => digits.as_str(),
        _ => "",
    };
    let count = digits.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| {
        let why = format!("{} must be a whole number greater than 0", option.name);
        invalid(option, why)
    })
}

fn parse_file_size(option: &SqlOption, memory: ExportMemory) -> Result<u64> {
    let max_file_bytes = MAX_PARTS as u64 * memory.in_flight() as u64 - ROLLING_SLACK_BYTES;
    let bytes = match &option.value {
        OptionValue::Number(digits) => parse_bytes(digits),
        OptionValue::Text(text) => parse_bytes(text),
        _ => Err("must be a number of bytes or a text such as '256MB'".to_owned()),
    }
    .map_err(|why| invalid(option, format!("MAX FILE SIZE {why}")))?;
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

/// Reads a number of bytes: `1000000`, `256MB`, `1.5 GB`. Units are powers of 1024, as in
/// PostgreSQL's settings: <https://www.postgresql.org/docs/current/config-setting.html>
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let end_of_number = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end_of_number);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        "tb" => 1 << 40,
        _ => {
            return Err(format!(
                "'{text}' has an unknown unit; the units are B, kB, MB, GB and TB"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("'{text}' is not a number of bytes"))?;
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("1000000"), Ok(1_000_000));
        assert_eq!(parse_bytes("256MB"), Ok(256 << 20));
        assert_eq!(parse_bytes(" 1.5 gb "), Ok(3 << 29));
        assert_eq!(parse_bytes("7kB"), Ok(7 << 10));
        assert!(parse_bytes("10XB").is_err());
        assert!(parse_bytes("MB").is_err());
        assert!(parse_bytes("1.2.3MB").is_err());
    }

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
            assert!(part_bytes <= memory.in_flight());
        }
    }
}
