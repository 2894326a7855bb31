//! Exports without SQL.
//!
//! Invariant: every setting here is an option of `COPY … TO`, and is checked by the same code.

use std::fmt;

use datafusion::prelude::DataFrame;
use tidegate_extensions::plan::plan_export;
use tidegate_extensions::sink::{ExportReport, Mode};
use tidegate_extensions::sql::ast::{OptionValue, SqlOption};
use tidegate_extensions::{Error, ErrorKind, Location, Result, Services};
use tokio_util::sync::CancellationToken;

use crate::execution::Execution;
use crate::session::Session;

impl Session {
    /// Begins an export of a DataFrame's rows. It needs a target and a format.
    ///
    /// ```
    /// use tidegate::{Engine, Parquet};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidegate::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let target = folder.path().join("days").display().to_string();
    /// let session = Engine::builder().build()?.session()?;
    /// session.execute("CREATE TABLE t AS VALUES ('mon', 1), ('tue', 2)").await?;
    /// let rows = session.context().table("t").await?;
    /// let report = session
    ///     .copy(rows)
    ///     .to(target)
    ///     .format(Parquet::default().zstd(3))
    ///     .partition_by(["column1"])
    ///     .run()
    ///     .await?;
    /// assert_eq!(report.rows, 2);
    /// assert_eq!(report.files.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy(&self, rows: DataFrame) -> CopyTo {
        CopyTo {
            session: self.clone(),
            rows,
            target: None,
            format: None,
            options: Vec::new(),
            cancelled: CancellationToken::new(),
        }
    }
}

/// A builder for an export.
#[must_use = "an export does nothing before it is run"]
pub struct CopyTo {
    session: Session,
    rows: DataFrame,
    target: Option<String>,
    format: Option<FormatSpec>,
    options: Vec<SqlOption>,
    cancelled: CancellationToken,
}

impl fmt::Debug for CopyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyTo")
            .field("target", &self.target)
            .field("format", &self.format)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn text(value: impl Into<String>) -> OptionValue {
    OptionValue::Text(value.into())
}

fn number(value: impl ToString) -> OptionValue {
    OptionValue::Number(value.to_string())
}

fn flag(value: bool) -> OptionValue {
    text(if value { "true" } else { "false" })
}

fn names<N: Into<String>>(names: impl IntoIterator<Item = N>) -> OptionValue {
    OptionValue::names(names)
}

/// Sets an option; a later setting replaces an earlier one.
fn set(options: &mut Vec<SqlOption>, name: &'static str, value: OptionValue) {
    options.retain(|option| option.name != name);
    options.push(SqlOption::new(name, value));
}

