//! What a tenant may use and which features it has: the one list of every limit and toggle.
//!
//! A limit is one entry in `table.rs`; [`Limits`], [`LimitOverrides`], the form that Chevereto's API shows and
//! `docs/limits.md` follow from it. Whole numbers throughout: 0 means unlimited for a number, off for a toggle.
//!
//! Per key, highest first: the host's enforced set → the tenant's own → its plan's → the installation's default
//! ([`Layers`]). A *trial twin* stands before its plain value while the tenant is on trial.
//!
//! Pure: nothing here reads a clock, a file or a database.

mod error;
mod formats;
mod layers;
mod names;
mod overrides;
mod reference;
mod table;
mod units;
mod values;

pub use error::LimitsError;
pub use formats::{FormatSet, ImageFormat};
pub use layers::{Effective, Layers, Origin};
pub use overrides::LimitOverrides;
pub use reference::limits_reference;
pub use table::{Limit, Limits};
pub use units::{Enforcement, Unit};
pub use values::shown;
