//! The table of limits: one entry each, everything else follows from it.
//!
//! An entry reads `Variant field: Unit = default, Enforcement` and, where there is one, the variable of Chevereto that
//! it answers to. The field's name is the limit's name in plans, tenants and the API. Entries keep their order: cached
//! contexts are written in it.

use super::{Enforcement, FormatSet, LimitOverrides, Unit};
use crate::units::ByteCount;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident $field:ident: $unit:ident = $default:expr, $enforcement:ident $(, $chevereto:literal)?;
    )+) => {
        /// A thing that is limited, or a feature that is on or off.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Limit { $($(#[doc = $doc])+ $variant),+ }

        impl Limit {
            /// Every one, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in plans, tenants and the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field)),+ }
            }

            /// What it means.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim()),+ }
            }

            /// What its value counts in.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit),+ }
            }

            /// Where it is held.
            #[must_use]
            pub const fn enforcement(self) -> Enforcement {
                match self { $(Self::$variant => Enforcement::$enforcement),+ }
            }

            /// Chevereto's variable for it. `None`: Chevereto has no such limit.
            #[must_use]
            pub fn chevereto(self) -> Option<&'static str> {
                let variable: &[&'static str] = match self { $(Self::$variant => &[$($chevereto)?]),+ };
                variable.first().copied()
            }
        }

        /// Effective limits: what holds when every layer has had its say. 0 is unlimited for numbers, off for toggles.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(default)]
        pub struct Limits { $($(#[doc = $doc])+ pub $field: i64),+ }

        impl Limits {
            /// What holds when nobody says anything.
            #[must_use]
            pub const fn builtin() -> Self {
                Self { $($field: $default),+ }
            }

            /// One of them.
            #[must_use]
            pub const fn get(&self, limit: Limit) -> i64 {
                match limit { $(Limit::$variant => self.$field),+ }
            }

            /// Sets one of them. A value out of its unit's range becomes the nearest within.
            pub fn set(&mut self, limit: Limit, value: i64) {
                let value = limit.within(value);
                match limit { $(Limit::$variant => self.$field = value),+ }
            }
        }
    };
}

limits! {
    /// Pictures stored at a time.
    Media media: Count = 0, Upload, "CHEVERETO_MAX_FILES";
    /// Bytes stored at a time, originals and variants.
    StoredBytes stored_bytes: Bytes = 0, Upload;
    /// Bytes of one upload. The default is the configuration's `max_upload_size`.
    UploadBytes upload_bytes: Bytes = 200_000_000, Upload, "CHEVERETO_MAX_UPLOAD_SIZE";
    /// Pixels of one picture, width times height. The default is the configuration's `max_pixels`.
    Pixels pixels: Pixels = 200_000_000, Worker;
    /// API keys that are not revoked.
    ApiKeys api_keys: Count = 0, Keys;
    /// Users.
    Users users: Count = 0, Users, "CHEVERETO_MAX_USERS";
    /// Users with the role of an administrator.
    Admins admins: Count = 0, Users, "CHEVERETO_MAX_ADMINS";
    /// Users with the role of a manager.
    Managers managers: Count = 0, Users, "CHEVERETO_MAX_MANAGERS";
    /// Albums.
    Albums albums: Count = 0, Application, "CHEVERETO_MAX_ALBUMS";
    /// Categories.
    Categories categories: Count = 0, Application, "CHEVERETO_MAX_CATEGORIES";
    /// Distinct tags.
    Tags tags: Count = 0, Application, "CHEVERETO_MAX_TAGS";
    /// Tags on one picture.
    TagsPerFile tags_per_file: Count = 0, Application, "CHEVERETO_MAX_TAGS_PER_FILE";
    /// Tags that one listing may be filtered by.
    TagsPerListing tags_per_listing: Count = 0, Application, "CHEVERETO_MAX_TAGS_PER_LISTING";
    /// Pages of the site's own.
    Pages pages: Count = 0, Application, "CHEVERETO_MAX_PAGES";
    /// Ways to log in by another service.
    LoginProviders login_providers: Count = 0, Application, "CHEVERETO_MAX_LOGIN_PROVIDERS";
    /// Storages of the tenant's own.
    Storages storages: Count = 0, Storages, "CHEVERETO_MAX_STORAGES";
    /// Storages that must be in use before uploads are taken: a least, not a most; 0 is none.
    MinActiveStorages min_active_storages: Count = 0, Upload, "CHEVERETO_MIN_STORAGES_ACTIVE";
    /// Bytes of one piece of an upload in pieces.
    ChunkBytes chunk_bytes: Bytes = 16_000_000, Application, "CHEVERETO_MAX_CHUNK_UPLOAD_SIZE";
    /// Entries on one page of a list.
    ListingPage listing_page: Count = 0, Listing, "CHEVERETO_MAX_LISTING_ITEMS_PER_PAGE";
    /// Albums that a user is offered to choose from.
    UserAlbumsList user_albums_list: Count = 500, Application, "CHEVERETO_MAX_USER_ALBUMS_LIST";
    /// How long the site may cache; 0 is for ever.
    CacheSeconds cache_seconds: Seconds = 86_400, Reserved, "CHEVERETO_MAX_CACHE_TTL";
    /// How long one request to the site may take. Uploads have the configuration's `upload_timeout` instead.
    RequestSeconds request_seconds: Seconds = 30, Application, "CHEVERETO_MAX_EXECUTION_TIME";
    /// Image formats that may be uploaded: names in a list; stored as the sum of AVIF 1, JPEG 2, PNG 4, BMP 8, GIF 16,
    /// WEBP 32, TIFF 64.
    ImageFormats image_formats: Formats = FormatSet::ALL.bits(), Upload, "CHEVERETO_IMAGE_FORMATS_AVAILABLE";
    /// Bytes stored at a time of pictures that do not move, originals and variants.
    ImageBytes image_bytes: Bytes = 0, Worker;
    /// Bytes stored at a time of pictures that move, originals and variants.
    AnimationBytes animation_bytes: Bytes = 0, Worker;
    /// Bytes served in a calendar month (UTC).
    BytesOutMonth bytes_out_month: BytesPerMonth = 0, Delivery;
    /// Uploads accepted in an hour of the clock (UTC).
    UploadsHour uploads_hour: PerHour = 0, Upload;
    /// Frames of one picture that moves.
    Frames frames: Count = 0, Worker;
    /// Variants of one picture, those that links ask for among them. Settings with more are refused; of settings that are there the first ones are made.
    Variants variants: Count = 0, Worker;
    /// Jobs in each pool's queue, or in its workers' hands, at a time; more are accepted and wait for their turn.
    JobsInFlight jobs_in_flight: Count = 0, Dispatch;
    /// Webhooks.
    Webhooks webhooks: Count = 0, Reserved;
    /// Host names.
    Hosts hosts: Count = 100, Hosts;
    /// How long a picture may stay, from its upload on.
    LifetimeSeconds lifetime_seconds: Seconds = 0, Upload;
    /// Whether uploads may be fetched from a URL.
    UploadUrl upload_url: Toggle = 1, Upload, "CHEVERETO_ENABLE_UPLOAD_URL";
    /// Whether users' own API keys are taken.
    ApiUser api_user: Toggle = 1, Keys, "CHEVERETO_ENABLE_API_USER";
    /// Whether the site's public API key, which belongs to nobody, is taken.
    ApiGuest api_guest: Toggle = 1, Reserved, "CHEVERETO_ENABLE_API_GUEST";
    /// Whether people who are not logged in may do more than look.
    Guests guests: Toggle = 1, Application, "CHEVERETO_ENABLE_GUESTS";
    /// Whether the site has several users; off, the first one owns it.
    MultiUser multi_user: Toggle = 1, Reserved, "CHEVERETO_ENABLE_USERS";
    /// Whether files may lie in the installation's own storage.
    LocalStorage local_storage: Toggle = 1, Upload, "CHEVERETO_ENABLE_LOCAL_STORAGE";
    /// Whether storages of the tenant's own may be added.
    ExternalStorage external_storage: Toggle = 1, Storages, "CHEVERETO_ENABLE_EXTERNAL_STORAGE_PROVIDERS";
    /// Whether pictures may get a watermark.
    Watermark watermark: Toggle = 1, Application, "CHEVERETO_ENABLE_UPLOAD_WATERMARK";
    /// Whether too many uploads from one address are refused.
    FloodProtection flood_protection: Toggle = 1, Application, "CHEVERETO_ENABLE_UPLOAD_FLOOD_PROTECTION";
    /// Whether uploads may wait for a moderator.
    Moderation moderation: Toggle = 1, Application, "CHEVERETO_ENABLE_MODERATION";
    /// Whether files may be served under a content delivery network's address.
    Cdn cdn: Toggle = 1, Reserved, "CHEVERETO_ENABLE_CDN";
    /// Whether folders of pictures may be imported.
    BulkImporter bulk_importer: Toggle = 1, Application, "CHEVERETO_ENABLE_BULK_IMPORTER";
    /// Whether what a camera noted (model, exposure, time) is kept beside a picture.
    ExifFacts exif_facts: Toggle = 1, Worker;
    /// How many jobs of this tenant are released for one of a tenant with 1, where both have more than workers can take.
    DispatchWeight dispatch_weight: Count = 1, Dispatch;
    /// How long a tenant may be over a limit, or its trial be over, before its uploads are frozen; 0 is not at all.
    GraceSeconds grace_seconds: Seconds = 604_800, Scheduler;
    /// Whether the oldest pictures are deleted when the grace of a limit on what is stored is over, until it fits; off, uploads are frozen.
    ExpireOldest expire_oldest: Toggle = 0, Scheduler;
}

impl Limit {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.as_str() == name)
    }

    /// `value`, or the nearest that the unit allows.
    pub(super) fn within(self, value: i64) -> i64 {
        value.clamp(0, self.unit().most())
    }
}

