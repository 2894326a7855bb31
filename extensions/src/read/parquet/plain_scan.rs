//! Scans whose rows are those of the files, and which row groups pass their filter as a whole.
//!
//! Invariant: a row group is taken only if every row of it is in the result of the query, and passed
//! over only if none is. Everything that the statistics do not decide stays in the scan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Statistics, config::ConfigOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccessPlanFilter};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetFileMetrics, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::file::metadata::ParquetMetaData;

use super::footers::Footers;

/// A scan of Parquet files with at most a filter and a choice of columns above it.
#[derive(Debug)]
pub(crate) struct PlainScan {
    scan: FileScanConfig,
    /// The columns of the result, by their place among the files' columns.
    columns: Vec<usize>,
    /// The filter, over the files' columns.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The table's own option to use statistics.
    prunes: bool,
}

/// What is left of a file to decode.
#[derive(Debug, Clone)]
pub(crate) struct LeftOfFile {
    /// The row groups.
    row_groups: Vec<usize>,
    /// How many row groups the file has.
    row_groups_of_file: usize,
    rows: i64,
    bytes: i64,
}

/// The row groups of a file that the statistics decide.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decided {
    /// Every row of these is in the result.
    pub(crate) taken: Vec<usize>,
    /// Nothing is known of these.
    pub(crate) open: Vec<usize>,
}

