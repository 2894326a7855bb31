//! `FORMAT` and the options that belong to one format.
//!
//! Invariant: an option of another format is refused, never ignored.

use std::sync::Arc;

use arrow::datatypes::TimeUnit;

use super::values::{choice, find, invalid, parse_boolean, parse_count, parse_size};
use crate::catalog::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CopyTextOptions, CsvFormat, CsvOptions, FileFormat, ForceQuote, JsonFormat, JsonOptions,
    ParquetCompression, ParquetFormat, ParquetOptions, TextCompression,
};
use crate::sql::ast::{OptionValue, SqlOption};
use crate::sql::{choices, nearest};

/// A file format and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FormatOptions {
    /// `parquet`
    Parquet(ParquetOptions),
    /// `csv`
    Csv(CsvOptions),
    /// `json`
    Json(JsonOptions),
}

/// A format of `COPY … TO STDOUT` and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StreamOptions {
    /// `text`, as PostgreSQL writes it.
    Text(CopyTextOptions),
    /// `csv`
    Csv(CsvOptions),
    /// `json`
    Json(JsonOptions),
    /// `binary`, as PostgreSQL writes it.
    Binary,
}

/// Which row groups of Parquet files are moved without decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Passthrough {
    /// The codec that they must have, at any level; `None` for any codec.
    pub codec: Option<ParquetCompression>,
}

impl Passthrough {
    /// Reads `PASSTHROUGH`. `None` if nothing may be moved: it is off, the format is not Parquet, or
    /// another option says how row groups are written. A codec's level can't be read from a file, so
    /// that a level asks for encoding, too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an unknown word.
    pub(super) fn from_sql(options: &[SqlOption], format: &FormatOptions) -> Result<Option<Self>> {
        let is_auto = choice(find(options, "PASSTHROUGH"), "choices", |word| {
            Some(word == "auto")
        })?;
        let FormatOptions::Parquet(parquet) = format else {
            return Ok(None);
        };
        let sizes = ["ROW GROUP ROWS", "ROW GROUP SIZE"];
        let has_sizes = sizes.iter().any(|name| find(options, name).is_some());
        if is_auto == Some(false) || has_sizes {
            return Ok(None);
        }
        let Some(compression) = find(options, "COMPRESSION") else {
            return Ok(Some(Self { codec: None }));
        };
        let (_, level) = parse_codec(compression)?;
        let codec = Some(parquet.compression);
        Ok(level.is_none().then_some(Self { codec }))
    }
}

const STREAM_FORMATS: [&str; 4] = ["text", "csv", "json", "binary"];

/// The options that only some formats have, with these formats.
const OF_FORMATS: [(&str, &[&str]); 10] = [
    ("PASSTHROUGH", &["parquet"]),
    ("TIMESTAMP UNIT", &["parquet"]),
    ("ROW GROUP ROWS", &["parquet"]),
    ("ROW GROUP SIZE", &["parquet"]),
    ("HEADER", &["csv", "text"]),
    ("DELIMITER", &["csv", "text"]),
    ("QUOTE", &["csv"]),
    ("ESCAPE", &["csv"]),
    ("NULL", &["csv", "text"]),
    ("FORCE QUOTE", &["csv"]),
];

/// The smallest row group, in bytes. A bare number below it was probably meant as rows.
const MIN_ROW_GROUP_BYTES: u64 = 1 << 20;