impl Limits {
    /// Whether the toggle `limit` is on. For what is no toggle: whether its value is not 0.
    #[must_use]
    pub const fn allows(&self, limit: Limit) -> bool {
        self.get(limit) != 0
    }

    /// The largest upload. `None`: nothing bounds it.
    #[must_use]
    pub const fn largest_upload(&self) -> Option<ByteCount> {
        match self.upload_bytes {
            0 => None,
            limit => Some(ByteCount::new(limit)),
        }
    }

    /// Image formats that may be uploaded.
    #[must_use]
    pub const fn image_formats(&self) -> FormatSet {
        FormatSet::from_bits(self.image_formats)
    }

    /// These, with what `overrides` sets; trial twins do not count.
    #[must_use]
    pub fn with(mut self, overrides: &LimitOverrides) -> Self {
        for (limit, value) in overrides.plain() {
            self.set(limit, value);
        }
        self
    }
}

impl Default for Limits {
    /// [`Limits::builtin`].
    fn default() -> Self {
        Self::builtin()
    }
}

impl Serialize for Limits {
    /// A map from names to numbers. The six that release 0.1 knew are always there; another one when it is not what is
    /// built in, so that a cached context stays small. A reader takes what is missing from [`Limits::builtin`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let builtin = Self::builtin();
        let mut map = serializer.serialize_map(None)?;
        for limit in Limit::ALL.iter().copied() {
            if limit <= Limit::Users || self.get(limit) != builtin.get(limit) {
                map.serialize_entry(limit.as_str(), &self.get(limit))?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_limits_share_a_name_or_a_variable() {
        let names: BTreeSet<&str> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        let variables: Vec<&str> = Limit::ALL.iter().filter_map(|limit| limit.chevereto()).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
        assert!(variables.iter().all(|variable| variable.starts_with("CHEVERETO_")));
    }

    #[test]
    fn what_is_built_in_is_within_range_and_agrees_with_the_configuration() {
        let builtin = Limits::builtin();
        for limit in Limit::ALL.iter().copied() {
            assert_eq!(limit.within(builtin.get(limit)), builtin.get(limit), "{limit:?}");
        }
        let config = Config::from_pairs([("data_dir", "/data".into())]).unwrap();
        assert_eq!(
            (builtin.upload_bytes, builtin.pixels),
            (config.max_upload_size.get(), config.max_pixels)
        );
        assert!(builtin.allows(Limit::UploadUrl));
        assert_eq!(builtin.image_formats(), FormatSet::ALL);
    }

    #[test]
    fn every_limit_gets_what_was_set_and_nothing_out_of_range() {
        for limit in Limit::ALL.iter().copied() {
            let mut limits = Limits::builtin();
            limits.set(limit, 1);
            assert_eq!(limits.get(limit), 1, "{limit:?}");
            limits.set(limit, i64::MAX);
            assert_eq!(limits.get(limit), limit.unit().most(), "{limit:?}");
            limits.set(limit, -1);
            assert_eq!(limits.get(limit), 0, "{limit:?}");
        }
    }

    #[test]
    fn limits_come_back_from_their_text_whatever_is_left_out() {
        let mut limits = Limits::builtin();
        limits.set(Limit::UploadUrl, 0);
        limits.set(Limit::Frames, 7);
        let text = serde_json::to_string(&limits).unwrap();
        assert!(text.ends_with(r#""users":0,"frames":7,"upload_url":0}"#), "{text}");
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::builtin());
    }
}
