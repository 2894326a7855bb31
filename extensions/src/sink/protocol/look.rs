//! Checks the target of an export before the export may write there.
//!
//! Invariant: the look after the claim lists the marks of other exports before the data, or both at
//! once. Therefore it sees the marks or the data of an export that ends meanwhile.

use std::collections::BTreeMap;

use super::bookkeeping::Keys;
use super::ledger::Ledger;
use super::survey::{FoundExport, LOOK_AT, find_data, find_exports, find_obstacle};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Comparison, Neighbor};
use crate::sink::mode::Mode;
use crate::sink::spec::ExportSpec;
use crate::sink::store::ListedObject;
use crate::sink::target::{ExportedFile, FOLDER};

/// A list request for at most this many keys is answered by one consistent page.
const ONE_PAGE: usize = 1000;

/// More keys than an export has under an empty target.
const FEW: usize = 10;

/// What is under a target.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// The other exports, by id.
    pub(super) others: BTreeMap<String, FoundExport>,
    /// The export's own `INCOMPLETE` and `ALIVE` are there.
    pub(super) claimed: bool,
    /// The key of an object with data, if there is one and the mode asks for it.
    pub(super) data: Option<String>,
}

/// The first look. With `is_first`, also checks whether the target is of the right kind and whether
/// deleting is allowed there. All requests run at the same time, because each may be slow. Their
/// order does not matter, because the look after the claim decides.
///
/// # Errors
/// The target has the name of an object or folder, or the store refuses to list or delete.
pub(super) async fn look(ledger: &Ledger, is_first: bool) -> Result<Sight> {
    let store = ledger.store().as_ref();
    let probe = ledger.keys().probe(ledger.id());
    let (seen, deleted) = tokio::join!(see(ledger, is_first), async {
        match is_first {
            // Without permission to delete, the export must fail before it writes an object
            // that it would have to delete.
            true => store.delete(&probe).await,
            false => Ok(()),
        }
    });
    let sight = seen?;
    deleted?;
    Ok(sight)
}

/// Lists the target before the claim, with a single request if that shows everything.
async fn see(ledger: &Ledger, is_first: bool) -> Result<Sight> {
    let (store, target) = (ledger.store().as_ref(), &ledger.spec().target);
    let list_both = || async {
        let (others, data) = tokio::join!(list_others(ledger, false), list_data(ledger));
        Ok(Sight {
            others: others?.0,
            claimed: false,
            data: data?,
        })
    };
    if target.file().is_some() {
        let obstacle = async {
            match is_first {
                true => find_obstacle(store, target).await,
                false => Ok(None),
            }
        };
        let (obstacle, sight) = tokio::join!(obstacle, list_both());
        refuse_obstacle(ledger, obstacle?)?;
        return sight;
    }
    let prefix = target.prefix();
    let folder = prefix.trim_end_matches('/');
    // Without its slash, the prefix lists an object that has the name of the folder, too. Keys are
    // listed in byte order, so this object comes first.
    let mut listed = store.list(folder, LOOK_AT).await?;
    let obstacle = listed.first().filter(|key| *key == folder);
    refuse_obstacle(ledger, obstacle.cloned())?;
    let is_all = listed.len() < LOOK_AT;
    listed.retain(|key| key.starts_with(&prefix));
    if !is_all {
        if adds_files(ledger) {
            // Bookkeeping and neighbours of the folder may fill the first page.
            refuse_misfit(ledger, &store.list(&prefix, ONE_PAGE).await?).await?;
        }
        return list_both().await;
    }
    refuse_misfit(ledger, &listed).await?;
    if ledger.spec().mode == Mode::Overwrite {
        refuse_foreign(ledger, listed.iter())?;
    }
    let own = Some(ledger.id());
    Ok(Sight {
        others: find_exports(store, &ledger.keys(), &listed, own, false).await?,
        claimed: false,
        data: listed.into_iter().find(|key| target.has_data(key)),
    })
}

/// The look after the claim. In mode overwrite, records in the ledger the objects that the export
/// replaces.
///
/// # Errors
/// An export to a folder below the target has not ended (mode overwrite), or the store fails.
pub(super) async fn confirm(ledger: &Ledger) -> Result<Sight> {
    if let Some(sight) = look_once(ledger).await? {
        return Ok(sight);
    }
    let (others, claimed) = list_others(ledger, true).await?;
    let data = list_data(ledger).await?;
    if ledger.spec().mode.replaces() {
        list_obsolete(ledger).await?;
    }
    Ok(Sight {
        others,
        claimed,
        data,
    })
}