impl CopyTo {
    /// Sets the target: `s3://bucket/prefix`, or a path on this machine.
    pub fn to(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets the connection. A target on S3 needs one.
    pub fn connection(self, name: impl Into<String>) -> Self {
        self.set("AWS CONNECTION", text(name))
    }

    /// The files' format: [`Parquet`], [`Csv`] or [`Json`].
    pub fn format(mut self, format: impl Into<FormatSpec>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// Sets how the export treats objects that already exist under the target.
    pub fn mode(self, mode: Mode) -> Self {
        self.set("MODE", text(mode.name()))
    }

    /// Lets [`Mode::Overwrite`] replace objects that no export wrote, too, and [`Mode::Append`] add
    /// files of another format.
    pub fn force(self) -> Self {
        self.set("FORCE", flag(true))
    }

    /// Writes a folder `column=value/` for each value of these columns.
    pub fn partition_by<N: Into<String>>(self, columns: impl IntoIterator<Item = N>) -> Self {
        self.set("PARTITION BY", names(columns))
    }

    /// Keeps the partition columns in the files.
    pub fn keep_partition_columns(self) -> Self {
        self.set("PARTITION COLUMNS", text("keep"))
    }

    /// Limits how many files are open at once when partitioning.
    pub fn max_open_files(self, files: usize) -> Self {
        self.set("MAX OPEN FILES", number(files))
    }

    /// Sets the size of a file, in encoded bytes, at which the next file is started.
    pub fn max_file_bytes(self, bytes: u64) -> Self {
        self.set("MAX FILE SIZE", number(bytes))
    }

    /// Sets whether to write one object with exactly the target's name. Default: only for a local
    /// target that ends in the format's extension.
    pub fn single_file(self, single: bool) -> Self {
        self.set("SINGLE FILE", flag(single))
    }

    /// For a local target, sets whether files are on the disk when they appear. Default: true. With
    /// false, the system decides when they reach the disk, and a power failure may damage an export
    /// that was reported as successful.
    pub fn sync(self, sync: bool) -> Self {
        self.set("SYNC", flag(sync))
    }

    /// Writes a manifest that lists the objects and stays after the export.
    pub fn manifest(self) -> Self {
        self.set("MANIFEST", flag(true))
    }

    /// Report each Parquet file's columns: minimum, maximum, number of NULLs.
    pub fn summarize_columns(self) -> Self {
        self.set("RETURN", text("files"))
    }

    /// How the store encrypts the objects: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub fn server_side_encryption(self, algorithm: impl Into<String>) -> Self {
        self.set("SERVER SIDE ENCRYPTION", text(algorithm))
    }

    /// The id of the KMS key to encrypt with.
    pub fn kms_key_id(self, key: impl Into<String>) -> Self {
        self.set("KMS KEY ID", text(key))
    }

    /// The objects' storage class.
    pub fn storage_class(self, class: impl Into<String>) -> Self {
        self.set("STORAGE CLASS", text(class))
    }

    /// Send every part with its SHA-256 digest, for the store to verify.
    pub fn sha256_checksums(self) -> Self {
        self.set("CHECKSUM", text("sha256"))
    }

    /// Cancels the export when `token` is cancelled. A cancelled export leaves nothing behind. An
    /// export that has begun to commit can't be cancelled any more.
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancelled = token;
        self
    }

    fn set(mut self, name: &'static str, value: OptionValue) -> Self {
        set(&mut self.options, name, value);
        self
    }

    /// Plans and starts the export. Its progress can then be read; the export has ended when
    /// [`Execution::collect`] returns.
    ///
    /// # Errors
    /// Errors in the settings or in the types of the rows. No request has been sent to the store.
    pub async fn start(self) -> Result<Execution> {
        let Some(target) = self.target else {
            let why = "an export needs a target: CopyTo::to sets it";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        };
        let services = Services::of(self.session.context().state().config())?;
        let rows = self.rows.into_unoptimized_plan();
        let format = self.format.into_iter().flat_map(|format| format.options);
        let options = format.chain(self.options).collect();
        let plan = plan_export(&services, rows, &target, options)?;
        let nowhere = Location { line: 1, column: 1 };
        let started = self.session.start_plan(plan, nowhere).await;
        let execution = started.map_err(Error::without_location)?;
        Ok(execution.cancelled_by(self.cancelled))
    }

    /// Runs the export and returns once every object is there.
    ///
    /// # Errors
    /// Any error of the export. No object of it is left under the target, except for
    /// [`ErrorKind::CleanupFailed`] (every object is there, but not all of what the export had to
    /// remove is gone), [`ErrorKind::OutcomeUnknown`] (the store did not tell), and
    /// [`ErrorKind::Cancelled`] if its message says that the export was completed.
    pub async fn run(self) -> Result<ExportReport> {
        let outcome = self.start().await?.collect().await;
        let outcome = outcome.map_err(Error::without_location)?;
        outcome.export().cloned().ok_or_else(|| {
            let why = "the export ended without a report";
            Error::new(ErrorKind::Internal, why)
        })
    }
}

/// A file format with its settings.
#[derive(Debug, Clone)]
pub struct FormatSpec {
    options: Vec<SqlOption>,
}

impl FormatSpec {
    fn new(name: &'static str) -> Self {
        let options = vec![SqlOption::new("FORMAT", text(name))];
        Self { options }
    }

    fn with(mut self, name: &'static str, value: OptionValue) -> Self {
        set(&mut self.options, name, value);
        self
    }
}

