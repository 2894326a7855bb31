//! The layout of an export: the columns and the format of its files, and the columns that name its
//! folders.
//!
//! Invariant: column names are unique, every file has at least one column, and its format can hold
//! all of them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::options::{CopyOptions, PartitionOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileFormat;
use crate::memory::ExportMemory;
use crate::sink::can_partition_by;
use crate::sql::nearest;

/// The columns of an export.
#[derive(Debug, Clone)]
pub(super) struct ExportLayout {
    /// The format of the files.
    pub(super) format: Arc<dyn FileFormat>,
    /// The columns of the query, with unique names.
    pub(super) input_schema: SchemaRef,
    /// The columns of the files.
    pub(super) file_schema: SchemaRef,
    /// The columns of the files, by their place in the query's result.
    pub(super) file_columns: Vec<usize>,
    /// The partition columns, by their place in the query's result.
    pub(super) partition_columns: Vec<usize>,
}

/// Lays out the result of a query as `options` ask. `memory` is the export's memory budget.
///
/// # Errors
/// A partition column does not exist, can't name a folder, or leaves no column for the files; the
/// format can't hold a column.
pub(super) fn export_layout(
    options: &CopyOptions,
    schema: &Schema,
    memory: ExportMemory,
) -> Result<ExportLayout> {
    let input_schema = with_unique_names(schema);
    let (partition_columns, file_columns) = match &options.partition {
        Some(partition) => divide_columns(partition, &input_schema)?,
        None => (Vec::new(), (0..input_schema.fields().len()).collect()),
    };
    let file_schema = input_schema.project(&file_columns).map_err(|error| {
        Error::new(ErrorKind::Internal, "the files' columns can't be chosen").with_source(error)
    })?;
    if let Some((option, names)) = options.format.named_columns() {
        check_names(option, names, &file_schema)?;
    }
    let format = options.file_format(memory, file_columns.len());
    format.check_schema(&file_schema)?;
    Ok(ExportLayout {
        format,
        input_schema,
        file_schema: Arc::new(file_schema),
        file_columns,
        partition_columns,
    })
}

fn divide_columns(
    partition: &PartitionOptions,
    schema: &Schema,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let place = |name: &String| {
        let (place, field) = schema
            .column_with_name(name)
            .ok_or_else(|| unknown_column("PARTITION BY", name, schema))?;
        if can_partition_by(field.data_type()) {
            return Ok(place);
        }
        Err(Error::new(
            ErrorKind::DatatypeMismatch,
            format!(
                "PARTITION BY column \"{name}\" has type {}, whose values can't name folders",
                field.data_type()
            ),
        )
        .with_hint("cast it to text in the query, or choose another column"))
    };
    let by: Vec<usize> = partition.columns.iter().map(place).collect::<Result<_>>()?;
    let all = 0..schema.fields().len();
    let in_files: Vec<usize> = all
        .filter(|column| partition.keep_columns || !by.contains(column))
        .collect();
    if in_files.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "PARTITION BY names every column, which leaves none for the files",
        )
        .with_hint("keep them in the files with PARTITION COLUMNS = 'keep'"));
    }
    Ok((by, in_files))
}

/// Refuses names that no column of `schema` has.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for the first unknown name, with a hint.
pub(super) fn check_names(option: &str, names: &[String], schema: &Schema) -> Result<()> {
    let missing = |name: &&String| schema.column_with_name(name).is_none();
    match names.iter().find(missing) {
        Some(name) => Err(unknown_column(option, name, schema)),
        None => Ok(()),
    }
}

fn unknown_column(option: &str, name: &str, schema: &Schema) -> Error {
    let error = Error::new(
        ErrorKind::InvalidParameter,
        format!("{option} column \"{name}\" does not exist"),
    );
    let known: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    match nearest(name, &known) {
        Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
        None => error.with_hint(format!("the columns are {}", known.join(", "))),
    }
}

/// Numbers duplicate column names: `a`, `a2`, `a3`.
fn with_unique_names(schema: &Schema) -> SchemaRef {
    let mut taken: HashSet<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    if taken.len() == schema.fields().len() {
        return Arc::new(schema.clone());
    }
    let mut seen: HashSet<String> = HashSet::new();
    let rename = |field: &Arc<Field>| {
        if seen.insert(field.name().clone()) {
            return Arc::clone(field);
        }
        let unique = (2u64..)
            .map(|number| format!("{}{number}", field.name()))
            .find(|name| taken.insert(name.clone()))
            .unwrap_or_else(|| field.name().clone());
        Arc::new(field.as_ref().clone().with_name(unique))
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(rename).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn duplicate_names_are_numbered() {
        let names = ["a", "b", "a", "a2", "a", "b"];
        let fields: Vec<Field> = names
            .iter()
            .map(|name| Field::new(*name, DataType::Int32, true))
            .collect();
        let unique = with_unique_names(&Schema::new(fields));
        let unique: Vec<&str> = unique.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(unique, ["a", "b", "a3", "a2", "a4", "b2"]);
    }
}