impl FormatOptions {
    /// Reads `FORMAT` and the options of that format.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is missing, unknown, of another format,
    /// or has an invalid value.
    pub(super) fn from_sql(options: &[SqlOption]) -> Result<Self> {
        let format = find(options, "FORMAT").ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "COPY TO requires a FORMAT option",
            )
            .with_hint("the formats are parquet, csv and json")
        })?;
        let name = parse_format(format, choices("FORMAT"))?;
        refuse_options_of_others(options, name)?;
        Ok(match name {
            "parquet" => Self::Parquet(parse_parquet(options)?),
            "csv" => Self::Csv(parse_csv(options)?),
            _ => Self::Json(JsonOptions {
                compression: parse_text_compression(options)?,
            }),
        })
    }

    /// The name as `FORMAT` takes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Csv(_) => "csv",
            Self::Json(_) => "json",
        }
    }

    /// Returns the format for files of at most `max_file_bytes` encoded bytes. `summarize_columns`
    /// collects the column summaries that `RETURN = 'files'` shows. If memory is short, Parquet
    /// files omit the page index: it helps readers, but costs the writer memory.
    pub(super) fn file_format(
        &self,
        max_file_bytes: u64,
        summarize_columns: bool,
        is_memory_short: bool,
    ) -> Arc<dyn FileFormat> {
        match self.clone() {
            Self::Parquet(options) => Arc::new(
                parquet_format(options, max_file_bytes, summarize_columns)
                    .with_page_index(!is_memory_short),
            ),
            Self::Csv(options) => Arc::new(CsvFormat::new(options)),
            Self::Json(options) => Arc::new(JsonFormat::new(options)),
        }
    }

    /// As [`Self::file_format`], for files of moved row groups; `None` if it is not Parquet.
    pub(super) fn moved_format(
        &self,
        max_file_bytes: u64,
        summarize_columns: bool,
    ) -> Option<ParquetFormat> {
        match self.clone() {
            Self::Parquet(options) => {
                Some(parquet_format(options, max_file_bytes, summarize_columns))
            }
            Self::Csv(_) | Self::Json(_) => None,
        }
    }

    /// The columns that an option names, with the option's name.
    pub fn named_columns(&self) -> Option<(&'static str, &[String])> {
        match self {
            Self::Csv(options) => options.named_columns(),
            Self::Parquet(_) | Self::Json(_) => None,
        }
    }
}

fn parquet_format(
    options: ParquetOptions,
    max_file_bytes: u64,
    summarize_columns: bool,
) -> ParquetFormat {
    ParquetFormat::new(options, max_file_bytes).with_column_summaries(summarize_columns)
}

impl StreamOptions {
    /// The name as `FORMAT` takes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Csv(_) => "csv",
            Self::Json(_) => "json",
            Self::Binary => "binary",
        }
    }

    /// Reads the options of `COPY … TO STDOUT`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that is unknown, of another format, only for
    /// files, or has an invalid value.
    pub fn from_sql(options: &[SqlOption]) -> Result<Self> {
        let name = match find(options, "FORMAT") {
            Some(format) => parse_format(format, &STREAM_FORMATS)?,
            None => "text",
        };
        refuse_options_of_others(options, name)?;
        let of_files = options
            .iter()
            .find(|option| option.name != "FORMAT" && !is_of_format(option.name, name));
        if let Some(option) = of_files {
            let why = format!("{} is for exports to files, not to STDOUT", option.name);
            return Err(invalid(option, why));
        }
        Ok(match name {
            "text" => Self::Text(parse_copy_text(options)?),
            "csv" => Self::Csv(parse_csv(options)?),
            "binary" => Self::Binary,
            _ => Self::Json(JsonOptions::default()),
        })
    }

    /// The columns that an option names, with the option's name.
    pub fn named_columns(&self) -> Option<(&'static str, &[String])> {
        match self {
            Self::Csv(options) => options.named_columns(),
            Self::Text(_) | Self::Json(_) | Self::Binary => None,
        }
    }
}

impl CsvOptions {
    fn named_columns(&self) -> Option<(&'static str, &[String])> {
        match &self.force_quote {
            ForceQuote::Columns(names) => Some(("FORCE QUOTE", names)),
            ForceQuote::None | ForceQuote::All => None,
        }
    }
}

