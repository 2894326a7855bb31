//! Whether files can be read together with files that are there already.
//!
//! Invariant: two files that differ have other columns, types that have no common type, or only one of
//! them has a header.

use bytes::Bytes;

/// The facts about an existing file that a comparison needs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Neighbor {
    /// Its first or last bytes: see [`FileFormat::tells_at_end`](super::FileFormat::tells_at_end).
    pub bytes: Bytes,
    /// Whether these are all of its bytes.
    pub is_whole: bool,
    /// Its media type, if it has one.
    pub content_type: Option<String>,
    /// Whether it is compressed as a whole.
    pub is_compressed: bool,
}

/// The result of comparing files with a [`Neighbor`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// They can be read together, or nothing tells that they can't.
    Fits,
    /// They can't be read together, for this reason: "it has the columns …".
    Differs(String),
    /// The comparison needs this number of bytes of the neighbor.
    NeedsBytes(usize),
}

impl Comparison {
    /// Compares names of columns, which may stand in any order.
    pub(super) fn of_names(theirs: &[String], ours: &[String]) -> Self {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names.join("\n")
        };
        match sorted(theirs) == sorted(ours) {
            true => Self::Fits,
            false => Self::Differs(format!(
                "it has the columns {}, and this export writes {}",
                theirs.join(", "),
                ours.join(", ")
            )),
        }
    }
}
