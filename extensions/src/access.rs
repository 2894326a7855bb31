//! What a session may do with the rights of the program.
//!
//! Invariant: without a right, nothing is read, written or signed with what the program itself may
//! read, write or sign.

use crate::catalog::{Connection, Credentials, RoleBase};
use crate::error::{Error, ErrorKind, Result};

/// The rights of a session. By default, a session has all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// Secrets and connections may be created, changed and dropped.
    pub manages_catalog: bool,
    /// Files of this machine may be read and written.
    pub local_files: bool,
    /// The program's own credentials may be used: its environment, its files of secrets, profiles and
    /// AWS's credential chain.
    pub own_credentials: bool,
    /// Connections may name any endpoint. Otherwise they reach AWS alone.
    pub endpoints: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            manages_catalog: true,
            local_files: true,
            own_credentials: true,
            endpoints: true,
        }
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::InsufficientPrivilege, why)
}

impl Access {
    /// No right at all.
    pub fn none() -> Self {
        Self {
            manages_catalog: false,
            local_files: false,
            own_credentials: false,
            endpoints: false,
        }
    }

    /// # Errors
    /// [`ErrorKind::InsufficientPrivilege`] if the session may not change secrets and connections.
    pub(crate) fn check_manages_catalog(&self) -> Result<()> {
        match self.manages_catalog {
            true => Ok(()),
            false => Err(refused(
                "only administrators change secrets and connections",
            )),
        }
    }

    /// # Errors
    /// [`ErrorKind::InsufficientPrivilege`] if the session may not use files of this machine.
    pub fn check_local_files(&self) -> Result<()> {
        match self.local_files {
            true => Ok(()),
            false => Err(refused("files of the server can't be read or written")
                .with_hint("use 's3://…' with a connection, or COPY … TO STDOUT")),
        }
    }

    /// # Errors
    /// [`ErrorKind::InsufficientPrivilege`] if the session may not use the program's credentials.
    /// `what` names them.
    pub(crate) fn check_own_credentials(&self, what: &str) -> Result<()> {
        match self.own_credentials {
            true => Ok(()),
            false => Err(refused(&format!("{what} of the server can't be used"))),
        }
    }

    /// Checks the options of a connection that is created or changed.
    ///
    /// # Errors
    /// [`ErrorKind::InsufficientPrivilege`] for an option that the session may not use.
    pub(crate) fn check_connection(&self, connection: &Connection) -> Result<()> {
        let base = match &connection.credentials {
            Credentials::AccessKey(_) => None,
            Credentials::Profile(_) => Some("profiles"),
            Credentials::Chain => Some("the credential chain"),
            Credentials::AssumeRole(role) => Some(match role.base {
                RoleBase::Environment => "the environment",
                RoleBase::Profile(_) => "profiles",
                RoleBase::Chain => "the credential chain",
            }),
        };
        if let Some(base) = base {
            self.check_own_credentials(base)?;
        }
        if connection.endpoint.is_some() && !self.endpoints {
            return Err(refused(
                "connections of this server may not name an ENDPOINT",
            ));
        }
        Ok(())
    }
}
