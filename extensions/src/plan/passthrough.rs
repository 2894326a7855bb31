//! Chooses the row groups of an export that are moved instead of decoded.
//!
//! Invariant: the moved row groups and the rows of the rest are the query's result. A row group is
//! moved only if encoding its rows would give the same columns, and if files do not become harder to
//! read by it: small row groups are encoded again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use object_store::ObjectMeta;
use parquet::file::metadata::ParquetMetaData;

use super::options::{CopyOptions, Passthrough};
use crate::connect::{bucket_of, connection_of};
use crate::error::Result;
use crate::format::{MOST_ROW_GROUPS, SpliceSource, can_splice, has_types};
use crate::memory::ExportMemory;
use crate::read::{LeftOfFile, MovableFile, MovableRowGroup, PlainScan};
use crate::sink::MovedFiles;

/// Row groups with this many rows, or this many bytes, are as large as others write them. This is
/// about the average of a file, without its last row group.
const ENOUGH_ROWS: u64 = 100_000;
const ENOUGH_BYTES: u64 = 16 << 20;

/// The smallest part that a store copies, in bytes. A file with a single row group of this size is
/// moved, too.
const LEAST_COPIED_BYTES: u64 = 5 << 20;

/// What is moved, and what is left to be encoded.
#[derive(Debug)]
pub(super) struct Passed {
    /// The moved row groups of each writer.
    pub(super) moves: Vec<Vec<Move>>,
    /// The rest of the query; `None` if everything is moved.
    pub(super) rest: Option<Arc<dyn ExecutionPlan>>,
    /// The counts for EXPLAIN and the report.
    pub(super) counts: PassedCounts,
}

/// Moved row groups of one file.
#[derive(Debug, Clone)]
pub(super) struct Move {
    /// The file and its row groups.
    pub(super) file: MovableFile,
    /// The bucket of the file, if the store can copy the whole file.
    pub(super) copied_from: Option<String>,
}

/// How many files and row groups of a query are moved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PassedCounts {
    /// The files.
    pub(super) files: MovedFiles,
    /// Row groups that are moved.
    pub(super) row_groups: usize,
    /// Files that the store is asked to copy.
    pub(super) files_copied: usize,
}

/// The row groups of the query `physical` that can be moved; `None` if there are none. The writers and
/// their parts of `part_bytes` bytes fit into `memory`.
///
/// # Errors
/// A footer can't be read.
pub(super) async fn pass_through(
    physical: &Arc<dyn ExecutionPlan>,
    session: &dyn Session,
    options: &CopyOptions,
    part_bytes: usize,
    memory: ExportMemory,
) -> Result<Option<Passed>> {
    let (Some(rule), None) = (options.passthrough, &options.partition) else {
        return Ok(None);
    };
    let Some(scan) = PlainScan::of(physical) else {
        return Ok(None);
    };
    if !scan.may_decide(session.config_options()) || scan.has_duplicates() {
        return Ok(None);
    }
    let store = session.runtime_env().object_store(scan.store_url())?;
    let chooser = Chooser {
        schema: physical.schema(),
        rule,
        options,
        scan: &scan,
    };
    let is_single = options.single_file;
    let mut counts = PassedCounts::default();
    let (mut moves, mut left) = (Vec::new(), HashMap::new());
    let mut first: Option<SpliceSource> = None;
    let mut footers = Box::pin(scan.footers(session, &store));
    while let Some((object, footer)) = footers.next().await.transpose()? {
        let Some(chosen) = chooser.choose(&object, &footer)? else {
            counts.files.encoded += 1;
            continue;
        };
        let Chosen {
            source,
            moved,
            open,
        } = chosen;
        counts.files.encoded += usize::from(!open.is_empty());
        let fits = source.fits_with(first.get_or_insert_with(|| source.clone()));
        if is_single && (!fits || counts.files.encoded > 0) {
            return Ok(None);
        }
        left.insert(object.location.clone(), LeftOfFile::new(&footer, open));
        if let Some(moved) = moved {
            counts.files.moved += 1;
            counts.row_groups += moved.file.row_groups.len();
            counts.files_copied += usize::from(moved.copied_from.is_some());
            moves.push(moved);
        }
    }
    let is_too_long = counts.row_groups > MOST_ROW_GROUPS;
    if moves.is_empty() || (is_single && (counts.files.encoded > 0 || is_too_long)) {
        return Ok(None);
    }
    if is_single && moves.len() > 1 {
        // The file is made of several others.
        moves.iter_mut().for_each(|moved| moved.copied_from = None);
        counts.files_copied = 0;
    }
    let most = memory.most_writers(false, part_bytes, 1);
    let most = most.min(session.config().target_partitions());
    Ok(Some(Passed {
        rest: scan.rest_of(physical, &left)?,
        moves: divide(moves, options.max_file_bytes(), most),
        counts,
    }))
}

/// Chooses the row groups of one file.
struct Chooser<'a> {
    /// The columns of the result.
    schema: SchemaRef,
    rule: Passthrough,
    options: &'a CopyOptions,
    scan: &'a PlainScan,
}

struct Chosen {
    source: SpliceSource,
    /// `None` if the statistics exclude all row groups.
    moved: Option<Move>,
    /// The row groups that must be decoded.
    open: Vec<usize>,
}

