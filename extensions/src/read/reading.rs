//! How files are read: what the arguments of `read_csv` and similar functions, and the options of an
//! external table, set.
//!
//! Invariant: an argument has the same names and the same effect in both places, and is set once.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, ErrorKind, Result};
use crate::sql::nearest;

/// DataFusion's option for the number of records that types are guessed from.
const SAMPLE_RECORDS: &str = "format.schema_infer_max_rec";

/// Its value if every column is text.
const NO_RECORDS: &str = "0";

/// DataFusion's prefix of the options of a format.
const OF_FORMAT: &str = "format.";

pub(super) const CONNECTION: &str = "aws_connection";
pub(super) const COLUMNS: &str = "columns";
const FILE_NAME: &str = "filename";

/// What an argument sets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    /// An option of the format, by DataFusion's name.
    Format(&'static str),
    /// Every column is text: no record is looked at for its types.
    AllText,
    Columns,
    SampleSize,
    FileName,
    UnionByName,
    IgnoreErrors,
    Connection,
}

const TEXTS: &[&str] = &["csv", "json"];
const ALL: &[&str] = &["csv", "json", "parquet"];

/// DuckDB's name of each argument, and the formats that have the argument.
const ARGUMENTS: [(&str, Argument, &[&str]); 15] = [
    ("header", Argument::Format("format.has_header"), &["csv"]),
    ("delimiter", Argument::Format("format.delimiter"), &["csv"]),
    ("delim", Argument::Format("format.delimiter"), &["csv"]),
    ("sep", Argument::Format("format.delimiter"), &["csv"]),
    ("quote", Argument::Format("format.quote"), &["csv"]),
    ("escape", Argument::Format("format.escape"), &["csv"]),
    ("nullstr", Argument::Format("format.null_value"), &["csv"]),
    ("compression", Argument::Format("format.compression"), TEXTS),
    ("all_varchar", Argument::AllText, &["csv"]),
    (COLUMNS, Argument::Columns, TEXTS),
    ("sample_size", Argument::SampleSize, TEXTS),
    ("ignore_errors", Argument::IgnoreErrors, TEXTS),
    (FILE_NAME, Argument::FileName, ALL),
    ("union_by_name", Argument::UnionByName, ALL),
    (
        CONNECTION,
        Argument::Connection,
        &["csv", "json", "parquet", "*"],
    ),
];

/// The argument with this name of a format.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] with the nearest name. `function` names the function in it.
pub(super) fn find_argument(function: &str, format: &str, name: &str) -> Result<Argument> {
    let known = ARGUMENTS.iter();
    let known = known.filter(|(_, _, formats)| formats.contains(&format));
    if let Some((_, argument, _)) = known.clone().find(|(known, ..)| *known == name) {
        return Ok(*argument);
    }
    let names: Vec<&str> = known.map(|(name, ..)| *name).collect();
    let error = invalid(format!("unknown argument {name} of {function}"));
    Err(match nearest(name, &names) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint(format!("the arguments are {}", names.join(", "))),
    })
}

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    /// DataFusion's options of the format.
    pub(super) options: BTreeMap<String, String>,
    /// The name of a column with the path of each row's file.
    pub(super) file_name: Option<String>,
    /// Files may have different columns, and the table has all of them.
    pub(super) union_by_name: bool,
    /// Records that can't be read are passed over.
    pub(super) ignore_errors: bool,
}

impl Reading {
    /// The options of an external table, by DuckDB's names and by DataFusion's.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(super) fn from_options(format: &str, options: &HashMap<String, String>) -> Result<Self> {
        let mut reading = Self::default();
        for (option, value) in options {
            let name = option.strip_prefix(OF_FORMAT).unwrap_or(option);
            let named = ARGUMENTS.iter().find(|(argument, _, formats)| {
                *argument == name.to_ascii_lowercase() && formats.contains(&format)
            });
            match named {
                Some((_, argument, _)) => reading.set(*argument, name, value)?,
                None => reading.set_option(option, name, value)?,
            }
        }
        Ok(reading)
    }

    /// Sets an argument that is no connection and no list of columns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for a value that the argument does not have, and for an
    /// argument that is set a second time.
    pub(super) fn set(&mut self, argument: Argument, name: &str, value: &str) -> Result<()> {
        match argument {
            Argument::Format(option) => self.set_option(option, name, value)?,
            Argument::AllText => {
                if boolean(name, value)? {
                    self.options
                        .insert(SAMPLE_RECORDS.to_owned(), NO_RECORDS.to_owned());
                }
            }
            Argument::SampleSize => {
                let records = match value.parse::<i64>() {
                    Ok(-1) => usize::MAX,
                    Ok(records) if records > 0 => records.unsigned_abs() as usize,
                    _ => {
                        let why = format!("{name} is a number of records, not {value}");
                        return Err(invalid(why).with_hint("-1 looks at all records"));
                    }
                };
                // If every column is text, no record is looked at.
                let is_told = self.options.get(SAMPLE_RECORDS).map(String::as_str);
                if is_told != Some(NO_RECORDS) {
                    self.set_option(SAMPLE_RECORDS, name, &records.to_string())?;
                }
            }
            Argument::FileName => {
                self.file_name = match value.to_ascii_lowercase().as_str() {
                    "true" => Some(FILE_NAME.to_owned()),
                    "false" => None,
                    _ => Some(value.to_owned()),
                };
            }
            Argument::UnionByName => self.union_by_name = boolean(name, value)?,
            Argument::IgnoreErrors => self.ignore_errors = boolean(name, value)?,
            Argument::Columns | Argument::Connection => {
                let error = invalid(format!("{name} is no option of an external table"));
                return Err(error.with_hint(
                    "declare the columns of the table; 'aws.connection' names the connection",
                ));
            }
        }
        Ok(())
    }

    fn set_option(&mut self, option: &str, name: &str, value: &str) -> Result<()> {
        let before = self.options.insert(option.to_owned(), value.to_owned());
        match before {
            Some(before) if before != value => {
                let why = format!("{name} sets {option}, which another argument has set");
                Err(invalid(why))
            }
            _ => Ok(()),
        }
    }
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(format!("{name} is true or false, not {value}"))),
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}
