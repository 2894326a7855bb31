//! Checks statements about secrets and connections and turns them into commands.
//!
//! Invariant: a secret's value is evaluated here only if it is in the statement. A value from a
//! file, an environment variable or a prompt is read when the statement runs, so `EXPLAIN` reads no
//! file and shows no prompt.

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::constant::{evaluate_secret, evaluate_target};
use super::logical::{CatalogObject, Command, CommandNode, SecretInput};
use crate::catalog::{Connection, OnConflict, OnMissing, boolean, fold};
use crate::connect::find_connection;
use crate::error::{Error, ErrorKind, Result};
use crate::services::Services;
use crate::sink::{Place, Target};
use crate::sql::ast::{
    ConnectionStatement, DropObject, Rename, SecretSource, SecretStatement, SqlOption,
};

/// Checks a statement about secrets.
pub(super) fn bind_secret(
    state: &SessionState,
    services: &Services,
    statement: SecretStatement,
) -> Result<LogicalPlan> {
    if !matches!(statement, SecretStatement::Show { .. }) {
        services.access.check_manages_catalog()?;
    }
    CommandNode::plan(match statement {
        SecretStatement::Create {
            name,
            or_replace,
            if_not_exists,
            value,
        } => {
            let name = fold(&name);
            Command::CreateSecret {
                on_conflict: match (or_replace, if_not_exists) {
                    (true, true) => {
                        return Err(Error::new(
                            ErrorKind::Syntax,
                            "OR REPLACE and IF NOT EXISTS exclude each other",
                        ));
                    }
                    (true, false) => OnConflict::Replace,
                    (false, true) => OnConflict::Keep,
                    (false, false) => OnConflict::Fail,
                },
                value: bind_source(state, services, &name, value)?,
                name,
            }
        }
        SecretStatement::Alter {
            name,
            if_exists,
            value,
        } => {
            let name = fold(&name);
            Command::AlterSecret {
                value: bind_source(state, services, &name, value)?,
                name,
                on_missing: on_missing(if_exists),
            }
        }
        SecretStatement::Rename(rename) => bind_rename(CatalogObject::Secret, &rename),
        SecretStatement::Drop(drop) => bind_drop(CatalogObject::Secret, &drop),
        SecretStatement::Show { like } => Command::Show {
            object: CatalogObject::Secret,
            like,
        },
    })
}

/// Checks a statement about connections.
pub(super) fn bind_connection(
    state: &SessionState,
    services: &Services,
    statement: ConnectionStatement,
) -> Result<LogicalPlan> {
    let access = &services.access;
    if !matches!(
        statement,
        ConnectionStatement::Show { .. }
            | ConnectionStatement::ShowCreate { .. }
            | ConnectionStatement::Validate { .. }
    ) {
        access.check_manages_catalog()?;
    }
    CommandNode::plan(match statement {
        ConnectionStatement::Create {
            name,
            if_not_exists,
            options,
            with,
        } => {
            let connection = Connection::from_sql(fold(&name), &options)?;
            access.check_connection(&connection)?;
            let objects = services.catalog.objects()?;
            for secret in connection.secret_names() {
                objects.check_secret(secret)?;
            }
            Command::CreateConnection {
                connection,
                on_conflict: match if_not_exists {
                    true => OnConflict::Keep,
                    false => OnConflict::Fail,
                },
                validate: bind_validate_option(&with)?,
            }
        }
        ConnectionStatement::Alter {
            name,
            if_exists,
            changes,
            with,
        } => {
            let name = fold(&name);
            let on_missing = on_missing(if_exists);
            // Invalid changes are refused now, and again at execution, because another session may
            // change the catalog in between.
            let mut objects = services.catalog.objects()?;
            objects.alter_connection(&name, on_missing, |old| {
                let altered = old.altered(&changes)?;
                access.check_connection(&altered)?;
                Ok(altered)
            })?;
            Command::AlterConnection {
                name,
                changes,
                on_missing,
                validate: bind_validate_option(&with)?,
            }
        }
        ConnectionStatement::Rename(rename) => bind_rename(CatalogObject::Connection, &rename),
        ConnectionStatement::Drop(drop) => bind_drop(CatalogObject::Connection, &drop),
        ConnectionStatement::Show { like } => Command::Show {
            object: CatalogObject::Connection,
            like,
        },
        ConnectionStatement::ShowCreate { name } => Command::ShowCreateConnection {
            name: find_connection(services, &fold(&name))?.name,
        },
        ConnectionStatement::Validate { name, target } => {
            let name = find_connection(services, &fold(&name))?.name;
            let target = target.map(|target| {
                let (target, location) = *target;
                let url = evaluate_target(state, "VALIDATE CONNECTION target", &target, location)?;
                let target = Target::parse(&url).map_err(|error| error.at(location))?;
                match target.place() {
                    Place::Bucket(_) => Ok(target),
                    Place::LocalDisk => Err(Error::new(
                        ErrorKind::InvalidParameter,
                        format!("'{url}' is not on S3, which a connection is for"),
                    )
                    .at(location)),
                }
            });
            Command::ValidateConnection {
                name,
                target: target.transpose()?,
            }
        }
    })
}

fn on_missing(if_exists: bool) -> OnMissing {
    match if_exists {
        true => OnMissing::Skip,
        false => OnMissing::Fail,
    }
}

fn bind_source(
    state: &SessionState,
    services: &Services,
    name: &str,
    source: SecretSource,
) -> Result<SecretInput> {
    match &source {
        SecretSource::Environment(_) => {
            services.access.check_own_credentials("the environment")?;
        }
        SecretSource::File(_) => services.access.check_own_credentials("files")?,
        SecretSource::Expression(_) | SecretSource::Prompt => {}
    }
    Ok(match source {
        SecretSource::Expression(value) => {
            SecretInput::Value(evaluate_secret(state, name, *value)?)
        }
        SecretSource::Environment(variable) => SecretInput::Environment(variable),
        SecretSource::File(path) => SecretInput::File(path.into()),
        SecretSource::Prompt => SecretInput::Prompt,
    })
}

fn bind_rename(object: CatalogObject, rename: &Rename) -> Command {
    Command::Rename {
        object,
        name: fold(&rename.name),
        to: fold(&rename.to),
        on_missing: on_missing(rename.if_exists),
    }
}

fn bind_drop(object: CatalogObject, drop: &DropObject) -> Command {
    Command::Drop {
        object,
        name: fold(&drop.name),
        cascade: drop.cascade,
        on_missing: on_missing(drop.if_exists),
    }
}

fn bind_validate_option(with: &[SqlOption]) -> Result<bool> {
    let Some(option) = with.first() else {
        return Ok(false);
    };
    boolean(&option.value).ok_or_else(|| {
        let why = format!("{} must be true or false", option.name);
        Error::new(ErrorKind::InvalidParameter, why).at(option.location)
    })
}
