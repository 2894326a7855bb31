//! Opens the files of a location as a table.
//!
//! Invariant: the table has the declared columns. If none are declared, it has all columns of all
//! files, and the columns that the folders name.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Constraints;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use object_store::ObjectMeta;

use super::kinds::kind_of_all;
use super::location::{Listing, Location};
use super::partitions::{partition_fields, partition_names};
use super::reading::Reading;
use super::table::{FileTable, PARQUET, refuse_empty};
use super::{csv, json};
use crate::error::{Error, ErrorKind, Result};

/// DataFusion's option for the delimiter of CSV files.
const DELIMITER: &str = "format.delimiter";

/// Files to open.
pub(super) struct FilesOf<'a> {
    /// Paths, globs or URLs, as the session's stores know them.
    pub(super) locations: &'a [String],
    /// The format as DataFusion names it; the files' endings tell it if it is not given.
    pub(super) format: Option<&'static str>,
    pub(super) reading: &'a Reading,
    /// The declared columns, including partition columns.
    pub(super) declared: &'a Schema,
    /// The partition columns, if they are named. Otherwise the folders name them, unless columns are
    /// declared.
    pub(super) partitioned_by: Option<&'a [String]>,
}

impl FilesOf<'_> {
    /// The files as a table; `None` if there are none and no column is declared.
    ///
    /// # Errors
    /// The store's; [`ErrorKind::InvalidParameter`] and [`ErrorKind::Query`] if files do not fit
    /// each other, the format, or the named partition columns.
    pub(super) async fn open(&self, state: &SessionState) -> Result<Option<FileTable>> {
        let location = Location::parse_all(self.locations)?;
        let listing = location.list(state).await?;
        let is_declared = !self.declared.fields().is_empty();
        if listing.files.is_empty() && !is_declared {
            return Ok(None);
        }
        let kind = kind_of_all(&location, &listing, self.format)?;
        let Some(name) = self.format.or(kind.format) else {
            return Ok(None);
        };
        let options = self.reading.options.clone();
        let mut options: HashMap<String, String> = options.into_iter().collect();
        if kind.has_tabs && name == "csv" {
            let tab = "\t".to_owned();
            options.entry(DELIMITER.to_owned()).or_insert(tab);
        }
        let factory = state.get_file_format_factory(name).ok_or_else(|| {
            let why = format!("this session reads no {name}");
            Error::new(ErrorKind::Unsupported, why)
        })?;
        let mut format = factory.create(state, &options)?;
        if self.reading.union_by_name {
            format = csv::with_union(format);
        }
        if self.reading.ignore_errors {
            format = json::ignoring_errors(csv::ignoring_errors(format));
        }
        if name == PARQUET {
            refuse_empty(&listing)?;
        }

        let mut names = self.partition_names(&location, &listing)?;
        let store = state.runtime_env().object_store(&location.store)?;
        let objects: Vec<ObjectMeta> = listing
            .files
            .iter()
            .map(|file| file.object.clone())
            .filter(|object| object.size > 0)
            .collect();
        let columns = if is_declared {
            let in_files = |field: &&FieldRef| !names.contains(field.name());
            let fields = self.declared.fields().iter().filter(in_files);
            let columns = Schema::new(fields.cloned().collect::<Vec<_>>());
            csv::look_at(&format, store.as_ref(), &objects, &columns).await?;
            SchemaRef::new(columns)
        } else {
            format.infer_schema(state, &store, &objects).await?
        };
        // A partition column that the files hold is read from them: its type is known there.
        names.retain(|name| columns.column_with_name(name).is_none());
        let mut fields = partition_fields(&names, self.declared, &listing.files);
        if let Some(name) = &self.reading.file_name {
            if columns.column_with_name(name).is_some() || names.contains(name) {
                let why = format!("the files have a column {name}, so filename can't add one");
                let error = Error::new(ErrorKind::InvalidParameter, why);
                return Err(error.with_hint("filename => 'name' gives the column another name"));
            }
            fields.push(Arc::new(Field::new(name, DataType::Utf8, false)));
        }
        Ok(Some(FileTable {
            is_folder: listing.is_folder || listing.files.is_empty(),
            options,
            has_file_name: self.reading.file_name.is_some(),
            location,
            format,
            schema: TableSchema::builder(columns)
                .with_table_partition_cols(fields)
                .build(),
            definition: None,
            constraints: Constraints::default(),
            defaults: HashMap::new(),
        }))
    }

    fn partition_names(&self, location: &Location, listing: &Listing) -> Result<Vec<String>> {
        let Some(named) = self.partitioned_by else {
            return match self.declared.fields().is_empty() {
                true => partition_names(location, &listing.files),
                false => Ok(Vec::new()),
            };
        };
        let found = partition_names(location, &listing.files)?;
        if !listing.files.is_empty() && found != named {
            let list = |names: &[String]| match names {
                [] => "no columns".to_owned(),
                names => names.join(", "),
            };
            let why = format!(
                "PARTITIONED BY names {}, but the folders of '{}' name {}",
                list(named),
                location.written,
                list(&found)
            );
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        }
        Ok(named.to_vec())
    }
}
