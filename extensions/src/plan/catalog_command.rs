//! Runs commands about secrets and connections.
//!
//! Invariant: a command makes at most one change to the catalog, after all other steps that can
//! fail.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use super::logical::{CatalogObject, Command, SecretInput};
use super::validate::validate_connection;
use crate::catalog::{OnConflict, OnMissing, connection_rows, secret_rows};
use crate::connect::find_connection;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;
use crate::services::Services;

/// Runs a command about secrets or connections. Returns its rows; `None` if it has none.
///
/// # Errors
/// Errors of the catalog, of reading a secret's value, and of validating a connection;
/// [`ErrorKind::Internal`] for a command that is not about the catalog.
pub(super) async fn run_catalog_command(
    command: &Command,
    services: &Services,
) -> Result<Option<RecordBatch>> {
    let catalog = services.catalog.as_ref();
    match command {
        Command::CreateSecret {
            name,
            value,
            on_conflict,
        } => {
            // If the secret exists and is kept, its new value is neither read nor prompted for.
            if catalog.objects()?.secrets().contains_key(name) && *on_conflict == OnConflict::Keep {
                return Ok(None);
            }
            let value = read_value(name, value, services).await?;
            catalog
                .change(&mut |objects| objects.create_secret(name, value.clone(), *on_conflict))?;
        }
        Command::AlterSecret {
            name,
            value,
            on_missing,
        } => {
            let objects = catalog.objects()?;
            match on_missing {
                OnMissing::Skip if !objects.secrets().contains_key(name) => return Ok(None),
                _ => objects.check_secret(name)?,
            }
            let value = read_value(name, value, services).await?;
            catalog
                .change(&mut |objects| objects.alter_secret(name, value.clone(), *on_missing))?;
        }
        Command::CreateConnection {
            connection,
            on_conflict,
            validate,
        } => {
            let is_there = catalog
                .objects()?
                .connections()
                .contains_key(&connection.name);
            if is_there && *on_conflict == OnConflict::Keep {
                return Ok(None);
            }
            if *validate {
                validate_connection(connection, services).await?;
            }
            catalog.change(&mut |objects| {
                objects.create_connection(connection.clone(), *on_conflict)
            })?;
        }
        Command::AlterConnection {
            name,
            changes,
            on_missing,
            validate,
        } => {
            if *validate && let Some(entry) = catalog.objects()?.connections().get(name) {
                validate_connection(&entry.value.altered(changes)?, services).await?;
            }
            catalog.change(&mut |objects| {
                objects.alter_connection(name, *on_missing, |old| old.altered(changes))
            })?;
        }
        Command::Rename {
            object,
            name,
            to,
            on_missing,
        } => catalog.change(&mut |objects| match object {
            CatalogObject::Secret => objects.rename_secret(name, to, *on_missing),
            CatalogObject::Connection => objects.rename_connection(name, to, *on_missing),
        })?,
        Command::Drop {
            object,
            name,
            cascade,
            on_missing,
        } => catalog.change(&mut |objects| match object {
            CatalogObject::Secret => objects.drop_secret(name, *cascade, *on_missing),
            CatalogObject::Connection => objects.drop_connection(name, *on_missing),
        })?,
        Command::Show { object, like } => {
            let objects = catalog.objects()?;
            let rows = match object {
                CatalogObject::Secret => secret_rows(&objects, like.as_deref()),
                CatalogObject::Connection => connection_rows(&objects, like.as_deref()),
            };
            return rows.map(Some);
        }
        Command::ShowCreateConnection { name } => {
            let sql = find_connection(services, name)?.to_string();
            let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
            return command.rows(vec![text(name), text(&sql)]).map(Some);
        }
        Command::ValidateConnection { .. } | Command::RecoverExport { .. } => {
            let why = format!("{command} is not about the catalog");
            return Err(Error::new(ErrorKind::Internal, why));
        }
    }
    Ok(None)
}

async fn read_value(name: &str, input: &SecretInput, services: &Services) -> Result<SecretValue> {
    let refused = |why: String| {
        let why = format!("the value of secret \"{name}\" {why}");
        Error::new(ErrorKind::InvalidParameter, why)
    };
    let value = match input {
        SecretInput::Value(value) => return Ok(value.clone()),
        SecretInput::Environment(variable) => match std::env::var_os(variable) {
            Some(value) => SecretValue::new(value.into_encoded_bytes()),
            None => {
                let why = format!("can't be read: there is no environment variable {variable}");
                return Err(refused(why));
            }
        },
        SecretInput::File(path) => {
            let bytes = std::fs::read(path).map_err(|error| {
                let why = format!("can't be read from {}: {error}", path.display());
                refused(why).with_source(error)
            })?;
            SecretValue::new(without_line_end(bytes))
        }
        SecretInput::Prompt => {
            let prompt = services.prompt.as_ref().ok_or_else(|| {
                refused("can't be asked for: there is no terminal".to_owned())
                    .with_hint("use FROM ENV or FROM FILE in scripts")
            })?;
            let (prompt, question) = (prompt.clone(), format!("Value of secret \"{name}\": "));
            // A prompt may block for long; the runtime must still handle an interrupt.
            let asked = tokio::task::spawn_blocking(move || prompt.ask(&question));
            let failed = || refused("could not be read".to_owned());
            let answer = asked.await.map_err(|error| failed().with_source(error))?;
            answer.map_err(|error| failed().with_source(error))?
        }
    };
    Ok(value)
}

/// Removes a final line end: editors and `echo` add one that is not part of the value.
fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}
