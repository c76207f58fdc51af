//! Adding, changing and removing storages. None is used before it was checked.

use super::{
    Credentials, Editor, Finding, OpenError, StorageSettings, StorageSettingsError, Storages, Trouble,
    allowed::{allowed, checked_credentials, checked_name, checked_numbers, for_a_tenant},
    check,
};
use crate::{
    control::{
        audit::Entry,
        storages::{self, SealedBy, StorageError, StorageRole, StorageRow, StorageState},
    },
    db::DbError,
    fetch::AddressRefused,
    ids::StorageId,
    secrets::{SealedFor, SecretsError},
    tenancy::Tenant,
    units::ByteCount,
};

/// A storage to be added.
#[derive(Debug, Clone)]
pub struct NewStorage {
    /// What people call it, 1 to 100 characters.
    pub name: String,
    /// What it is.
    pub settings: StorageSettings,
    /// What opens it; a provider's bucket may do without, and is opened with what is in the environment.
    pub credentials: Option<Credentials>,
    /// Which files it takes.
    pub role: StorageRole,
    /// Bytes that it may hold; 0 is no bound.
    pub capacity: ByteCount,
    /// How often it is chosen against the others, 1 to 1,000.
    pub weight: i64,
}

/// What is to be another way. What is left out stays.
#[derive(Debug, Clone, Default)]
pub struct StorageChange {
    /// What people call it.
    pub name: Option<String>,
    /// What it is. What lies in it is not moved: it has to be there too.
    pub settings: Option<StorageSettings>,
    /// What opens it.
    pub credentials: Option<Credentials>,
    /// Which files it takes from now on.
    pub role: Option<StorageRole>,
    /// What it is used for.
    pub state: Option<StorageState>,
    /// Bytes that it may hold; 0 is no bound.
    pub capacity: Option<ByteCount>,
    /// How often it is chosen.
    pub weight: Option<i64>,
}

/// Why storages were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It does not work.
    #[error("the storage does not work: {}", first_problem(.0))]
    Check(Vec<Finding>),
    /// A tenant says where it is, and that is nowhere that is connected to.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// This process cannot open it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its credentials cannot be sealed.
    #[error("credentials are kept sealed")]
    Secrets(#[from] SecretsError),
}

impl From<DbError> for ChangeError {
    fn from(error: DbError) -> Self {
        Self::Storage(error.into())
    }
}

impl From<StorageSettingsError> for ChangeError {
    fn from(error: StorageSettingsError) -> Self {
        Self::Storage(error.into())
    }
}

fn first_problem(findings: &[Finding]) -> String {
    let problem = findings.iter().find_map(|one| Some((one.step, one.problem.as_ref()?)));
    problem.map_or_else(String::new, |(step, problem)| format!("{step}: {problem}"))
}

impl Storages {
    /// Adds a storage of a tenant, or of the provider, which works: it was checked, unless that is `unchecked`, and then it is
    /// off.
    ///
    /// # Errors
    /// When it does not work, the tenant may not have it, its members cannot be so, or the database is away.
    pub async fn add(
        &self,
        tenant: Option<&Tenant>,
        new: NewStorage,
        unchecked: bool,
        by: &Editor,
    ) -> Result<StorageRow, ChangeError> {
        let (clock, entropy) = (&self.0.clock, &self.0.entropy);
        checked_name(&new.name)?;
        checked_numbers(new.capacity, new.weight)?;
        checked_credentials(new.credentials.as_ref())?;
        new.settings.check()?;
        allowed(tenant)?;
        if tenant.is_some() {
            for_a_tenant(&new.settings, new.credentials.is_some())?;
        }
        by.admits(&new.settings, &self.0.guard)?;
        let id = StorageId::generate(clock, entropy);
        let now = clock.now();
        let row = StorageRow {
            tenant: tenant.map(|tenant| tenant.id().clone()),
            name: new.name,
            settings: new.settings,
            guarded: !by.is_trusted(),
            secret: self.seal(&id, new.credentials.as_ref())?,
            role: new.role,
            state: if unchecked {
                StorageState::Off
            } else {
                StorageState::Active
            },
            capacity: new.capacity,
            weight: new.weight,
            used: ByteCount::ZERO,
            objects: 0,
            version: 1,
            created_at: now,
            updated_at: now,
            id,
        };
        let objects = self.connect(&row, new.credentials.as_ref()).await?;
        if !unchecked {
            works(check::check(&objects, &row.settings, clock, entropy).await)?;
        }
        let entry = self.entry(by, "storage.add", &row);
        let sealed_by = self.sealed_by(row.secret.is_some())?;
        storages::add(&self.0.control, &row, by.bounds(tenant), sealed_by, &entry).await?;
        self.changed(row.tenant.as_ref()).await;
        Ok(row)
    }