macro_rules! format_type {
    ($(#[$documentation:meta])* $type:ident, $name:literal) => {
        $(#[$documentation])*
        #[derive(Debug, Clone)]
        pub struct $type(FormatSpec);

        impl Default for $type {
            fn default() -> Self {
                Self(FormatSpec::new($name))
            }
        }

        impl From<$type> for FormatSpec {
            fn from(format: $type) -> Self {
                format.0
            }
        }

        impl $type {
            #[must_use]
            fn with(self, name: &'static str, value: OptionValue) -> Self {
                Self(self.0.with(name, value))
            }

            /// Compress with gzip.
            #[must_use]
            pub fn gzip(self) -> Self {
                self.with("COMPRESSION", text("gzip"))
            }

            /// Compress with Zstandard at this level.
            #[must_use]
            pub fn zstd(self, level: i32) -> Self {
                self.with("COMPRESSION", text(format!("zstd({level})")))
            }

            /// Don't compress.
            #[must_use]
            pub fn uncompressed(self) -> Self {
                self.with("COMPRESSION", text("none"))
            }
        }
    };
}

format_type!(
    /// Parquet, compressed with Snappy by default.
    Parquet,
    "parquet"
);
format_type!(
    /// CSV as PostgreSQL writes it, without a header by default.
    Csv,
    "csv"
);
format_type!(
    /// A JSON object on each line.
    Json,
    "json"
);

/// The unit that timestamps are cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimestampUnit {
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
}

impl Parquet {
    /// Compress with Snappy.
    #[must_use]
    pub fn snappy(self) -> Self {
        self.with("COMPRESSION", text("snappy"))
    }

    /// Compress with Brotli.
    #[must_use]
    pub fn brotli(self) -> Self {
        self.with("COMPRESSION", text("brotli"))
    }

    /// Compress with LZ4.
    #[must_use]
    pub fn lz4_raw(self) -> Self {
        self.with("COMPRESSION", text("lz4_raw"))
    }

    /// Cast timestamps to this unit. Some readers do not support nanoseconds.
    #[must_use]
    pub fn timestamp_unit(self, unit: TimestampUnit) -> Self {
        self.with(
            "TIMESTAMP UNIT",
            text(match unit {
                TimestampUnit::Nanoseconds => "ns",
                TimestampUnit::Microseconds => "us",
                TimestampUnit::Milliseconds => "ms",
            }),
        )
    }

    /// Sets whether row groups of Parquet sources that need no change are moved without decoding. They
    /// are by default.
    #[must_use]
    pub fn passthrough(self, passthrough: bool) -> Self {
        let word = if passthrough { "auto" } else { "off" };
        self.with("PASSTHROUGH", text(word))
    }

    /// Limit a row group to this many rows.
    #[must_use]
    pub fn row_group_rows(self, rows: usize) -> Self {
        self.with("ROW GROUP ROWS", number(rows))
    }

    /// Limit a row group to this many encoded bytes.
    #[must_use]
    pub fn row_group_bytes(self, bytes: u64) -> Self {
        self.with("ROW GROUP SIZE", number(bytes))
    }
}

impl Csv {
    /// The first line of every file names the columns.
    #[must_use]
    pub fn header(self) -> Self {
        self.with("HEADER", flag(true))
    }

    /// The delimiter between values: one byte.
    #[must_use]
    pub fn delimiter(self, delimiter: u8) -> Self {
        self.with("DELIMITER", text(char::from(delimiter)))
    }

    /// The quote around values that need it: one byte.
    #[must_use]
    pub fn quote(self, quote: u8) -> Self {
        self.with("QUOTE", text(char::from(quote)))
    }

    /// The escape before a quote inside quotes: one byte.
    #[must_use]
    pub fn escape(self, escape: u8) -> Self {
        self.with("ESCAPE", text(char::from(escape)))
    }

    /// The text that stands for NULL.
    #[must_use]
    pub fn null(self, null: impl Into<String>) -> Self {
        self.with("NULL", text(null))
    }

    /// Columns whose values are always quoted.
    #[must_use]
    pub fn force_quote<N: Into<String>>(self, columns: impl IntoIterator<Item = N>) -> Self {
        self.with("FORCE QUOTE", names(columns))
    }
}
