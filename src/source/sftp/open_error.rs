//! Why a connection was not opened, or no login.

use crate::model::BoxError;
use crate::model::failure::Class;

/// Whether connecting or logging in failed, as what, why.
#[derive(Debug)]
pub struct OpenError {
    /// Whether it was the login; the connection otherwise.
    pub at_login: bool,
    /// What kind of failure.
    pub class: Class,
    /// Whether trying again may help; the class's own rule if `None`.
    pub transient: Option<bool>,
    /// Why.
    pub cause: BoxError,
}

impl OpenError {
    pub(super) fn connect(class: Class, cause: impl Into<BoxError>) -> Self {
        Self { at_login: false, class, transient: None, cause: cause.into() }
    }

    pub(super) fn login(class: Class, cause: impl Into<BoxError>) -> Self {
        Self { at_login: true, class, transient: None, cause: cause.into() }
    }

    pub(super) fn not_transient(mut self) -> Self {
        self.transient = Some(false);
        self
    }
}
