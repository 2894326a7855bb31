//! Files of one format as a table.
//!
//! Invariant: a scan reads every file of the table's location, each with the values of its folders'
//! columns. Only files whose folders a filter excludes are left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::and_kleene;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Constraints, DFSchema, ScalarValue, SchemaExt, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::listing::{ListingTableUrl, PartitionedFile};
use datafusion::datasource::physical_plan::{
    FileGroup, FileOutputMode, FileScanConfigBuilder, FileSinkConfig,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::{StreamExt, TryStreamExt};

use super::insert::Inserter;
use super::location::{Listing, Location};
use super::parquet::{Weight, measure};
use super::partitions::partition_values;
use crate::error::{Error, ErrorKind, Result};

/// The files of a location as a table.
#[derive(Debug)]
pub(super) struct FileTable {
    pub(super) location: Location,
    pub(super) format: Arc<dyn FileFormat>,
    pub(super) schema: TableSchema,
    /// DataFusion's options of the format.
    pub(super) options: HashMap<String, String>,
    /// The last partition column is the path of the file.
    pub(super) has_file_name: bool,
    /// The location is a folder, or nothing is there yet.
    pub(super) is_folder: bool,
    pub(super) definition: Option<String>,
    pub(super) constraints: Constraints,
    pub(super) defaults: HashMap<String, Expr>,
}

impl FileTable {
    fn partitions(&self) -> &[FieldRef] {
        self.schema.table_partition_cols()
    }

    /// The names of the files' columns in a projection of the table.
    fn wanted_names(&self, projection: Option<&Vec<usize>>) -> DataFusionResult<BTreeSet<String>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        Ok(schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect())
    }

    fn is_about_partitions(&self, filter: &Expr) -> bool {
        let names: Vec<&str> = self
            .partitions()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        !names.is_empty() && expr_applicable_for_cols(&names, filter)
    }

    /// The files that a scan reads.
    async fn list(&self, state: &SessionState, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        // Listed for every scan: a view keeps the table while files come and go.
        let listing = self.location.list(state).await?;
        if self.format.get_ext() == PARQUET {
            refuse_empty(&listing)?;
        }
        let fields = self.partitions();
        let mut files = Vec::with_capacity(listing.files.len());
        for file in listing.files {
            // An empty text file has no rows.
            if file.object.size == 0 {
                continue;
            }
            let in_folders = &fields[..fields.len() - usize::from(self.has_file_name)];
            let mut values = match in_folders {
                [] => Vec::new(),
                fields => partition_values(&self.location, fields, &file)?,
            };
            if self.has_file_name {
                let name = self.location.name_of(&file.object.location);
                values.push(ScalarValue::Utf8(Some(name)));
            }
            let mut file = PartitionedFile::from(file.object);
            file.partition_values = values;
            files.push(file);
        }
        if filters.is_empty() || files.is_empty() {
            return Ok(files);
        }
        let kept = rows_that_pass(state, fields, &files, filters)?;
        let mut kept = kept.iter();
        files.retain(|_| kept.next().flatten().unwrap_or_default());
        Ok(files)
    }

    /// Adds the statistics of each file, and returns those of all, and the weight of the wanted
    /// columns.
    async fn measure(
        &self,
        state: &SessionState,
        files: &mut [PartitionedFile],
        wanted: &BTreeSet<String>,
    ) -> DataFusionResult<(Statistics, Weight)> {
        let store = state.runtime_env().object_store(&self.location.store)?;
        let schema = self.schema.file_schema();
        let measure = |file: &PartitionedFile| {
            let (store, object) = (Arc::clone(&store), file.object_meta.clone());
            let schema = SchemaRef::clone(schema);
            async move {
                let format = self.format.as_ref();
                let measured = measure(format, state, &store, &schema, &object, wanted).await?;
                if let Some(measured) = measured {
                    return Ok(measured);
                }
                let statistics = format.infer_stats(state, &store, schema, &object).await?;
                Ok::<_, DataFusionError>((statistics, Weight::default()))
            }
        };
        // Collected, because a future that borrows an iterator is not `Send`.
        let measured: Vec<_> = files.iter().map(measure).collect();
        let concurrency = state.config_options().execution.meta_fetch_concurrency;
        let measured: Vec<(Statistics, Weight)> = futures::stream::iter(measured)
            .buffered(concurrency.get())
            .try_collect()
            .await?;
        let mut all = Statistics::new_unknown(self.schema.table_schema());
        all.num_rows = Precision::Exact(0);
        all.total_byte_size = Precision::Exact(0);
        let mut heaviest = Weight::default();
        for (file, (statistics, weight)) in files.iter_mut().zip(measured) {
            all.num_rows = all.num_rows.add(&statistics.num_rows);
            all.total_byte_size = all.total_byte_size.add(&statistics.total_byte_size);
            *file = file.clone().with_statistics(Arc::new(statistics));
            heaviest = heaviest.and(weight);
        }
        Ok((all, heaviest))
    }
}

