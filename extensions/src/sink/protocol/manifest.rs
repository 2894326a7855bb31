//! The `MANIFEST` that a finished export can leave behind.
//!
//! Invariant: it is a verbose manifest of Redshift, so that Redshift's own COPY reads it. The
//! export's id, statement, times and ETags are added; readers ignore fields that they do not know.
//!
//! The format: <https://docs.aws.amazon.com/redshift/latest/dg/r_UNLOAD.html> (`MANIFEST VERBOSE`)

use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::sink::staged::StagedFile;

/// Lists the objects of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    entries: Vec<Entry>,
    schema: SchemaElements,
    meta: Totals,
    author: Author,
    export: ExportNote,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    url: String,
    mandatory: bool,
    meta: EntryMeta,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EntryMeta {
    content_length: u64,
    record_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    content_length: u64,
    record_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SchemaElements {
    elements: Vec<Element>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Element {
    name: String,
    #[serde(rename = "type")]
    data_type: ElementType,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ElementType {
    base: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<i8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Author {
    name: String,
    version: String,
}

/// Fields that Redshift's own manifests don't have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ExportNote {
    id: String,
    statement: String,
    started: String,
    #[serde(default)]
    ended: String,
}

impl Manifest {
    /// A manifest without entries, with everything that is known before the objects are there.
    pub(super) fn draft(id: &str, statement: &str, started: &str, schema: &Schema) -> Self {
        let elements = schema
            .fields()
            .iter()
            .map(|field| Element {
                name: field.name().clone(),
                data_type: redshift_type(field.data_type()),
            })
            .collect();
        Self {
            entries: Vec::new(),
            schema: SchemaElements { elements },
            meta: Totals::default(),
            author: Author {
                name: "Tidegate".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            export: ExportNote {
                id: id.to_owned(),
                statement: statement.to_owned(),
                started: started.to_owned(),
                ended: String::new(),
            },
        }
    }

    /// The finished manifest of `files` as JSON; `url` turns a key into a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if serialization fails, which is not expected for plain data.
    pub(super) fn finish(
        mut self,
        files: &[StagedFile],
        url: impl Fn(&str) -> String,
    ) -> Result<Bytes> {
        self.entries = files
            .iter()
            .map(|file| Entry {
                url: url(&file.key),
                mandatory: true,
                meta: EntryMeta {
                    content_length: file.bytes,
                    record_count: file.rows,
                    etag: file.object_etag.clone(),
                },
            })
            .collect();
        self.meta = Totals {
            content_length: files.iter().map(|file| file.bytes).sum(),
            record_count: files.iter().map(|file| file.rows).sum(),
        };
        self.export.ended = chrono::Utc::now().to_rfc3339();
        let json = serde_json::to_vec_pretty(&self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the manifest can't be written").with_source(error)
        })?;
        Ok(Bytes::from(json))
    }
}

/// Redshift's name of a type, or Arrow's name if Redshift has no such type:
/// <https://docs.aws.amazon.com/redshift/latest/dg/c_Supported_data_types.html>
fn redshift_type(data_type: &DataType) -> ElementType {
    let base = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "character varying",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary varying",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return ElementType {
                base: "numeric".to_owned(),
                precision: Some(*precision),
                scale: Some(*scale),
            };
        }
        DataType::Dictionary(_, values) => return redshift_type(values),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(_, _)
        | DataType::Struct(_)
        | DataType::Map(_, _) => "super",
        other => {
            return ElementType {
                base: other.to_string(),
                ..ElementType::default()
            };
        }
    };
    ElementType {
        base: base.to_owned(),
        ..ElementType::default()
    }
}
