//! XMP (ISO 16684-1): what a packet tells, and the packet without places.
//!
//! Places are found by namespace and name, whatever prefix a writer chose, as elements or attributes, at any depth. A
//! packet that does not parse, or nests deeper than real ones do, is not edited: it goes whole.

mod names;
mod xml;

use crate::strip::{Removed, RemovedKind, readable};
use names::{Meaning, by_name, meaning};
use std::ops::Range;
use xml::{Malformed, Scanner, Token};

/// Real packets nest about ten deep.
const DEEPEST: usize = 64;
/// Namespaces in force at once.
const MOST_NAMESPACES: usize = 200;
/// Properties that are told of.
const MOST_TOLD: usize = 100;
/// Bytes of one property's text that are looked at.
const LONGEST: usize = 400;

/// What a packet tells.
#[derive(Debug, Default)]
pub(crate) struct Told {
    properties: Vec<Removed>,
    latitude: Option<String>,
    longitude: Option<String>,
    position: bool,
    /// What is to be cut out.
    cuts: Vec<Range<usize>>,
}

/// Reads a packet; none where it is not well-formed UTF-8 XML.
pub(crate) fn read(packet: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(packet).ok()?;
    let mut walk = Walk::default();
    walk.run(text).ok()?;
    Some(walk.told)
}

/// Whether something of this name tells a place.
pub(crate) fn is_place(name: &str) -> bool {
    by_name(name).goes()
}

impl Told {
    /// All of it.
    pub(crate) fn everything(self) -> Vec<Removed> {
        let mut found = self.position();
        found.extend(self.properties);
        found
    }

    /// The places among it.
    pub(crate) fn places(&self) -> Vec<Removed> {
        let mut found = self.position();
        let names = self.properties.iter();
        found.extend(names.filter(|told| told.what == RemovedKind::PlaceName).cloned());
        found
    }

    fn position(&self) -> Vec<Removed> {
        let detail = match (&self.latitude, &self.longitude) {
            (Some(latitude), Some(longitude)) => format!("{latitude}, {longitude}"),
            _ => String::new(),
        };
        let told = self.position.then(|| Removed::part(RemovedKind::GpsPosition, &detail));
        told.into_iter().collect()
    }

    /// `packet`, which was read, without its places.
    pub(crate) fn without_places(&self, packet: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(packet.len());
        let mut place = 0;
        for cut in &self.cuts {
            out.extend_from_slice(packet.get(place..cut.start).unwrap_or_default());
            place = cut.end;
        }
        out.extend_from_slice(packet.get(place..).unwrap_or_default());
        out
    }

    fn note(&mut self, meaning: Meaning, said: &str) {
        let what = match meaning {
            Meaning::Nothing | Meaning::Dangling => return,
            Meaning::Latitude | Meaning::Longitude | Meaning::Position => {
                self.position = true;
                let said = readable(said);
                match meaning {
                    Meaning::Latitude if !said.is_empty() => self.latitude = Some(said),
                    Meaning::Longitude if !said.is_empty() => self.longitude = Some(said),
                    _ => {}
                }
                return;
            }
            Meaning::PlaceName => RemovedKind::PlaceName,
            Meaning::Told(what) => what,
        };
        let told = Removed::part(what, said);
        if self.properties.len() < MOST_TOLD && !self.properties.contains(&told) {
            self.properties.push(told);
        }
    }
}

/// An element that is open.
#[derive(Debug)]
struct Open<'a> {
    name: &'a str,
    start: usize,
    meaning: Meaning,
    said: String,
    /// Namespaces that were in force before it.
    namespaces: usize,
}

#[derive(Debug, Default)]
struct Walk<'a> {
    open: Vec<Open<'a>>,
    /// Prefixes and what they stand for, the innermost last.
    namespaces: Vec<(&'a str, &'a str)>,
    /// How many of the open elements go.
    going: usize,
    told: Told,
}

