//! The shape of what is said about plans, and of changes to limits.

use super::{
    Listing,
    values::{
        Choice, EnvText, PicturesAt, assignment, env_text, isolation_choice, limit_name, pictures_at, server_choice,
    },
};
use clap::{Args, Subcommand};
use mediamill_shared::tenancy::{Isolation, LimitOverrides, ServerName};

#[derive(Debug, Subcommand)]
pub(crate) enum Plans {
    /// Make a plan
    Create {
        /// 1 to 64 characters of 0-9, A-Z, a-z, -, _ and .
        id: String,
        #[command(flatten)]
        fields: Box<PlanFields>,
    },
    /// Change a plan; its tenants follow within a second
    Edit {
        /// The plan
        id: String,
        #[command(flatten)]
        fields: Box<PlanFields>,
        /// Change nothing: list the tenants that would use more than they may; exit code 1 when there are some
        #[arg(long)]
        preview: bool,
    },
    /// List the tenants that would use more than they may under these limits; exit code 1 when there are some
    Preview {
        /// The plan
        id: String,
        /// All of its limits [default: those it has]
        #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json)]
        limits: Option<LimitOverrides>,
        #[command(flatten)]
        changes: LimitChanges,
    },
    /// List plans
    List(Listing),
    /// Show a plan
    Show {
        /// The plan
        id: String,
        /// With the values of its env
        #[arg(long)]
        show_env: bool,
    },
    /// Remove a plan; its tenants stay, without what they inherited
    Delete {
        /// The plan
        id: String,
    },
    /// Make a plan or replace its name and limits
    Put {
        /// Its id
        id: String,
        /// For people [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// What its tenants inherit, such as `{"stored_bytes": 10000000000}`
        #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json, default_value = "{}", hide_default_value = true)]
        limits: LimitOverrides,
    },
}

/// What a plan has.
#[derive(Debug, Default, Args)]
pub(crate) struct PlanFields {
    /// For people [default: the id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// All that its tenants inherit, such as `{"stored_bytes": "10 GB"}`
    #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json)]
    pub(crate) limits: Option<LimitOverrides>,
    #[command(flatten)]
    pub(crate) changes: LimitChanges,
    /// All of its env: a JSON object of strings, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", value_parser = env_text)]
    pub(crate) env: Option<EnvText>,
    /// All that its tenants inherit for their pictures: a file with a JSON object, - for standard input, or none
    #[arg(long, value_name = "FILE", value_parser = pictures_at)]
    pub(crate) pictures: Option<PicturesAt>,
    /// How new tenants of it are kept apart: prefix, database, or auto for the installation's choice
    #[arg(long, value_name = "MODE", value_parser = isolation_choice)]
    pub(crate) isolation: Option<Choice<Isolation>>,
    /// Database server that new tenants of it are placed on, or auto
    #[arg(long, value_name = "NAME", value_parser = server_choice)]
    pub(crate) server: Option<Choice<ServerName>>,
}

/// Changes to limits, one by one.
#[derive(Debug, Default, Args)]
pub(crate) struct LimitChanges {
    /// Set one limit; may be repeated. `trial.NAME` is its trial twin
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<LimitOverrides>,
    /// Take one limit away, so that it is inherited; may be repeated
    #[arg(long, value_name = "NAME", value_parser = limit_name)]
    unset: Vec<String>,
}

impl LimitChanges {
    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }

    /// `limits` with these changes: what is taken away first, then what is set.
    pub(crate) fn apply(&self, limits: &LimitOverrides) -> anyhow::Result<LimitOverrides> {
        let mut stored: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&limits.to_json())?;
        stored.retain(|name, _| !self.unset.contains(name));
        let kept = LimitOverrides::from_json(&serde_json::Value::from(stored).to_string())?;
        Ok(self.set.iter().fold(kept, LimitOverrides::merge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_taken_away_then_set() {
        let limits = LimitOverrides::from_json(r#"{"media": 1, "users": 2, "CHEVERETO_X": "y"}"#).unwrap();
        let changes = LimitChanges {
            set: vec![LimitOverrides::from_json(r#"{"media": 3}"#).unwrap()],
            unset: vec!["media".to_owned(), "CHEVERETO_X".to_owned()],
        };
        assert_eq!(changes.apply(&limits).unwrap().to_json(), r#"{"media":3,"users":2}"#);
    }
}
