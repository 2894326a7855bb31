//! The promises that hold in every state of the model, and the outcomes that some state reaches.

use stateright::Property;
use tidegate_commit::{EndingResult, Mode, Outcome};

use super::store::{Stored, Upload};
use super::{Actor, Id, Machine, Protocol, World};

/// A history that the model must contain.
pub(super) const ROLLBACK: &str = "a decided export is rolled back";

pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(
            "rows that were reported stay",
            |model: &Protocol, world: &World| {
                let exports = world.exports.iter().enumerate();
                exports
                    .filter(|(_, stored)| !stored.is_complete())
                    .all(|(id, _)| {
                        let id = id as Id;
                        let exporter_said = world.actors[usize::from(id)].said_success();
                        let recovery_said = world.actors.iter().any(|actor| match &actor.machine {
                            Machine::Recover(recovery) => {
                                recovery.results().contains(&(id, EndingResult::Finished))
                            }
                            Machine::Export(_) => false,
                        });
                        let replaced = (0..).zip(&world.exports).any(|(other, stored)| {
                            other != id
                                && model.modes[usize::from(other)] == Mode::Overwrite
                                && stored.fence == Upload::Completed
                                && stored.obsolete.contains(&id)
                                && stored.is_complete()
                        });
                        replaced || !(exporter_said || recovery_said)
                    })
            },
        ),
        Property::always(
            "nothing of a failed export is visible",
            |_: &Protocol, world: &World| {
                world.actors.iter().all(|actor| match actor.outcome() {
                    Some(Outcome::Undone { .. } | Outcome::RolledBack { clean: true }) => {
                        !world.exports[usize::from(actor.id)].has_objects()
                    }
                    _ => true,
                })
            },
        ),
        Property::always(
            "an undecided export has no object",
            |_: &Protocol, world: &World| {
                let mut exports = world.exports.iter();
                exports.all(|stored| stored.fence == Upload::Completed || !stored.has_objects())
            },
        ),
        Property::always(
            "mode error has one winner",
            |model: &Protocol, world: &World| {
                let winners = world.actors.iter().filter(|actor| {
                    model.modes.get(usize::from(actor.id)) == Some(&Mode::Error)
                        && actor.said_success()
                });
                let overwritten = model.modes.contains(&Mode::Overwrite);
                overwritten || winners.count() <= 1
            },
        ),
        Property::always(
            "exclusive exports exclude all others",
            |model: &Protocol, world: &World| {
                // The exports that hold the target and can still commit.
                let holding: Vec<Id> = world
                    .actors
                    .iter()
                    .filter(|actor| match &actor.machine {
                        Machine::Export(export) => {
                            let fence = world.exports[usize::from(actor.id)].fence;
                            !actor.crashed && export.is_writing() && fence == Upload::Pending
                        }
                        Machine::Recover(_) => false,
                    })
                    .map(|actor| actor.id)
                    .collect();
                holding.len() < 2 || !holding.iter().any(|id| model.is_exclusive(*id))
            },
        ),
        Property::always(
            "the next clean-up leaves nothing",
            |model: &Protocol, world: &World| {
                let quiet = world.late.is_empty() && world.actors.iter().all(Actor::is_over);
                if !quiet {
                    return true;
                }
                let mut exports = world.exports.clone();
                let all_ended = model.clean_up(&mut exports);
                // A documented limit: another process removed the marks before the export's
                // last upload was created.
                let found = |stored: &&Stored| !stored.cleaned;
                let left = exports.iter().filter(found).any(Stored::has_pending);
                // An export that can't be ended is decided, and keeps its `COMMIT`.
                let stuck = exports.iter().any(|stored| stored.commit);
                let half = exports
                    .iter()
                    .any(|stored| stored.has_objects() && !stored.is_complete() && !stored.commit);
                !left && !half && (all_ended || stuck)
            },
        ),
        Property::always(
            "a clean end leaves no mark and no upload",
            |_: &Protocol, world: &World| {
                world.actors.iter().all(|actor| {
                    let clean = matches!(
                        actor.outcome(),
                        Some(
                            Outcome::Committed { clean: true }
                                | Outcome::Undone { clean: true, .. }
                                | Outcome::RolledBack { clean: true }
                                | Outcome::Taken { clean: true }
                        )
                    );
                    let stored = world.exports.get(usize::from(actor.id));
                    !clean
                        || actor.was_late
                        || stored
                            .is_none_or(|stored| !stored.has_own_marks() && !stored.has_pending())
                })
            },
        ),
        Property::sometimes("an export succeeds", |_: &Protocol, world: &World| {
            world.actors.iter().any(Actor::said_success)
        }),
        Property::sometimes("an export is fenced", |_: &Protocol, world: &World| {
            let mut exports = world.exports.iter();
            exports.any(|stored| stored.cleaned && stored.fence == Upload::Aborted)
        }),
        Property::sometimes(
            "a dead export is finished by another",
            |_: &Protocol, world: &World| {
                world.actors.iter().any(|actor| {
                    actor.crashed
                        && world
                            .exports
                            .get(usize::from(actor.id))
                            .is_some_and(|stored| {
                                stored.is_complete() && stored.cleaned && !stored.has_own_marks()
                            })
                })
            },
        ),
        Property::sometimes(ROLLBACK, |_: &Protocol, world: &World| {
            let rolled_back = Some(&Outcome::RolledBack { clean: true });
            world
                .actors
                .iter()
                .any(|actor| actor.outcome() == rolled_back)
        }),
    ]
}