impl<'a> Walk<'a> {
    fn run(&mut self, text: &'a str) -> Result<(), Malformed> {
        let mut scanner = Scanner::of(text);
        while let Some((range, token)) = scanner.next()? {
            match token {
                Token::Instruction => {}
                Token::Comment => self.cut(range),
                Token::Text(text) => {
                    for open in &mut self.open {
                        if open.meaning != Meaning::Nothing && open.said.len() < LONGEST {
                            open.said.extend(text.trim().chars().take(LONGEST));
                            open.said.push(' ');
                        }
                    }
                }
                Token::Open {
                    name,
                    attributes,
                    empty,
                } => {
                    self.open_element(name, &range, &attributes)?;
                    if empty {
                        self.close_element(name, range.end)?;
                    }
                }
                Token::Close(name) => self.close_element(name, range.end)?,
            }
        }
        if self.open.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn cut(&mut self, range: Range<usize>) {
        if self.going == 0 {
            self.told.cuts.push(range);
        }
    }

    fn open_element(
        &mut self,
        name: &'a str,
        range: &Range<usize>,
        attributes: &[xml::Attribute<'a>],
    ) -> Result<(), Malformed> {
        let namespaces = self.namespaces.len();
        for attribute in attributes {
            if let Some(prefix) = attribute.name.strip_prefix("xmlns:") {
                self.namespaces.push((prefix, attribute.value));
            } else if attribute.name == "xmlns" {
                self.namespaces.push(("", attribute.value));
            }
        }
        if self.open.len() >= DEEPEST || self.namespaces.len() > MOST_NAMESPACES {
            return Err(Malformed);
        }
        let meaning = self.meaning(name);
        if meaning.goes() {
            self.going += 1;
        }
        for attribute in attributes {
            let meaning = self.meaning(attribute.name);
            self.told.note(meaning, attribute.value);
            if meaning.goes() {
                self.cut(attribute.range.clone());
            }
        }
        self.open.push(Open {
            name,
            start: range.start,
            meaning,
            said: String::new(),
            namespaces,
        });
        Ok(())
    }

    fn close_element(&mut self, name: &str, end: usize) -> Result<(), Malformed> {
        let open = self.open.pop().filter(|open| open.name == name).ok_or(Malformed)?;
        self.namespaces.truncate(open.namespaces);
        self.told.note(open.meaning, &open.said);
        if open.meaning.goes() {
            self.going -= 1;
            self.cut(open.start..end);
        }
        Ok(())
    }

    fn meaning(&self, name: &str) -> Meaning {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if prefix == "xmlns" || prefix == "xml" {
            return Meaning::Nothing;
        }
        let bound = self.namespaces.iter().rev().find(|(known, _)| *known == prefix);
        meaning(bound.map_or("", |(_, namespace)| namespace), local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKET: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:e="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:note="http://ns.adobe.com/xmp/note/" note:HasExtendedXMP="SECRET" xmlns:drone="http://www.dji.com/drone-dji/1.0/"
 e:GPSLatitude="46,27.05N" e:GPSLongitude='7,51.7E' photoshop:City="SECRETVILLE" xmp:CreatorTool="Tool 1"
 drone:GpsLatitude="SECRET">
<tiff:Model>Camera X</tiff:Model><photoshop:Country>SECRETLAND</photoshop:Country>
<!-- SECRET -->
<ext:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource"><ext:City>SECRET CITY</ext:City></rdf:li></rdf:Bag>
</ext:LocationShown><dc:creator><rdf:Seq><rdf:li>A. Person</rdf:li></rdf:Seq></dc:creator>
<dc:coverage>SECRET</dc:coverage>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"#;

    #[test]
    fn places_go_whatever_their_prefix_and_shape_and_the_rest_stays() {
        let told = read(PACKET.as_bytes()).unwrap();
        let kept = String::from_utf8(told.without_places(PACKET.as_bytes())).unwrap();
        assert!(!kept.contains("SECRET") && !kept.contains("46,27"), "{kept}");
        for stays in [
            "xmp:CreatorTool=\"Tool 1\"",
            "Camera X",
            "A. Person",
            "<?xpacket end=\"w\"?>",
        ] {
            assert!(kept.contains(stays), "{stays}: {kept}");
        }
        let again = read(kept.as_bytes()).unwrap();
        assert_eq!((again.cuts.clone(), again.places()), (vec![], vec![]));
        assert_eq!(again.without_places(kept.as_bytes()), kept.as_bytes());
    }

    #[test]
    fn what_it_tells_is_named() {
        let told: Vec<_> = read(PACKET.as_bytes())
            .unwrap()
            .everything()
            .into_iter()
            .map(|told| (told.what, told.detail))
            .collect();
        for (kind, said) in [
            (RemovedKind::GpsPosition, "46,27.05N, 7,51.7E"),
            (RemovedKind::Software, "Tool 1"),
            (RemovedKind::Camera, "Camera X"),
            (RemovedKind::PlaceName, "SECRETVILLE"),
            (RemovedKind::PlaceName, "SECRETLAND"),
            (RemovedKind::Owner, "A. Person"),
        ] {
            assert!(told.contains(&(kind, said.to_owned())), "{kind}: {told:?}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_not_edited() {
        for bad in [
            "<a>",
            "<a></b>",
            "</a>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
            "<a b=c/>",
            "<a",
            "<a><![CDATA[</a>",
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(read(b"\xff\xfe<\0a\0").is_none(), "UTF-16");
        let deep = "<a>".repeat(DEEPEST + 1) + &"</a>".repeat(DEEPEST + 1);
        assert!(read(deep.as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn damage_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = PACKET.as_bytes().to_vec();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Some(told) = read(&bytes) {
                let kept = told.without_places(&bytes);
                prop_assert!(kept.len() <= bytes.len());
                prop_assert!(read(&kept).is_some_and(|again| again.cuts.is_empty()));
            }
        }
    }
}