impl PlainScan {
    /// The scan below `plan`; `None` if `plan` does more than to choose columns and rows.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let below = Self::of(projection.input())?;
            let schema = projection.input().schema();
            let columns = projection.expr().iter().map(|chosen| {
                let column = chosen.expr.downcast_ref::<Column>()?;
                let is_renamed = schema.field(column.index()).name() != &chosen.alias;
                (!is_renamed).then(|| below.columns[column.index()])
            });
            let columns = columns.collect::<Option<_>>()?;
            return Some(Self { columns, ..below });
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let below = Self::of(filter.input())?;
            if below.filter.is_some() || filter.fetch().is_some() {
                return None;
            }
            let columns = match filter.projection() {
                Some(chosen) => chosen.iter().map(|column| below.columns[*column]).collect(),
                None => below.columns.clone(),
            };
            // The columns of a filter have the names that they have in the files.
            let predicate = Arc::clone(filter.predicate());
            let predicate = reassign_expr_columns(predicate, below.scan.file_schema()).ok()?;
            if !is_decidable(&predicate) {
                return None;
            }
            return Some(Self {
                columns,
                filter: Some(predicate),
                ..below
            });
        }
        let (scan, source) = plan
            .downcast_ref::<DataSourceExec>()?
            .downcast_to_file_source::<ParquetSource>()?;
        let has_ranges = || files_of(scan).any(|file| file.range.is_some());
        let is_more = source.filter().is_some()
            || scan.limit.is_some()
            || scan.expr_adapter_factory.is_some()
            || !scan.output_ordering.is_empty()
            || has_ranges();
        if is_more {
            return None;
        }
        let files_columns = scan.file_schema().fields();
        let columns = source.projection()?.iter().map(|chosen| {
            let column = chosen.expr.downcast_ref::<Column>()?;
            let field = files_columns.get(column.index())?;
            (field.name() == &chosen.alias).then(|| column.index())
        });
        Some(Self {
            columns: columns.collect::<Option<_>>()?,
            scan: scan.clone(),
            filter: None,
            prunes: source.table_parquet_options().global.pruning,
        })
    }

    /// The columns of the files.
    pub(crate) fn file_schema(&self) -> &SchemaRef {
        self.scan.file_schema()
    }

    /// The columns of the result, by their place in [`Self::file_schema`].
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The columns that the filter reads, by their place in [`Self::file_schema`].
    pub(crate) fn filter_columns(&self) -> Vec<usize> {
        let filter = self.filter.iter().flat_map(collect_columns);
        let mut columns: Vec<usize> = filter.map(|column| column.index()).collect();
        columns.sort_unstable();
        columns
    }

    /// Where the files are.
    pub(crate) fn store_url(&self) -> &ObjectStoreUrl {
        &self.scan.object_store_url
    }

    /// Whether rows are decided without statistics, or statistics may be used.
    pub(crate) fn may_decide(&self, options: &ConfigOptions) -> bool {
        self.filter.is_none() || (self.prunes && options.execution.parquet.pruning)
    }

    /// Whether a file is read twice.
    pub(crate) fn has_duplicates(&self) -> bool {
        let mut seen = HashSet::new();
        !files_of(&self.scan).all(|file| seen.insert(&file.object_meta.location))
    }

    /// The files with their footers, in the order of the scan. Only a few footers are in memory at
    /// once. An item is an error of the store, or says that a file is not Parquet.
    pub(crate) fn footers<'a>(
        &self,
        session: &dyn Session,
        store: &'a Arc<dyn ObjectStore>,
    ) -> impl Stream<Item = Result<(ObjectMeta, Arc<ParquetMetaData>)>> + Send + use<'a> {
        let runtime = session.runtime_env();
        let footers = Arc::new(Footers {
            store,
            cache: runtime.cache_manager.get_file_metadata_cache(),
            size_hint: None,
        });
        let files = files_of(&self.scan).map(|file| file.object_meta.clone());
        let files: Vec<ObjectMeta> = files.collect();
        let concurrency = session.config_options().execution.meta_fetch_concurrency;
        let fetch = move |object: ObjectMeta| {
            let footers = Arc::clone(&footers);
            async move {
                let footer = footers.fetch(&object).await?;
                Ok((object, footer))
            }
        };
        futures::stream::iter(files)
            .map(fetch)
            .buffered(concurrency.get())
    }

    /// Decides on the row groups of a file whose filter columns have the types of the table.
    pub(crate) fn decide(&self, object: &ObjectMeta, footer: &ParquetMetaData) -> Decided {
        let all = 0..footer.num_row_groups();
        let Some(filter) = &self.filter else {
            let taken = all.collect();
            return Decided {
                taken,
                open: Vec::new(),
            };
        };
        let schema = self.scan.file_schema();
        let Ok(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(schema))
            .try_build(Arc::clone(filter))
        else {
            return Decided {
                taken: Vec::new(),
                open: all.collect(),
            };
        };
        let metrics = ExecutionPlanMetricsSet::new();
        let metrics = ParquetFileMetrics::new(0, object.location.as_ref(), &metrics);
        let every = ParquetAccessPlan::new_all(footer.num_row_groups());
        let mut access = RowGroupAccessPlanFilter::new(every);
        access.prune_by_statistics(
            schema,
            footer.file_metadata().schema_descr(),
            footer.row_groups(),
            &predicate,
            &metrics,
        );
        let is_taken = access.is_fully_matched().clone();
        let (taken, open) = access
            .row_group_indexes()
            .into_iter()
            .partition(|group| is_taken[*group]);
        Decided { taken, open }
    }

    /// The plan that reads only what is left of some files: all of a file that `left` does not name.
    /// `None` if nothing is left.
    ///
    /// # Errors
    /// DataFusion can't build the plan again.
    pub(crate) fn rest_of(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        left: &HashMap<Path, LeftOfFile>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let groups = self.scan.file_groups.iter().map(|group| {
            let files =
                group
                    .iter()
                    .filter_map(|file| match left.get(&file.object_meta.location) {
                        None => Some(file.clone()),
                        Some(left) if left.row_groups.is_empty() => None,
                        Some(left) => Some(left.of(file)),
                    });
            FileGroup::new(files.collect())
        });
        let groups: Vec<FileGroup> = groups.filter(|group| !group.is_empty()).collect();
        if groups.is_empty() {
            return Ok(None);
        }
        let scan = FileScanConfigBuilder::from(self.scan.clone())
            .with_statistics(total(&groups, &self.scan))
            .with_file_groups(groups)
            .build();
        let scan = DataSourceExec::from_data_source(scan);
        let rest = Arc::clone(plan).transform_down(|plan| {
            Ok(match plan.is::<DataSourceExec>() {
                true => {
                    let scan = Arc::clone(&scan) as Arc<dyn ExecutionPlan>;
                    Transformed::new(scan, true, TreeNodeRecursion::Jump)
                }
                false => Transformed::no(plan),
            })
        });
        Ok(Some(rest?.data))
    }
}

