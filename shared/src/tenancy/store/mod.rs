//! SQL of a tenant's tables, one file per family: reads on [`super::TenantDb`], writes on [`super::TenantTx`].

pub mod balance;
pub mod holders;
pub mod media;
pub mod oldest;
pub mod places;
pub mod usage;
pub mod users;