    /// Changes a storage. What it is and what opens it is checked before, and so is whether it works before it becomes active. Whoever
    /// says last what it is decides whether it is guarded.
    ///
    /// # Errors
    /// As [`Storages::add`], and when others changed it meanwhile or too few would be active.
    pub async fn edit(
        &self,
        present: &StorageRow,
        tenant: Option<&Tenant>,
        change: StorageChange,
        by: &Editor,
    ) -> Result<StorageRow, ChangeError> {
        let (clock, entropy) = (&self.0.clock, &self.0.entropy);
        let mut row = present.clone();
        let fresh = change.credentials.is_some();
        let elsewhere = change.settings.is_some() || fresh;
        checked_credentials(change.credentials.as_ref())?;
        if let Some(credentials) = &change.credentials {
            row.secret = self.seal(&row.id, Some(credentials))?;
        }
        row.name = change.name.unwrap_or(row.name);
        if let Some(settings) = change.settings {
            by.admits(&settings, &self.0.guard)?;
            (row.settings, row.guarded) = (settings, !by.is_trusted());
        }
        row.role = change.role.unwrap_or(row.role);
        row.state = change.state.unwrap_or(row.state);
        row.capacity = change.capacity.unwrap_or(row.capacity);
        row.weight = change.weight.unwrap_or(row.weight);
        checked_name(&row.name)?;
        checked_numbers(row.capacity, row.weight)?;
        row.settings.check()?;
        if row.tenant.is_some() {
            for_a_tenant(&row.settings, row.secret.is_some())?;
        }
        let wakes = row.state == StorageState::Active && present.state != StorageState::Active;
        if !by.is_trusted() && (elsewhere || wakes) {
            allowed(tenant)?;
        }
        if row.state != StorageState::Off && (elsewhere || wakes) {
            let credentials = match change.credentials {
                Some(credentials) => Some(credentials),
                None => self.credentials(&row)?,
            };
            let objects = self.connect(&row, credentials.as_ref()).await?;
            works(check::check(&objects, &row.settings, clock, entropy).await)?;
        }
        let entry = self.entry(by, "storage.edit", &row);
        let sealed_by = self.sealed_by(fresh)?;
        storages::update(&self.0.control, present, &row, by.bounds(tenant), sealed_by, &entry).await?;
        row.version = row.version.saturating_add(1);
        self.changed(row.tenant.as_ref()).await;
        Ok(row)
    }

    /// Removes a storage that is off and holds nothing.
    ///
    /// # Errors
    /// When it is in use, or the database is away.
    pub async fn remove(&self, row: &StorageRow, by: &Editor) -> Result<(), ChangeError> {
        let entry = self.entry(by, "storage.remove", row);
        storages::remove(&self.0.control, &row.id, &entry).await?;
        self.changed(row.tenant.as_ref()).await;
        Ok(())
    }

    /// Asks everything of a storage that is ever asked of it.
    ///
    /// # Errors
    /// When this process cannot open it.
    pub async fn check(&self, row: &StorageRow) -> Result<Vec<Finding>, OpenError> {
        let objects = self.open(row).await?;
        Ok(check::check(&objects, &row.settings, &self.0.clock, &self.0.entropy).await)
    }

    fn entry(&self, by: &Editor, action: &str, row: &StorageRow) -> Entry {
        let entry = Entry::new(&self.0.clock, &self.0.entropy, by.actor(), action, row.tenant.as_ref());
        entry.with(serde_json::json!({
            "storage": row.id, "name": row.name, "settings": row.settings, "role": row.role, "state": row.state,
            "capacity": row.capacity, "weight": row.weight, "guarded": row.guarded,
        }))
    }

    fn seal(&self, id: &StorageId, credentials: Option<&Credentials>) -> Result<Option<String>, SecretsError> {
        let Some(credentials) = credentials else {
            return Ok(None);
        };
        let of = SealedFor::Storage(id.clone());
        let sealed = self
            .0
            .secrets
            .seal(&of, credentials.to_bytes().reveal(), &self.0.entropy);
        sealed.map(Some)
    }

    fn sealed_by(&self, something: bool) -> Result<Option<SealedBy<'_>>, SecretsError> {
        let keys = |keyring| SealedBy {
            keyring,
            entropy: &self.0.entropy,
        };
        something.then(|| self.0.secrets.keyring().map(keys)).transpose()
    }
}

fn works(findings: Vec<Finding>) -> Result<(), ChangeError> {
    let problems = || findings.iter().filter_map(|finding| finding.problem.as_ref());
    if problems().any(Trouble::is_address) {
        return Err(AddressRefused.into());
    }
    if problems().next().is_none() {
        return Ok(());
    }
    Err(ChangeError::Check(findings))
}
