//! Where the copies of one file lie.

use crate::ids::StorageId;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Most copies that a file has.
pub const MOST_REPLICAS: usize = 5;

/// One place for files: a storage, or the installation's own store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spot {
    /// What `objects_url` names.
    Main,
    /// A storage that somebody has added.
    Storage(StorageId),
}

/// The places that hold a file, in the order they are read from, and those that are being emptied of it.
///
/// As text: ids parted by spaces, `-` for [`Spot::Main`], `!` before one that is being emptied; nothing at all is `-` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    held: Vec<Spot>,
    leaving: Vec<Spot>,
}

/// A text tells no places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} tells no places of a file")]
pub struct PlacesError {
    text: String,
}

impl Places {
    /// In the installation's own store.
    #[must_use]
    pub fn main() -> Self {
        Self::of([Spot::Main])
    }

    /// In these.
    #[must_use]
    pub fn of(held: impl IntoIterator<Item = Spot>) -> Self {
        Self {
            held: held.into_iter().collect(),
            leaving: Vec::new(),
        }
    }

    /// Where it can be read.
    #[must_use]
    pub fn held(&self) -> &[Spot] {
        &self.held
    }

    /// Where it may still lie, to be removed.
    #[must_use]
    pub fn leaving(&self) -> &[Spot] {
        &self.leaving
    }

    /// Wherever it may lie.
    pub fn all(&self) -> impl Iterator<Item = &Spot> {
        self.held.iter().chain(&self.leaving)
    }

    /// Whether the file has never lain anywhere but in the installation's own store.
    #[must_use]
    pub fn is_main_alone(&self) -> bool {
        self.held == [Spot::Main] && self.leaving.is_empty()
    }

    /// The same with `to` in the place of `from`, which is being emptied from then on.
    #[must_use]
    pub fn moved(&self, from: &Spot, to: &Spot) -> Self {
        let mut moved = self.clone();
        moved.leaving.retain(|spot| spot != to);
        for spot in &mut moved.held {
            if spot == from {
                *spot = to.clone();
            }
        }
        if !moved.leaving.contains(from) {
            moved.leaving.push(from.clone());
        }
        moved
    }

    /// The same, being emptied from `from`; another place holds it.
    #[must_use]
    pub fn without(&self, from: &Spot) -> Self {
        let mut without = self.clone();
        without.held.retain(|spot| spot != from);
        if !without.leaving.contains(from) {
            without.leaving.push(from.clone());
        }
        without
    }

    /// The same without `spot` among those that are being emptied.
    #[must_use]
    pub fn left(&self, spot: &Spot) -> Self {
        let mut left = self.clone();
        left.leaving.retain(|other| other != spot);
        left
    }
}

const MAIN: &str = "-";
const LEAVING: char = '!';

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str(MAIN),
            Self::Storage(id) => id.fmt(f),
        }
    }
}

impl FromStr for Spot {
    type Err = PlacesError;
    fn from_str(text: &str) -> Result<Self, PlacesError> {
        if text == MAIN {
            return Ok(Self::Main);
        }
        let id = text.parse().map_err(|_| PlacesError { text: text.to_owned() })?;
        Ok(Self::Storage(id))
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_main_alone() {
            return Ok(());
        }
        for (number, spot) in self.held.iter().enumerate() {
            write!(f, "{}{spot}", if number == 0 { "" } else { " " })?;
        }
        self.leaving.iter().try_for_each(|spot| write!(f, " {LEAVING}{spot}"))
    }
}

impl FromStr for Places {
    type Err = PlacesError;
    fn from_str(text: &str) -> Result<Self, PlacesError> {
        let mut places = Self::of([]);
        for word in text.split_ascii_whitespace() {
            match word.strip_prefix(LEAVING) {
                Some(word) => places.leaving.push(word.parse()?),
                None => places.held.push(word.parse()?),
            }
        }
        if text.is_empty() {
            return Ok(Self::main());
        }
        if places.held.is_empty() {
            return Err(PlacesError { text: text.to_owned() });
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Entropy};
    use proptest::prelude::*;

    fn ids() -> [Spot; 2] {
        std::array::from_fn(|_| Spot::Storage(StorageId::generate(&Clock::system(), &Entropy::system())))
    }

    #[test]
    fn nothing_is_the_installations_own_store() {
        assert_eq!("".parse(), Ok(Places::main()));
        assert_eq!(Places::main().to_string(), "");
        assert_eq!("-".parse(), Ok(Places::main()));
    }

    #[test]
    fn a_file_is_moved_place_by_place() {
        let [a, b] = ids();
        let both = Places::of([Spot::Main, a.clone()]);
        assert_eq!(both.to_string(), format!("- {a}"));
        let moved = both.moved(&Spot::Main, &b);
        assert_eq!(moved.to_string(), format!("{b} {a} !-"));
        assert_eq!(moved.to_string().parse(), Ok(moved.clone()));
        assert_eq!(moved.held(), [b.clone(), a.clone()]);
        assert_eq!(moved.left(&Spot::Main), Places::of([b.clone(), a.clone()]));
        assert_eq!(both.without(&Spot::Main).to_string(), format!("{a} !-"));
        // Back again, before it was emptied.
        let back = moved.moved(&b, &Spot::Main);
        assert_eq!(back.to_string(), format!("- {a} !{b}"));
    }

    #[test]
    fn the_longest_text_fits_its_column() {
        let spots: Vec<Spot> = (0..MOST_REPLICAS).flat_map(|_| ids()).collect();
        let places = Places {
            held: spots[..MOST_REPLICAS].to_vec(),
            leaving: spots[MOST_REPLICAS..].to_vec(),
        };
        assert!(places.to_string().len() <= 280, "{}", places.to_string().len());
    }

    #[test]
    fn what_tells_no_places_is_refused() {
        for bad in ["x", " ", "!-", "--", "- -x"] {
            assert!(bad.parse::<Places>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_again(text in "[-! 0-9a-z]{0,60}") {
            if let Ok(places) = text.parse::<Places>() {
                prop_assert_eq!(places.to_string().parse(), Ok(places));
            }
        }
    }
}