fn parse_format(option: &SqlOption, known: &[&'static str]) -> Result<&'static str> {
    let written = match &option.value {
        OptionValue::Word(word) => &word.value,
        OptionValue::Text(text) => text,
        other => return Err(invalid(option, format!("unknown FORMAT: {other}"))),
    };
    if let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(written)) {
        return Ok(name);
    }
    let error = match ["parquet", "text", "binary"]
        .iter()
        .find(|name| name.eq_ignore_ascii_case(written))
    {
        Some(other) => invalid(option, format!("FORMAT {other} is not possible here")),
        None => invalid(option, format!("unknown FORMAT: {written}")),
    };
    let (last, others) = known.split_last().unwrap_or((&"", &[]));
    Err(match nearest(written, known) {
        Some(name) => error.with_hint(format!("did you mean '{name}'?")),
        None => error.with_hint(format!("the formats are {} and {last}", others.join(", "))),
    })
}

fn is_of_format(option: &str, format: &str) -> bool {
    OF_FORMATS
        .iter()
        .any(|(name, formats)| *name == option && formats.contains(&format))
}

/// In PostgreSQL's words: "COPY quote available only in CSV mode".
fn refuse_options_of_others(options: &[SqlOption], format: &str) -> Result<()> {
    for option in options {
        let of = OF_FORMATS.iter().find(|(name, _)| *name == option.name);
        let Some((name, formats)) = of else { continue };
        if formats.contains(&format) {
            continue;
        }
        let only = match formats {
            ["parquet"] => "for FORMAT parquet",
            _ => "in CSV mode",
        };
        let why = format!("COPY {name} available only {only}");
        return Err(invalid(option, why).with_hint(format!("leave {name} out for FORMAT {format}")));
    }
    Ok(())
}

fn parse_parquet(options: &[SqlOption]) -> Result<ParquetOptions> {
    let default = ParquetOptions::default();
    let unit = |name: &str| match name {
        "ns" => Some(TimeUnit::Nanosecond),
        "us" => Some(TimeUnit::Microsecond),
        "ms" => Some(TimeUnit::Millisecond),
        _ => None,
    };
    let row_group_bytes = match find(options, "ROW GROUP SIZE") {
        Some(option) => parse_row_group_size(option)?,
        None => default.row_group_bytes,
    };
    Ok(ParquetOptions {
        compression: match find(options, "COMPRESSION") {
            Some(option) => parse_parquet_compression(option)?,
            None => default.compression,
        },
        row_group_rows: match find(options, "ROW GROUP ROWS") {
            Some(option) => parse_count(option)?,
            None => default.row_group_rows,
        },
        row_group_bytes,
        timestamp_unit: choice(find(options, "TIMESTAMP UNIT"), "units", unit)?,
    })
}

fn parse_row_group_size(option: &SqlOption) -> Result<usize> {
    let bytes = parse_size(option)?;
    match usize::try_from(bytes) {
        Ok(size) if bytes >= MIN_ROW_GROUP_BYTES => Ok(size),
        _ => Err(invalid(
            option,
            format!(
                "ROW GROUP SIZE {} is out of range: it is in bytes and must be at least 1MB",
                option.value
            ),
        )
        .with_hint("ROW GROUP ROWS limits the rows")),
    }
}

/// A codec's name and level: `zstd`, `'zstd(3)'`.
fn parse_codec(option: &SqlOption) -> Result<(String, Option<&str>)> {
    let written = match &option.value {
        OptionValue::Word(word) => word.value.as_str(),
        OptionValue::Text(text) => text.as_str(),
        other => {
            let why = format!("unknown COMPRESSION: {other}");
            return Err(invalid(option, why));
        }
    };
    let (name, level) = match written.split_once('(') {
        Some((name, rest)) => {
            let level = rest.trim_end().strip_suffix(')').ok_or_else(|| {
                invalid(option, format!("unknown COMPRESSION: {written}"))
                    .with_hint("write the level in parentheses: 'zstd(3)'")
            })?;
            (name, Some(level.trim()))
        }
        None => (written, None),
    };
    Ok((name.trim().to_ascii_lowercase(), level))
}

/// The level that was written, or `default`.
fn parse_level(
    option: &SqlOption,
    codec: &str,
    level: Option<&str>,
    range: std::ops::RangeInclusive<i32>,
    default: i32,
) -> Result<i32> {
    let Some(written) = level else {
        return Ok(default);
    };
    let level = written.parse().ok().filter(|level| range.contains(level));
    level.ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        let why = format!(
            "{codec} has no level {written} here: levels are from {first} to {last}, as in '{codec}({default})'"
        );
        invalid(option, why)
    })
}