fn files_of(scan: &FileScanConfig) -> impl Iterator<Item = &PartitionedFile> {
    scan.file_groups.iter().flat_map(|group| group.iter())
}

/// Whether the statistics of a row group can prove a filter for all of its rows. They can't for casts
/// and functions: these need not keep the order of the values, and may fail or change from call to
/// call.
fn is_decidable(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let is_column = |expr: &Arc<dyn PhysicalExpr>| expr.is::<Column>();
    let is_literal = |expr: &Arc<dyn PhysicalExpr>| expr.is::<Literal>();
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        let (left, right) = (binary.left(), binary.right());
        return match binary.op() {
            Operator::And | Operator::Or => is_decidable(left) && is_decidable(right),
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq => {
                (is_column(left) && is_literal(right)) || (is_literal(left) && is_column(right))
            }
            _ => false,
        };
    }
    if let Some(not) = filter.downcast_ref::<NotExpr>() {
        return is_decidable(not.arg());
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        return is_column(list.expr()) && list.list().iter().all(is_literal);
    }
    let is_null = filter.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
    let is_not_null = || {
        filter
            .downcast_ref::<IsNotNullExpr>()
            .map(IsNotNullExpr::arg)
    };
    is_column(filter) || is_null.or_else(is_not_null).is_some_and(is_column)
}

impl LeftOfFile {
    /// These row groups of the file with this footer.
    pub(crate) fn new(footer: &ParquetMetaData, row_groups: Vec<usize>) -> Self {
        let groups = || row_groups.iter().map(|group| footer.row_group(*group));
        Self {
            row_groups_of_file: footer.num_row_groups(),
            rows: groups().map(|group| group.num_rows()).sum(),
            bytes: groups().map(|group| group.total_byte_size()).sum(),
            row_groups,
        }
    }

    /// The file without its other row groups.
    fn of(&self, file: &PartitionedFile) -> PartitionedFile {
        let mut access = ParquetAccessPlan::new_none(self.row_groups_of_file);
        self.row_groups.iter().for_each(|group| access.scan(*group));
        let size = |number: i64| usize::try_from(number).unwrap_or_default();
        let statistics = file.statistics.as_ref().map(|statistics| Statistics {
            num_rows: Precision::Exact(size(self.rows)),
            total_byte_size: Precision::Inexact(size(self.bytes)),
            ..statistics.as_ref().clone()
        });
        let file = file.clone().with_extension(access);
        match statistics {
            Some(statistics) => file.with_statistics(Arc::new(statistics)),
            None => file,
        }
    }
}

/// The statistics of all files together.
fn total(groups: &[FileGroup], scan: &FileScanConfig) -> Statistics {
    let mut total = Statistics::new_unknown(scan.file_source.table_schema().table_schema());
    let files = groups.iter().flat_map(|group| group.iter());
    let each = files.map(|file| {
        let statistics = file.statistics.as_ref();
        statistics.map(|statistics| (statistics.num_rows, statistics.total_byte_size))
    });
    if let Some(each) = each.collect::<Option<Vec<_>>>() {
        let nothing = (Precision::Exact(0), Precision::Exact(0));
        let sum = each
            .iter()
            .fold(nothing, |sum, one| (sum.0.add(&one.0), sum.1.add(&one.1)));
        (total.num_rows, total.total_byte_size) = sum;
    }
    total
}