/// Records what an export in mode overwrite replaces.
///
/// # Errors
/// As for [`confirm`].
pub(super) async fn list_obsolete(ledger: &Ledger) -> Result<()> {
    let prefix = ledger.spec().target.prefix();
    let all = ledger.store().list_objects(&prefix, usize::MAX).await?;
    record_obsolete(ledger, all)
}

/// The look after the claim, with a single request. `None` if that does not show everything.
async fn look_once(ledger: &Ledger) -> Result<Option<Sight>> {
    let target = &ledger.spec().target;
    if target.file().is_some() {
        return Ok(None);
    }
    let keys = ledger.keys();
    let (prefix, limit) = match ledger.spec().mode {
        Mode::Error => (target.prefix(), FEW),
        Mode::Append => (keys.folder().to_owned(), FEW),
        Mode::Overwrite | Mode::OverwritePartitions => (target.prefix(), ONE_PAGE),
    };
    let listed = ledger.store().list_objects(&prefix, limit).await?;
    let is_other = |object: &ListedObject| match keys.split(&object.key) {
        Some((id, name)) => id != ledger.id() && name != "MANIFEST",
        None => false,
    };
    if listed.len() >= limit || listed.iter().any(is_other) {
        return Ok(None);
    }
    let mut found = listed.iter().map(|object| &object.key);
    let claimed = has_claim(ledger, found.clone());
    let data = found.find(|key| target.has_data(key)).cloned();
    if ledger.spec().mode.replaces() {
        record_obsolete(ledger, listed)?;
    }
    Ok(Some(Sight {
        others: BTreeMap::new(),
        claimed,
        data,
    }))
}

/// Whether the export's own `INCOMPLETE` and `ALIVE` are among the listed keys.
fn has_claim<'a>(ledger: &Ledger, listed: impl Iterator<Item = &'a String> + Clone) -> bool {
    let keys = ledger.keys();
    let marks = [keys.incomplete(ledger.id()), keys.alive(ledger.id())];
    marks
        .iter()
        .all(|mark| listed.clone().any(|key| key == mark))
}

/// The other exports, and whether the export's own claim is there.
async fn list_others(
    ledger: &Ledger,
    has_lock: bool,
) -> Result<(BTreeMap<String, FoundExport>, bool)> {
    let store = ledger.store().as_ref();
    let keys = ledger.keys();
    let listed = store.list(keys.folder(), usize::MAX).await?;
    let others = find_exports(store, &keys, &listed, Some(ledger.id()), has_lock).await?;
    Ok((others, has_claim(ledger, listed.iter())))
}

/// The key of an object with data, if mode error asks for it.
async fn list_data(ledger: &Ledger) -> Result<Option<String>> {
    match ledger.spec().mode {
        Mode::Error => find_data(ledger.store().as_ref(), &ledger.spec().target).await,
        Mode::Append | Mode::Overwrite | Mode::OverwritePartitions => Ok(None),
    }
}

/// Records in the ledger the objects that an export in mode overwrite replaces: the data under the
/// target, and the manifests of that data.
fn record_obsolete(ledger: &Ledger, listed: Vec<ListedObject>) -> Result<()> {
    let target = &ledger.spec().target;
    let keys = Keys::new(target);
    // The manifests of a single object lie in one folder with the manifests of other objects, so
    // they stay.
    let is_manifest =
        |key: &str| target.file().is_none() && matches!(keys.split(key), Some((_, "MANIFEST")));
    let mut obsolete = listed;
    obsolete.retain(|object| {
        let key = &object.key;
        // An empty object that marks a folder stays.
        target.has_data(key) && !key.ends_with('/') || is_manifest(key)
    });
    // In a subfolder, a manifest is replaced together with the data that it lists. Any other
    // bookkeeping there belongs to an export that has not ended.
    let is_running = |key: &&str| {
        key.contains(&format!("/{FOLDER}"))
            && !key.starts_with(keys.folder())
            && !key.ends_with("/MANIFEST")
    };
    let mut found = obsolete.iter().map(|object| object.key.as_str());
    if let Some(key) = found.find(is_running) {
        return Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "an export to a folder under {target} has not ended: {}",
                ledger.store().url(key)
            ),
        )
        .with_hint("wait until it ends, or recover it with RECOVER EXPORT"));
    }
    // In mode overwrite partitions, the folders that are replaced are known only after the query.
    if ledger.spec().mode == Mode::Overwrite {
        refuse_foreign(ledger, obsolete.iter().map(|object| &object.key))?;
    }
    let (manifests, data) = obsolete
        .into_iter()
        .partition(|object| is_manifest(&object.key));
    ledger.set_obsolete(data, manifests);
    Ok(())
}