fn no_level(option: &SqlOption, codec: &str, level: Option<&str>) -> Result<()> {
    match level {
        None => Ok(()),
        Some(_) => Err(invalid(option, format!("{codec} has no levels"))),
    }
}

fn unknown_codec(option: &SqlOption, written: &str, known: &[&str]) -> Error {
    let error = invalid(option, format!("unknown COMPRESSION: {written}"));
    match nearest(written, known) {
        Some(name) => error.with_hint(format!("did you mean '{name}'?")),
        None => error.with_hint(format!("the codecs are {}", known.join(", "))),
    }
}

fn parse_parquet_compression(option: &SqlOption) -> Result<ParquetCompression> {
    let (name, level) = parse_codec(option)?;
    let unsigned = |level: i32| level.unsigned_abs();
    let level_in = |range, default| parse_level(option, &name, level, range, default);
    Ok(match name.as_str() {
        "zstd" => ParquetCompression::Zstd(level_in(1..=22, 3)?),
        "gzip" => ParquetCompression::Gzip(unsigned(level_in(0..=9, 6)?)),
        "brotli" => ParquetCompression::Brotli(unsigned(level_in(0..=11, 1)?)),
        other => {
            let codec = match other {
                "snappy" => ParquetCompression::Snappy,
                "lz4_raw" => ParquetCompression::Lz4Raw,
                "none" | "uncompressed" => ParquetCompression::None,
                _ => {
                    let known = ["snappy", "zstd", "gzip", "brotli", "lz4_raw", "none"];
                    return Err(unknown_codec(option, other, &known));
                }
            };
            no_level(option, other, level)?;
            codec
        }
    })
}

fn parse_text_compression(options: &[SqlOption]) -> Result<TextCompression> {
    let Some(option) = find(options, "COMPRESSION") else {
        return Ok(TextCompression::None);
    };
    let (name, level) = parse_codec(option)?;
    let level_in = |default| parse_level(option, &name, level, 1..=9, default);
    Ok(match name.as_str() {
        "gzip" => TextCompression::Gzip(level_in(6)?.unsigned_abs()),
        "zstd" => TextCompression::Zstd(level_in(3)?),
        "none" | "uncompressed" => {
            no_level(option, &name, level)?;
            TextCompression::None
        }
        other => return Err(unknown_codec(option, other, &["gzip", "zstd", "none"])),
    })
}

/// A character of one byte.
fn parse_byte(option: &SqlOption) -> Result<u8> {
    match &option.value {
        OptionValue::Text(text) if text.len() == 1 => Ok(text.as_bytes()[0]),
        OptionValue::Number(text) if text.len() == 1 => Ok(text.as_bytes()[0]),
        _ => {
            let why = format!("COPY {} must be a single one-byte character", option.name);
            Err(invalid(option, why))
        }
    }
}

fn byte_or(options: &[SqlOption], name: &str, default: u8) -> Result<u8> {
    find(options, name).map_or(Ok(default), parse_byte)
}

