//! What an operator asks a timer to look at, and whether it may change anything.

use mediamill_shared::ids::TenantId;
use tokio::sync::mpsc;

/// Something that a run has found, for whoever asked for the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose it is. `None`: the installation's.
    pub tenant: Option<TenantId>,
    /// What was found, in words.
    pub what: String,
}

/// Which part of a timer's work a run does.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    tenant: Option<TenantId>,
    dry_run: bool,
    told: Option<mpsc::Sender<Note>>,
}

impl Scope {
    /// All of it.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// What concerns one tenant.
    #[must_use]
    pub fn of(self, tenant: Option<TenantId>) -> Self {
        Self { tenant, ..self }
    }

    /// Looks and changes nothing.
    #[must_use]
    pub fn dry(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// Whatever is found is told there, too.
    #[must_use]
    pub fn telling(self, told: mpsc::Sender<Note>) -> Self {
        Self {
            told: Some(told),
            ..self
        }
    }

    /// Whether it is a timer's whole work.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.tenant.is_none() && !self.dry_run
    }

    /// The one tenant that is meant.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Tells of something that was found. It is not said where nobody listens.
    pub(crate) async fn tell(&self, tenant: Option<&TenantId>, what: impl FnOnce() -> String) {
        if let Some(told) = &self.told {
            let note = Note {
                tenant: tenant.cloned(),
                what: what(),
            };
            // Whoever listened has gone: nobody is left to be told.
            let _ = told.send(note).await;
        }
    }
}
