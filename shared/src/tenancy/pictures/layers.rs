//! Which layer has the say on pictures.

use super::{Duplicates, Fit, Metadata, PictureSettings, VariantPreset, Variants};
use crate::{interval::Interval, placement::FilePlacement, tenancy::Origin};
use std::sync::LazyLock;

/// What is done with pictures when every layer has had its say. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// What files keep.
    pub metadata: Metadata,
    /// What is made of each.
    pub variants: Variants,
    /// How files are placed.
    pub placement: FilePlacement,
    /// What the same upload again is.
    pub duplicates: Duplicates,
    /// How long pictures stay whose uploader does not say. `None`: until somebody deletes them.
    pub expiration: Option<Interval>,
}

static BUILTIN: LazyLock<Pictures> = LazyLock::new(|| Pictures {
    metadata: Metadata::Strip,
    variants: Variants(
        [
            VariantPreset::new("thumb", Some(320), Some(320), Fit::Cover),
            VariantPreset::new("medium", Some(500), None, Fit::Inside),
            VariantPreset::new("large", Some(1_600), None, Fit::Inside),
        ]
        .into(),
    ),
    placement: FilePlacement::default(),
    duplicates: Duplicates::Allow,
    expiration: None,
});

impl Default for Pictures {
    /// What holds when nobody says anything: no metadata, `thumb`, `medium` and `large`.
    fn default() -> Self {
        BUILTIN.clone()
    }
}

/// What is set for one tenant.
#[derive(Debug, Clone, Copy)]
pub struct PictureLayers<'a> {
    /// Its own.
    pub tenant: &'a PictureSettings,
    /// Its plan's, when it has a plan.
    pub plan: Option<&'a PictureSettings>,
}

/// What is done with a tenant's pictures, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePictures {
    /// What is done.
    pub pictures: Pictures,
    /// Who says what files keep.
    pub metadata: Origin,
    /// Who says what is made.
    pub variants: Origin,
    /// Who says how files are placed.
    pub placement: Origin,
    /// Who says what the same upload again is.
    pub duplicates: Origin,
    /// Who says how long pictures stay.
    pub expiration: Origin,
}

impl PictureLayers<'_> {
    /// What is done.
    #[must_use]
    pub fn resolve(&self) -> Pictures {
        self.explain().pictures
    }

    /// What is done, and who says so.
    #[must_use]
    pub fn explain(&self) -> EffectivePictures {
        let (metadata, metadata_from) = self.first(|layer| layer.metadata, BUILTIN.metadata);
        let (variants, variants_from) = self.first(|layer| layer.variants.clone(), BUILTIN.variants.clone());
        let (placement, placement_from) = self.first(|layer| layer.placement.clone(), BUILTIN.placement.clone());
        let (duplicates, duplicates_from) = self.first(|layer| layer.duplicates, BUILTIN.duplicates);
        let (expiration, expiration_from) = self.first(|layer| layer.expiration.map(Some), BUILTIN.expiration);
        EffectivePictures {
            pictures: Pictures {
                metadata,
                variants,
                placement,
                duplicates,
                expiration,
            },
            metadata: metadata_from,
            variants: variants_from,
            placement: placement_from,
            duplicates: duplicates_from,
            expiration: expiration_from,
        }
    }

    fn first<T>(&self, key: impl Fn(&PictureSettings) -> Option<T>, builtin: T) -> (T, Origin) {
        let own = || Some((key(self.tenant)?, Origin::Tenant));
        let plans = || Some((key(self.plan?)?, Origin::Plan));
        own().or_else(plans).unwrap_or((builtin, Origin::Default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_the_first_layers_that_sets_it() {
        let read = |text: &str| PictureSettings::from_json(text).unwrap();
        let none = PictureSettings::default();
        let (keep, bare) = (read(r#"{"metadata":"keep"}"#), read(r#"{"variants":[]}"#));
        let both = read(r#"{"metadata":"strip-location","variants":[{"name":"a"}]}"#);
        for (tenant, plan, metadata, variants) in [
            (&none, None, (Metadata::Strip, Origin::Default), (3, Origin::Default)),
            (&none, Some(&keep), (Metadata::Keep, Origin::Plan), (3, Origin::Default)),
            (
                &bare,
                Some(&both),
                (Metadata::StripLocation, Origin::Plan),
                (0, Origin::Tenant),
            ),
            (&keep, Some(&both), (Metadata::Keep, Origin::Tenant), (1, Origin::Plan)),
            (
                &both,
                Some(&keep),
                (Metadata::StripLocation, Origin::Tenant),
                (1, Origin::Tenant),
            ),
        ] {
            let found = PictureLayers { tenant, plan }.explain();
            assert_eq!((found.pictures.metadata, found.metadata), metadata);
            assert_eq!((found.pictures.variants.count(), found.variants), variants);
        }
    }

    #[test]
    fn what_is_built_in_could_be_set() {
        let builtin = serde_json::json!({
            "metadata": Metadata::Strip, "variants": Pictures::default().variants, "placement": FilePlacement::default(),
        });
        let read = PictureSettings::from_json(&builtin.to_string()).unwrap();
        let layers = PictureLayers {
            tenant: &read,
            plan: None,
        };
        assert_eq!(layers.resolve(), Pictures::default());
    }
}