fn parse_null(options: &[SqlOption], default: String) -> Result<String> {
    match find(options, "NULL") {
        None => Ok(default),
        Some(option) => match &option.value {
            OptionValue::Text(text) => Ok(text.clone()),
            OptionValue::Word(word) => Ok(word.value.clone()),
            OptionValue::Number(digits) => Ok(digits.clone()),
            _ => Err(invalid(option, "NULL must be a text: NULL ''".to_owned())),
        },
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The checks and their messages are PostgreSQL's: `ProcessCopyOptions` in
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/commands/copy.c>
fn check_bytes(options: &[SqlOption], delimiter: u8, null: &str) -> Result<()> {
    let refuse = |name: &str, why: &str| {
        let error = Error::new(ErrorKind::InvalidParameter, why);
        match find(options, name).or_else(|| find(options, "DELIMITER")) {
            Some(option) => Err(error.at(option.location)),
            None => Err(error),
        }
    };
    if is_line_end(delimiter) {
        return refuse(
            "DELIMITER",
            "COPY delimiter cannot be newline or carriage return",
        );
    }
    if null.bytes().any(is_line_end) {
        return refuse(
            "NULL",
            "COPY null representation cannot use newline or carriage return",
        );
    }
    if null.as_bytes().contains(&delimiter) {
        return refuse(
            "NULL",
            "COPY delimiter must not appear in the NULL specification",
        );
    }
    Ok(())
}

fn parse_csv(options: &[SqlOption]) -> Result<CsvOptions> {
    let default = CsvOptions::default();
    let quote = byte_or(options, "QUOTE", default.quote)?;
    let csv = CsvOptions {
        header: find(options, "HEADER").map_or(Ok(false), parse_boolean)?,
        delimiter: byte_or(options, "DELIMITER", default.delimiter)?,
        quote,
        escape: byte_or(options, "ESCAPE", quote)?,
        null: parse_null(options, default.null)?,
        force_quote: parse_force_quote(options)?,
        compression: parse_text_compression(options)?,
    };
    check_bytes(options, csv.delimiter, &csv.null)?;
    let refuse = |why: &str| {
        let error = Error::new(ErrorKind::InvalidParameter, why);
        let written = ["QUOTE", "ESCAPE", "DELIMITER", "NULL"];
        match written.iter().find_map(|name| find(options, name)) {
            Some(option) => Err(error.at(option.location)),
            None => Err(error),
        }
    };
    if csv.delimiter == csv.quote {
        return refuse("COPY delimiter and quote must be different");
    }
    if csv.null.as_bytes().contains(&csv.quote) {
        return refuse("CSV quote character must not appear in the NULL specification");
    }
    // PostgreSQL accepts these, but the file that it then writes can't be read back.
    for (name, byte) in [("quote", csv.quote), ("escape", csv.escape)] {
        if is_line_end(byte) {
            return refuse(&format!("COPY {name} cannot be newline or carriage return"));
        }
    }
    Ok(csv)
}

fn parse_force_quote(options: &[SqlOption]) -> Result<ForceQuote> {
    let Some(option) = find(options, "FORCE QUOTE") else {
        return Ok(ForceQuote::None);
    };
    Ok(match &option.value {
        OptionValue::All => ForceQuote::All,
        OptionValue::Names(names) => ForceQuote::Columns(names.iter().map(fold).collect()),
        OptionValue::Word(name) => ForceQuote::Columns(vec![fold(name)]),
        _ => {
            let why = "FORCE QUOTE needs columns: FORCE QUOTE (a, b), or FORCE QUOTE * for all";
            return Err(invalid(option, why.to_owned()));
        }
    })
}

fn parse_copy_text(options: &[SqlOption]) -> Result<CopyTextOptions> {
    let default = CopyTextOptions::default();
    let text = CopyTextOptions {
        header: find(options, "HEADER").map_or(Ok(false), parse_boolean)?,
        delimiter: byte_or(options, "DELIMITER", default.delimiter)?,
        null: parse_null(options, default.null)?,
    };
    check_bytes(options, text.delimiter, &text.null)?;
    // PostgreSQL's list of refused delimiters: a backslash, and characters that may follow one.
    let taken = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
    match find(options, "DELIMITER") {
        Some(option) if taken.contains(&text.delimiter) => {
            let why = format!(
                "COPY delimiter cannot be \"{}\"",
                char::from(text.delimiter)
            );
            Err(invalid(option, why))
        }
        _ => Ok(text),
    }
}