impl Chooser<'_> {
    /// `None` if the file is encoded as a whole.
    fn choose(&self, object: &ObjectMeta, footer: &Arc<ParquetMetaData>) -> Result<Option<Chosen>> {
        let (Some(columns), Some(read)) = (
            self.roots(footer, self.scan.columns()),
            self.roots(footer, &self.scan.filter_columns()),
        ) else {
            return Ok(None);
        };
        let table = self.scan.file_schema();
        let filtered = table.project(&self.scan.filter_columns());
        let filtered = filtered.map_err(DataFusionError::from)?;
        let fits = can_splice(&self.schema, footer, &columns, self.rule.codec)
            && has_types(&Arc::new(filtered), footer, &read);
        if columns.is_empty() || !fits {
            return Ok(None);
        }
        let source = SpliceSource::new(Arc::clone(footer), &columns)?;
        let most = self.options.max_file_bytes();
        let all = 0..footer.num_row_groups();
        let is_in_file = |range: std::ops::Range<u64>| range.end <= object.size;
        let can_move = all.clone().all(|group| {
            source.bytes(group) <= most && source.ranges(group).into_iter().all(is_in_file)
        });
        if !can_move || !self.is_worth_it(object, &source, all.len()) {
            return Ok(None);
        }
        let decided = self.scan.decide(object, footer);
        let taken = decided.taken;
        let row_group = |number: usize| MovableRowGroup {
            number,
            rows: source.rows(number),
            bytes: source.bytes(number),
        };
        let moved = (!taken.is_empty()).then(|| Move {
            copied_from: self.bucket_to_copy_from(object, footer, &columns, &taken),
            file: MovableFile {
                store_url: self.scan.store_url().clone(),
                object: object.clone(),
                row_groups: taken.into_iter().map(row_group).collect(),
                columns,
            },
        });
        Ok(Some(Chosen {
            source,
            moved,
            open: decided.open,
        }))
    }

    /// The places of columns of the table among the top-level columns of a file. `None` if the file
    /// does not have one of them, or has it twice.
    fn roots(&self, footer: &ParquetMetaData, columns: &[usize]) -> Option<Vec<usize>> {
        let table: &Schema = self.scan.file_schema();
        let root = footer.file_metadata().schema_descr().root_schema();
        let places = columns.iter().map(|column| {
            let name = table.field(*column).name();
            let fields = root.get_fields().iter().enumerate();
            let mut named = fields.filter(|(_, field)| field.name() == name);
            match (named.next(), named.next()) {
                (Some((place, _)), None) => Some(place),
                _ => None,
            }
        });
        let places: Vec<usize> = places.collect::<Option<_>>()?;
        let mut distinct = places.clone();
        distinct.sort_unstable();
        distinct.dedup();
        (distinct.len() == places.len()).then_some(places)
    }

    fn is_worth_it(&self, object: &ObjectMeta, source: &SpliceSource, row_groups: usize) -> bool {
        // The last row group has the rows that were left.
        let whole = match row_groups {
            0 => return false,
            1 => 1,
            more => more - 1,
        };
        let rows: u64 = (0..whole).map(|group| source.rows(group)).sum();
        let bytes: u64 = (0..whole).map(|group| source.bytes(group)).sum();
        rows / whole as u64 >= ENOUGH_ROWS
            || bytes / whole as u64 >= ENOUGH_BYTES
            || (row_groups == 1 && object.size >= LEAST_COPIED_BYTES)
    }

    /// The bucket of the object, if the store of the target can copy it, all of it is wanted, and it is
    /// no larger than a file may be.
    fn bucket_to_copy_from(
        &self,
        object: &ObjectMeta,
        footer: &ParquetMetaData,
        columns: &[usize],
        row_groups: &[usize],
    ) -> Option<String> {
        let url = self.scan.store_url().as_str();
        let own = self.options.connection.as_deref()?;
        let root = footer.file_metadata().schema_descr().root_schema();
        let is_whole = row_groups.len() == footer.num_row_groups()
            && columns.iter().copied().eq(0..root.get_fields().len());
        let most = self.options.max_file_bytes.unwrap_or(u64::MAX);
        let fits = (LEAST_COPIED_BYTES..=most).contains(&object.size);
        let can_copy = is_whole
            && fits
            && !self.options.object.sha256
            && connection_of(url).is_some_and(|connection| connection == own);
        can_copy.then(|| bucket_of(url))
    }
}

/// Divides moves among at most `most` writers: as many as there are full files, and neighbors to
/// the same writer.
fn divide(moves: Vec<Move>, file_bytes: u64, most: usize) -> Vec<Vec<Move>> {
    let groups = moves.iter().flat_map(|moved| &moved.file.row_groups);
    let total: u64 = groups.map(|group| group.bytes).sum();
    let files = usize::try_from(total.div_ceil(file_bytes)).unwrap_or(usize::MAX);
    let writers = files.clamp(1, most.max(1));
    let share = total.div_ceil(writers as u64).max(1);
    let mut divided: Vec<Vec<Move>> = vec![Vec::new(); writers];
    let mut given = 0;
    for moved in moves {
        // A file that the store copies is not divided.
        let step = match moved.copied_from {
            Some(_) => moved.file.row_groups.len(),
            None => 1,
        };
        let mut before = None;
        for step in moved.file.row_groups.chunks(step.max(1)) {
            let place = ((given / share) as usize).min(writers - 1);
            given += step.iter().map(|group| group.bytes).sum::<u64>();
            match divided[place].last_mut() {
                Some(last) if before == Some(place) => {
                    last.file.row_groups.extend_from_slice(step);
                }
                _ => {
                    let mut part = moved.clone();
                    part.file.row_groups = step.to_vec();
                    divided[place].push(part);
                }
            }
            before = Some(place);
        }
    }
    divided.retain(|moves| !moves.is_empty());
    divided
}