/// DataFusion's name of the format that has no empty files.
pub(super) const PARQUET: &str = "parquet";

/// Refuses empty Parquet files: a file without rows has a footer, too.
pub(super) fn refuse_empty(listing: &Listing) -> Result<()> {
    let mut files = listing.files.iter();
    match files.find(|file| file.object.size == 0) {
        None => Ok(()),
        Some(file) => {
            let path = &file.object.location;
            let why = format!("{path} is empty, so it is no Parquet file");
            Err(Error::new(ErrorKind::Query, why))
        }
    }
}

/// Which files' partition values pass the filters.
fn rows_that_pass(
    state: &SessionState,
    fields: &[FieldRef],
    files: &[PartitionedFile],
    filters: &[Expr],
) -> DataFusionResult<BooleanArray> {
    let columns = (0..fields.len()).map(|column| {
        let values = files
            .iter()
            .map(|file| file.partition_values[column].clone());
        ScalarValue::iter_to_array(values)
    });
    let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let df_schema = DFSchema::try_from(schema)?;
    let mut passed = BooleanArray::from(vec![true; files.len()]);
    for filter in filters {
        let filter = unnormalize_col(filter.clone());
        let filter = state.create_physical_expr(filter, &df_schema)?;
        let result = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
        let result = result.as_boolean_opt().cloned().ok_or_else(|| {
            let why = "a filter of partition columns gives no truth value";
            DataFusionError::from(Error::new(ErrorKind::Internal, why))
        })?;
        passed = and_kleene(&passed, &result)?;
    }
    Ok(passed)
}

fn session_state(session: &dyn Session) -> DataFusionResult<&SessionState> {
    session.as_any().downcast_ref().ok_or_else(|| {
        let why = "files are read only in a session of DataFusion";
        Error::new(ErrorKind::Internal, why).into()
    })
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(self.schema.table_schema())
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.is_about_partitions(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let state = session_state(session)?;
        let (about_partitions, others): (Vec<Expr>, Vec<Expr>) = filters
            .iter()
            .cloned()
            .partition(|filter| self.is_about_partitions(filter));
        let mut files = self.list(state, &about_partitions).await?;
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema().project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let options = state.config_options();
        // With a limit, the first files may have enough rows.
        let is_counted = options.execution.collect_statistics && limit.is_none();
        let statistics = match is_counted {
            true => {
                let wanted = self.wanted_names(projection)?;
                let (statistics, weight) = self.measure(state, &mut files, &wanted).await?;
                weight.add_to_load(state);
                // A filter may exclude the row groups that are too large.
                if filters.is_empty() {
                    weight.refuse_without_room(state);
                }
                statistics
            }
            false => Statistics::new_unknown(self.schema.table_schema()),
        };
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let source = self.format.file_source(self.schema.clone());
        let scan = FileScanConfigBuilder::new(self.location.store.clone(), source)
            .with_file_groups(groups)
            .with_constraints(self.constraints.clone())
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit.filter(|_| others.is_empty()))
            .build();
        self.format.create_physical_plan(state, scan).await
    }

    async fn insert_into(
        &self,
        session: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.schema()
            .logically_equivalent_names_and_types(&input.schema())?;
        self.check_is_folder()?;
        let inserter = session.config().get_extension::<Inserter>();
        if let Some(inserter) = inserter
            && let Some(insert) = self.insert(Arc::clone(&input), operation)?
        {
            return Ok(inserter.0(insert, session)?);
        }
        self.check_has_no_partitions()?;
        let url = ListingTableUrl::parse(self.location.folder_url())?;
        let sink = FileSinkConfig {
            original_url: String::default(),
            object_store_url: self.location.store.clone(),
            table_paths: vec![url],
            file_group: FileGroup::default(),
            output_schema: self.schema(),
            table_partition_cols: Vec::new(),
            insert_op: operation,
            keep_partition_by_columns: false,
            file_extension: self.format.get_ext(),
            file_output_mode: FileOutputMode::Automatic,
        };
        let writer = self
            .format
            .create_writer_physical_plan(input, session, sink, None);
        writer.await
    }
}
