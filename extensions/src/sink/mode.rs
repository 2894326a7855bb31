//! `MODE`: how an export treats existing objects under its target.
//!
//! Invariant: a mode has one name, which `MODE` takes and the bookkeeping holds.

use serde::{Deserialize, Serialize};

/// How an export treats existing objects under its target.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// Refuses a target that is not empty.
    #[default]
    Error,
    /// Adds its objects to the existing ones.
    Append,
    /// Deletes the existing objects once its own objects are there.
    Overwrite,
    /// Deletes the existing objects in the folders that it writes, once its own objects are there.
    #[serde(rename = "overwrite partitions")]
    OverwritePartitions,
}

impl Mode {
    /// The mode with this name; `None` if there is no such mode.
    pub fn from_name(name: &str) -> Option<Self> {
        let modes = [
            Self::Error,
            Self::Append,
            Self::Overwrite,
            Self::OverwritePartitions,
        ];
        modes.into_iter().find(|mode| mode.name() == name)
    }

    /// The name of the mode as a value of the option `MODE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::OverwritePartitions => "overwrite partitions",
        }
    }

    /// Whether it deletes existing objects.
    pub fn replaces(self) -> bool {
        matches!(self, Self::Overwrite | Self::OverwritePartitions)
    }
}
