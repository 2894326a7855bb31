//! The options of `COPY … TO`, checked.
//!
//! Invariant: a [`CopyOptions`] holds only values that an export can work with; whatever can be
//! refused without asking the store was refused when it was built.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{CsvFormat, FileFormat, ParquetFormat};
use crate::sql::ast::{OptionValue, SqlOption};
use crate::sql::nearest;

const MB: u64 = 1 << 20;

/// What an export may use for itself, in bytes: encoders, and parts on their way.
pub(crate) const EXPORT_MEMORY_BYTES: u64 = 256 * MB;

/// S3 accepts at most so many parts: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MAX_PARTS: u64 = 10_000;
const MIN_PART_BYTES: u64 = 5 * MB;
const MIN_FILE_BYTES: u64 = MB;
const MAX_FILE_BYTES: u64 = MAX_PARTS * (EXPORT_MEMORY_BYTES / 4);
const DEFAULT_FILE_BYTES: u64 = 256 * MB;

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
    /// The connection's name.
    pub connection: String,
    /// The files' format.
    pub format: FormatName,
    /// When a file is full, in encoded bytes.
    pub max_file_bytes: u64,
    /// What is done about objects that are there already.
    pub mode: Mode,
}

impl CopyOptions {
    /// Checks the options as they were written.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing or has a value it can't take.
    pub fn from_sql(options: &[SqlOption]) -> Result<Self> {
        let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
        let connection = find("AWS CONNECTION").ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "AWS CONNECTION is required for COPY … TO",
            )
            .with_hint("COPY … TO 's3://…' WITH (AWS CONNECTION = name, FORMAT = 'parquet')")
        })?;
        let format = find("FORMAT").ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "COPY TO requires a FORMAT option",
            )
            .with_hint("the formats are parquet and csv")
        })?;
        Ok(Self {
            connection: parse_connection(connection)?,
            format: parse_format(format)?,
            max_file_bytes: find("MAX FILE SIZE")
                .map(parse_file_size)
                .transpose()?
                .unwrap_or(DEFAULT_FILE_BYTES),
            mode: find("MODE")
                .map(parse_mode)
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// The size of every part but a file's last, in bytes: the smallest that S3 takes, or larger
    /// where a full file would have too many of them.
    pub fn part_bytes(&self) -> usize {
        let needed = (self.max_file_bytes + ROLLING_SLACK_BYTES).div_ceil(MAX_PARTS);
        usize::try_from(needed.max(MIN_PART_BYTES)).unwrap_or(usize::MAX)
    }

    /// The format with its settings.
    pub fn file_format(&self) -> Arc<dyn FileFormat> {
        match self.format {
            FormatName::Parquet => Arc::new(ParquetFormat::new(self.max_file_bytes)),
            FormatName::Csv => Arc::new(CsvFormat::new()),
        }
    }
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
    /// The connection's name.
    pub connection: String,
    /// Recover exports that may be alive, too.
    pub force: bool,
}

impl RecoverOptions {
    /// Checks the options as they were written.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing or has a value it can't take.
    pub fn from_sql(options: &[SqlOption]) -> Result<Self> {
        let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
        let connection = find("AWS CONNECTION").ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "AWS CONNECTION is required for RECOVER EXPORT",
            )
        })?;
        Ok(Self {
            connection: parse_connection(connection)?,
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

fn parse_mode(option: &SqlOption) -> Result<Mode> {
    const MODES: [(&str, Mode); 3] = [
        ("error", Mode::Error),
        ("append", Mode::Append),
        ("overwrite", Mode::Overwrite),
    ];
    let written = match &option.value {
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) => text,
        other => return Err(invalid(option, format!("unknown MODE: {other}"))),
    };
    if let Some((_, mode)) = MODES
        .iter()
        .find(|(name, _)| written.eq_ignore_ascii_case(name))
    {
        return Ok(*mode);
    }
    let error = invalid(option, format!("unknown MODE: {written}"));
    Err(match nearest(written, &MODES.map(|(name, _)| name)) {
        Some(name) => error.with_hint(format!("did you mean '{name}'?")),
        None => error.with_hint("the modes are error, append and overwrite"),
    })
}

fn parse_file_size(option: &SqlOption) -> Result<u64> {
    let bytes = match &option.value {
        OptionValue::Number(digits) => parse_bytes(digits),
        OptionValue::Text(text) => parse_bytes(text),
        _ => Err("must be a number of bytes or a text such as '256MB'".to_owned()),
    }
    .map_err(|why| invalid(option, format!("MAX FILE SIZE {why}")))?;
    if (MIN_FILE_BYTES..=MAX_FILE_BYTES).contains(&bytes) {
        return Ok(bytes);
    }
    Err(invalid(
        option,
        format!(
            "MAX FILE SIZE {} is out of range: it must be between {}MB and {}GB",
            option.value,
            MIN_FILE_BYTES / MB,
            MAX_FILE_BYTES / (MB * 1024),
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
        for max_file_bytes in [
            MIN_FILE_BYTES,
            DEFAULT_FILE_BYTES,
            100 << 30,
            MAX_FILE_BYTES,
        ] {
            let options = CopyOptions {
                connection: "c".into(),
                format: FormatName::Csv,
                max_file_bytes,
                mode: Mode::default(),
            };
            let parts =
                (max_file_bytes + ROLLING_SLACK_BYTES).div_ceil(options.part_bytes() as u64);
            assert!(parts <= MAX_PARTS, "{max_file_bytes}: {parts}");
        }
    }
}
