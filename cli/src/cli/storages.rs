//! The shape of what is said about storages.

use super::values::byte_size;
use clap::{Args, Subcommand};
use mediamill_shared::{
    control::storages::{StorageRole, StorageState},
    ids::{StorageId, TenantId},
    placement::{Delivery, Spot},
    units::ByteCount,
};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Storages {
    /// List storages: the provider's and all tenants', or one tenant's
    List {
        /// This tenant's alone
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
    /// Show a storage and how far its task has come
    Show {
        /// The storage
        id: StorageId,
    },
    /// Add a storage once it is known to work: written to, read, listed and removed from
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
        #[command(flatten)]
        place: Box<Where>,
        /// Whose it is [default: the provider's, for every tenant that has none of its own]
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        fields: StorageFields,
        /// Do not try it; it is added switched off
        #[arg(long)]
        unchecked: bool,
    },
    /// Try everything that is ever asked of a storage, and say what is wrong; exit code 1 when something is
    Check {
        /// The storage
        id: StorageId,
    },
    /// Change a storage; another place or another key is tried first
    Edit {
        /// The storage
        id: StorageId,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        place: Box<Where>,
        #[command(flatten)]
        fields: StorageFields,
        /// What it is used for: active, read-only, draining or off
        #[arg(long)]
        state: Option<StorageState>,
    },
    /// Take nothing more into a storage, and move everything out of it
    Drain {
        /// The storage
        id: StorageId,
        /// Into this one, or - for the installation's own store [default: where each tenant's placement says]
        #[arg(long, value_name = "ID")]
        to: Option<Spot>,
        /// Show how far it is, until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Move everything that is in a storage now out of it
    Move {
        /// Out of this one, or - for the installation's own store
        from: Spot,
        /// Into this one, or - for the installation's own store [default: where each tenant's placement says]
        #[arg(long, value_name = "ID")]
        to: Option<Spot>,
        /// Show how far it is, until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Read what is in a storage again and compare checksums; what is damaged is mended from another copy where there is one
    Verify {
        /// The storage, or - for the installation's own store
        id: Spot,
        /// Read the files of one picture in so many
        #[arg(long, value_name = "N", default_value_t = 1)]
        sample: i64,
        /// Show how far it is, until it is over; exit code 1 when something is damaged, or was not read
        #[arg(long)]
        watch: bool,
    },
    /// Show how far a storage's task is, until it is over
    Watch {
        /// The storage, or - for the installation's own store
        id: Spot,
    },
    /// Stop a storage's task; jobs that are accepted go on
    Stop {
        /// The storage, or - for the installation's own store
        id: Spot,
    },
    /// Remove a storage that is off and holds nothing
    Remove {
        /// The storage
        id: StorageId,
    },
}

/// Where a storage is, and what opens it.
#[derive(Debug, Default, Args)]
pub(crate) struct Where {
    /// A bucket of any service that speaks S3
    #[arg(long, value_name = "BUCKET", conflicts_with = "directory")]
    pub(crate) s3: Option<String>,
    /// What every key in the bucket begins with
    #[arg(long, requires = "s3")]
    pub(crate) prefix: Option<String>,
    /// `https://host:port` of the service [default: Amazon's, by region]
    #[arg(long, value_name = "URL", requires = "s3")]
    pub(crate) endpoint: Option<String>,
    /// The region [default: us-east-1]
    #[arg(long, requires = "s3")]
    pub(crate) region: Option<String>,
    /// Whether the bucket stands in the path, not in the host name [default: with an endpoint it does]
    #[arg(long, value_name = "BOOL", requires = "s3")]
    pub(crate) path_style: Option<bool>,
    /// How files get to who asks [default: relay]
    #[arg(long, value_enum, requires = "s3")]
    pub(crate) delivery: Option<DeliveryName>,
    /// What public addresses begin with
    #[arg(long, value_name = "URL", requires = "s3")]
    pub(crate) public_url: Option<String>,
    /// Certificates (PEM) that are trusted instead of the system's
    #[arg(long, value_name = "FILE", requires = "s3")]
    pub(crate) ca: Option<PathBuf>,
    /// A directory that every api and worker has
    #[arg(long, value_name = "PATH")]
    pub(crate) directory: Option<PathBuf>,
    /// Access key id; its secret is read from standard input, or from --secret-key-file
    #[arg(long, value_name = "KEY")]
    pub(crate) access_key: Option<String>,
    /// File with the secret access key
    #[arg(long, value_name = "FILE", requires = "access_key")]
    pub(crate) secret_key_file: Option<PathBuf>,
}

/// [`Delivery`] by its name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DeliveryName {
    /// Through the api
    Relay,
    /// By a redirect to an address that is signed
    Presign,
    /// By a redirect to the bucket's public address
    Public,
}

impl From<DeliveryName> for Delivery {
    fn from(name: DeliveryName) -> Self {
        match name {
            DeliveryName::Relay => Self::Relay,
            DeliveryName::Presign => Self::Presign,
            DeliveryName::Public => Self::Public,
        }
    }
}

/// What a storage is used for.
#[derive(Debug, Default, Args)]
pub(crate) struct StorageFields {
    /// Files it takes: originals, variants or both [default: both]
    #[arg(long)]
    pub(crate) role: Option<StorageRole>,
    /// Bytes it may hold, such as 500GB; 0 is no bound [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = byte_size)]
    pub(crate) capacity: Option<ByteCount>,
    /// How often it is chosen against the others, 1 to 1000 [default: 1]
    #[arg(long)]
    pub(crate) weight: Option<i64>,
}
