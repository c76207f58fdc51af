//! What a tenant wants of its pictures, in the media engine's own terms.
//!
//! The two forms are one on paper (JSON), so that neither crate knows the other; the tests here hold them together.

use mediamill_media::{Limits, Policy, Settings, Variant};
use mediamill_shared::tenancy::{self, Pictures, VariantPreset};
use serde::de::DeserializeOwned;

/// The engine's settings for a tenant's pictures under its limits. Of more variants than the limit the first ones are made.
///
/// # Errors
/// When the engine does not know an option: a newer release wrote it.
pub(super) fn settings(pictures: &Pictures, limits: &tenancy::Limits) -> Result<Settings, serde_json::Error> {
    let most = match usize::try_from(limits.variants) {
        Ok(most) if most > 0 => most,
        // Unlimited.
        Ok(_) | Err(_) => usize::MAX,
    };
    let variants = pictures.variants.iter().take(most).map(read::<Variant>);
    Ok(Settings {
        limits: bounds(limits),
        policy: read::<Policy>(&pictures.metadata)?,
        variants: variants.collect::<Result<_, _>>()?,
    })
}

/// The engine's settings for one variant more, stored under `name`.
///
/// # Errors
/// When the engine does not know an option: a newer release wrote it.
pub(super) fn one(preset: &VariantPreset, name: &str, limits: &tenancy::Limits) -> Result<Settings, serde_json::Error> {
    let mut variant = read::<Variant>(preset)?;
    name.clone_into(&mut variant.name);
    Ok(Settings {
        limits: bounds(limits),
        policy: Policy::default(),
        variants: vec![variant],
    })
}

fn bounds(limits: &tenancy::Limits) -> Limits {
    Limits {
        max_pixels: u64::try_from(limits.pixels).unwrap_or(0),
        max_frames: u32::try_from(limits.frames).unwrap_or(u32::MAX),
        ..Limits::default()
    }
}

fn read<T: DeserializeOwned>(given: &impl serde::Serialize) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(given)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_media::{Fit, Output};
    use mediamill_shared::tenancy::{Limit, Metadata, PictureLayers, PictureSettings};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn settings_of(json: &Value, limits: &tenancy::Limits) -> Settings {
        let tenant = PictureSettings::from_json(&json.to_string()).unwrap();
        let layers = PictureLayers {
            tenant: &tenant,
            plan: None,
        };
        settings(&layers.resolve(), limits).unwrap()
    }

    #[test]
    fn what_is_built_in_is_what_the_engine_does_by_default() {
        let mut limits = tenancy::Limits::builtin();
        limits.set(Limit::Frames, 1_000);
        assert_eq!(settings_of(&json!({}), &limits), Settings::default());
    }

    /// Every option, each as it is by no default.
    fn all_options() -> Value {
        json!({
            "name": "a", "width": 7, "height": 8, "fit": "cover", "gravity": "250:700", "output": "avif", "quality": 9,
            "background": "#0a0b0c", "sharpen": 10, "enlarge": true, "linear": true, "animated": true,
        })
    }

    fn options(variant: &impl serde::Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(variant).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_option_of_the_one_is_an_option_of_the_other() {
        let ours: VariantPreset = serde_json::from_value(all_options()).unwrap();
        let engines: Variant = serde_json::from_value(all_options()).unwrap();
        assert_eq!(options(&ours), options(&engines));
        assert_eq!(read::<Variant>(&ours).unwrap(), engines);
        // The engine writes every option, also those that are as they are by default: the two agree on what that is.
        let plain = json!({ "name": "a" });
        let (ours, engines): (VariantPreset, Variant) = (read(&plain).unwrap(), read(&plain).unwrap());
        assert_eq!(read::<VariantPreset>(&engines).unwrap(), ours);
        assert_eq!(read::<Variant>(&ours).unwrap(), engines);
    }

    /// Does not compile when the engine gets one that is not in the lists below.
    const fn is_listed(fit: Fit, output: Output, policy: Policy) {
        match fit {
            Fit::Cover | Fit::Contain | Fit::Inside => {}
        }
        match output {
            Output::Auto
            | Output::Jpeg
            | Output::Png
            | Output::Webp
            | Output::WebpLossless
            | Output::Avif
            | Output::Gif => {}
        }
        match policy {
            Policy::Strip | Policy::StripLocation | Policy::Keep => {}
        }
    }

    #[test]
    fn every_word_of_the_one_is_a_word_of_the_other() {
        let fits = [Fit::Cover, Fit::Contain, Fit::Inside];
        let outputs = [
            Output::Auto,
            Output::Jpeg,
            Output::Png,
            Output::Webp,
            Output::WebpLossless,
            Output::Avif,
            Output::Gif,
        ];
        let policies = [Policy::Strip, Policy::StripLocation, Policy::Keep];
        is_listed(Fit::Cover, Output::Auto, Policy::Strip);
        assert_eq!(read::<Vec<Fit>>(&tenancy::Fit::ALL).unwrap(), fits);
        assert_eq!(read::<Vec<tenancy::Fit>>(&fits).unwrap(), tenancy::Fit::ALL);
        assert_eq!(read::<Vec<Output>>(&tenancy::Output::ALL).unwrap(), outputs);
        assert_eq!(read::<Vec<tenancy::Output>>(&outputs).unwrap(), tenancy::Output::ALL);
        assert_eq!(read::<Vec<Policy>>(&Metadata::ALL).unwrap(), policies);
        assert_eq!(read::<Vec<Metadata>>(&policies).unwrap(), Metadata::ALL);
        for gravity in [
            "centre",
            "north",
            "northeast",
            "east",
            "southeast",
            "south",
            "southwest",
            "west",
            "northwest",
            "0:1000",
        ] {
            let variant = json!({ "name": "a", "gravity": gravity });
            let ours: VariantPreset = read(&variant).unwrap();
            assert_eq!(read::<Variant>(&ours).unwrap(), read::<Variant>(&variant).unwrap());
        }
    }

    #[test]
    fn the_tenants_limits_bound_what_is_made() {
        let wanted = json!({ "metadata": "keep", "variants": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] });
        let mut limits = tenancy::Limits::builtin();
        for (limit, value) in [(Limit::Variants, 2), (Limit::Frames, 50), (Limit::Pixels, 9)] {
            limits.set(limit, value);
        }
        let bound = settings_of(&wanted, &limits);
        let names: Vec<&str> = bound.variants.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!((names, bound.policy), (vec!["a", "b"], Policy::Keep));
        assert_eq!((bound.limits.max_frames, bound.limits.max_pixels), (50, 9));
        limits.set(Limit::Variants, 0);
        limits.set(Limit::Frames, 0);
        let free = settings_of(&wanted, &limits);
        assert_eq!((free.variants.len(), free.limits.max_frames), (3, 0));
        limits.set(Limit::Frames, i64::MAX);
        assert_eq!(settings_of(&wanted, &limits).limits.max_frames, u32::MAX);
    }
}
