//! What properties mean: by namespace and name, of XMP's own, IPTC's, EXIF's and those of a few programs.

use crate::strip::RemovedKind;

/// What a property tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that is named here.
    Nothing,
    /// Of a position.
    Latitude,
    /// Of a position.
    Longitude,
    /// Something else of a position.
    Position,
    /// City, country and such, in words.
    PlaceName,
    /// It speaks of something that goes with the places: an extension of the packet, or pictures behind the picture.
    Dangling,
    /// Something else that a person wants to know of.
    Told(RemovedKind),
}

impl Meaning {
    /// Whether it goes with the places.
    pub(super) const fn goes(self) -> bool {
        match self {
            Self::Latitude | Self::Longitude | Self::Position | Self::PlaceName | Self::Dangling => true,
            Self::Nothing | Self::Told(_) => false,
        }
    }
}

const AUX: &str = "http://ns.adobe.com/exif/1.0/aux/";
const DC: &str = "http://purl.org/dc/elements/1.1/";
const EXIF: &str = "http://ns.adobe.com/exif/1.0/";
const EXIF_EX: &str = "http://cipa.jp/exif/1.0/";
const IPTC_CORE: &str = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/";
const IPTC_EXT: &str = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
const PHOTOSHOP: &str = "http://ns.adobe.com/photoshop/1.0/";
const TIFF: &str = "http://ns.adobe.com/tiff/1.0/";
const XMP: &str = "http://ns.adobe.com/xap/1.0/";
const XMP_NOTE: &str = "http://ns.adobe.com/xmp/note/";
const XMP_RIGHTS: &str = "http://ns.adobe.com/xap/1.0/rights/";

/// All that is in these is a place: W3C's basic geo, Darwin Core.
const PLACES: [&str; 3] = [
    "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "http://rs.tdwg.org/dwc/index.htm",
    "http://rs.tdwg.org/dwc/terms/",
];
/// Whole pictures with metadata of their own, and the list of those that stand behind the picture.
const PICTURES: [&str; 4] = [
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/container/item/",
];

pub(super) fn meaning(namespace: &str, local: &str) -> Meaning {
    match (namespace, local) {
        (EXIF, "GPSLatitude") => Meaning::Latitude,
        (EXIF, "GPSLongitude") => Meaning::Longitude,
        (PHOTOSHOP, "City" | "State" | "Country")
        | (IPTC_CORE, "Location" | "CountryCode")
        | (IPTC_EXT, "CountryName" | "ProvinceState" | "WorldRegion")
        | (DC, "coverage") => Meaning::PlaceName,
        // The address of whoever took it.
        (IPTC_CORE, local) if local.starts_with("CiAdr") => Meaning::PlaceName,
        (XMP_NOTE, "HasExtendedXMP") => Meaning::Dangling,
        (XMP, "CreatorTool") | (TIFF, "Software") => Meaning::Told(RemovedKind::Software),
        (TIFF, "Make" | "Model") => Meaning::Told(RemovedKind::Camera),
        (EXIF, "DateTimeOriginal") | (XMP, "CreateDate") | (PHOTOSHOP, "DateCreated") => {
            Meaning::Told(RemovedKind::TakenAt)
        }
        (AUX, "SerialNumber") | (EXIF_EX, "BodySerialNumber") => Meaning::Told(RemovedKind::CameraSerial),
        (AUX, "Lens") | (EXIF_EX, "LensModel") => Meaning::Told(RemovedKind::Lens),
        (AUX | EXIF_EX, "LensSerialNumber") => Meaning::Told(RemovedKind::LensSerial),
        (AUX, "OwnerName") | (EXIF_EX, "CameraOwnerName") | (DC, "creator") | (XMP_RIGHTS, "Owner") => {
            Meaning::Told(RemovedKind::Owner)
        }
        (DC, "rights") => Meaning::Told(RemovedKind::Copyright),
        (DC, "subject") => Meaning::Told(RemovedKind::Keywords),
        (DC, "description" | "title") | (EXIF, "UserComment") => Meaning::Told(RemovedKind::Comment),
        (namespace, _) if PICTURES.contains(&namespace) => Meaning::Dangling,
        (namespace, _) if PLACES.contains(&namespace) => Meaning::Position,
        (_, local) => by_name(local),
    }
}

/// Programs have properties of their own; their names say what they are.
pub(super) fn by_name(local: &str) -> Meaning {
    let name = local.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["gps", "latitude", "longitude", "altitude", "geotag", "coordinates"]) {
        Meaning::Position
    } else if has(&["location", "city", "country", "coverage", "locality"])
        && !has(&["capacity", "opacity", "velocity", "locationinpicture", "publicity"])
    {
        Meaning::PlaceName
    } else {
        Meaning::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_programs_are_known_by_their_names() {
        for (local, goes) in [
            ("GpsLongtitude", true),
            ("RelativeAltitude", true),
            ("shotLocation", true),
            ("Sublocation", true),
            ("CountryCode", true),
            ("Opacity", false),
            ("Rating", false),
            ("Regions", false),
        ] {
            assert_eq!(meaning("http://example.org/", local).goes(), goes, "{local}");
        }
        assert!(meaning("http://www.w3.org/2003/01/geo/wgs84_pos#", "lat").goes());
        assert!(!meaning(EXIF, "ExposureTime").goes());
    }
}
