//! The options of `PARTITION BY`.

use super::values::{choice, find, invalid, parse_count};
use crate::catalog::fold;
use crate::error::Result;
use crate::sql::ast::{OptionValue, SqlOption};

const DEFAULT_OPEN_FILES: usize = 64;

/// The options of a `COPY` with `PARTITION BY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PartitionOptions {
    /// The names of the partition columns, folded.
    pub columns: Vec<String>,
    /// Whether the files hold the partition columns, too.
    pub keep_columns: bool,
    /// How many files may be open at once.
    pub max_open_files: usize,
}

pub(super) fn parse_partition(options: &[SqlOption]) -> Result<Option<PartitionOptions>> {
    let Some(by) = find(options, "PARTITION BY") else {
        let needs_it = ["PARTITION COLUMNS", "MAX OPEN FILES"];
        return match needs_it.iter().find_map(|name| find(options, name)) {
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
    let keep = |name: &str| Some(name == "keep");
    let max_open_files = match find(options, "MAX OPEN FILES") {
        Some(option) => parse_count(option)?,
        None => DEFAULT_OPEN_FILES,
    };
    Ok(Some(PartitionOptions {
        columns,
        keep_columns: choice(find(options, "PARTITION COLUMNS"), "choices", keep)?.unwrap_or(false),
        max_open_files,
    }))
}