/// Refuses to replace an object in a folder that no export wrote, unless the user forces it.
pub(super) fn refuse_foreign<'a>(
    ledger: &Ledger,
    mut keys: impl Iterator<Item = &'a String>,
) -> Result<()> {
    let target = &ledger.spec().target;
    if target.file().is_some() || ledger.spec().force {
        return Ok(());
    }
    match keys.find(|key| target.has_data(key) && !target.is_exported(key)) {
        None => Ok(()),
        Some(key) => Err(Error::new(
            ErrorKind::TargetInUse,
            format!(
                "MODE = '{}' would delete {}, which no export wrote",
                ledger.spec().mode.name(),
                ledger.store().url(key)
            ),
        )
        .with_hint(format!(
            "choose another target, or add FORCE = true to replace such files under {target}, too"
        ))),
    }
}

/// Whether files of earlier exports stay beside those of this export.
fn adds_files(ledger: &Ledger) -> bool {
    matches!(ledger.spec().mode, Mode::Append | Mode::OverwritePartitions)
}

/// Refuses to add files to files of exports with another format, other partition columns or other
/// columns, unless the user forces it: such a folder can't be read as one table.
async fn refuse_misfit(ledger: &Ledger, listed: &[String]) -> Result<()> {
    let spec = ledger.spec();
    if !adds_files(ledger) || spec.force {
        return Ok(());
    }
    let mut last = None;
    let mut misfit = None;
    for key in listed {
        let Some(file) = spec.target.exported_file(key) else {
            continue;
        };
        if let Some(why) = compare_names(spec, &file) {
            misfit = Some((key, why));
            break;
        }
        last = Some(key);
    }
    // In mode overwrite partitions, the file may be one that is replaced.
    if let (Some(key), None, Mode::Append) = (last, &misfit, spec.mode) {
        misfit = compare_content(ledger, key).await?.map(|why| (key, why));
    }
    let Some((key, why)) = misfit else {
        return Ok(());
    };
    let url = ledger.store().url(key);
    let why = format!("the export does not fit {url}: {why}");
    Err(Error::new(ErrorKind::TargetInUse, why)
        .with_hint("choose another target, or add FORCE = true"))
}

/// Why the export does not fit a file, by the file's key.
fn compare_names(spec: &ExportSpec, file: &ExportedFile) -> Option<String> {
    let columns: Vec<&str> = match &spec.partition {
        Some(partition) => {
            let fields = partition.columns.iter();
            let fields = fields.map(|column| spec.input_schema.field(*column));
            fields.map(|field| field.name().as_str()).collect()
        }
        None => Vec::new(),
    };
    let format = spec.format.name();
    if file.format != format {
        return Some(format!(
            "it is {}, and this export writes {format}",
            file.format
        ));
    }
    let shown = |columns: &[&str]| match columns {
        [] => "no columns".to_owned(),
        columns => columns.join(", "),
    };
    let theirs: Vec<&str> = file.columns.iter().map(String::as_str).collect();
    (theirs != columns).then(|| {
        format!(
            "it is partitioned by {}, and this export by {}",
            shown(&theirs),
            shown(&columns)
        )
    })
}

/// How much of a file is read to compare it, in bytes. The footers of most Parquet files take less.
const PEEK_BYTES: usize = 64 << 10;

/// Why the export does not fit a file, by the file's content.
async fn compare_content(ledger: &Ledger, key: &str) -> Result<Option<String>> {
    let spec = ledger.spec();
    let at_end = spec.format.tells_at_end();
    let mut limit = PEEK_BYTES;
    loop {
        let Some(peek) = ledger.store().peek(key, limit, at_end).await? else {
            return Ok(None);
        };
        let other = Neighbor {
            is_whole: peek.bytes.len() < limit,
            bytes: peek.bytes,
            content_type: peek.content_type,
            is_compressed: !key.ends_with(spec.format.name()),
        };
        match spec.format.compare(&spec.schema, &other) {
            Comparison::Differs(why) => return Ok(Some(why)),
            Comparison::NeedsBytes(bytes) if bytes > limit => limit = bytes,
            _ => return Ok(None),
        }
    }
}

/// Refuses a target folder if an object has its name, and a target object if a folder has its name.
fn refuse_obstacle(ledger: &Ledger, obstacle: Option<String>) -> Result<()> {
    let target = &ledger.spec().target;
    let Some(key) = obstacle else {
        return Ok(());
    };
    let url = ledger.store().url(&key);
    let why = match target.file() {
        Some(_) => format!("the target {target} is a folder: it has {url}"),
        None => format!("the target {target} is a folder, but there is an object {url}"),
    };
    Err(Error::new(ErrorKind::TargetInUse, why).with_hint("choose another target"))
}
