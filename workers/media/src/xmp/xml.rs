//! As much XML 1.0 as a packet of XMP has: tags, attributes, text, each with its place. No entities are expanded, no
//! document type is read.

use std::ops::Range;

/// Attributes of one element at most.
const MOST_ATTRIBUTES: usize = 500;

/// It is no well-formed XML, or uses what XMP does not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// From the white space before it to its closing quote.
    pub(super) range: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open {
        name: &'a str,
        attributes: Vec<Attribute<'a>>,
        /// It closes itself.
        empty: bool,
    },
    Close(&'a str),
    Text(&'a str),
    Comment,
    Instruction,
}

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    place: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, place: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.place..).unwrap_or_default()
    }

    /// The next token and where it stands; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Range<usize>, Token<'a>)>, Malformed> {
        let start = self.place;
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        let token = if !rest.starts_with('<') {
            let length = rest.find('<').unwrap_or(rest.len());
            Token::Text(self.take(length)?)
        } else if rest.starts_with("<!--") {
            self.until("-->")?;
            Token::Comment
        } else if rest.starts_with("<?") {
            self.until("?>")?;
            Token::Instruction
        } else if let Some(inner) = rest.strip_prefix("<![CDATA[") {
            let text = inner.get(..inner.find("]]>").ok_or(Malformed)?).ok_or(Malformed)?;
            self.until("]]>")?;
            Token::Text(text)
        } else if let Some(inner) = rest.strip_prefix("</") {
            let name = inner.get(..inner.find('>').ok_or(Malformed)?).ok_or(Malformed)?;
            self.until(">")?;
            Token::Close(name.trim_ascii_end())
        } else if rest.starts_with("<!") {
            return Err(Malformed);
        } else {
            self.place += 1;
            self.open()?
        };
        Ok(Some((start..self.place, token)))
    }

    fn take(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let taken = self.rest().get(..length).ok_or(Malformed)?;
        self.place += length;
        Ok(taken)
    }

    fn until(&mut self, end: &str) -> Result<(), Malformed> {
        self.place += self.rest().find(end).ok_or(Malformed)? + end.len();
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/' | '>' | '<' | '"' | '\'');
        let length = self.rest().find(ends).ok_or(Malformed)?;
        if length == 0 {
            return Err(Malformed);
        }
        self.take(length)
    }

    fn white(&mut self) {
        self.place += self.rest().len() - self.rest().trim_ascii_start().len();
    }

    fn open(&mut self) -> Result<Token<'a>, Malformed> {
        let name = self.name()?;
        let mut attributes = Vec::new();
        loop {
            let start = self.place;
            self.white();
            let empty = self.rest().starts_with("/>");
            if empty || self.rest().starts_with('>') {
                self.place += if empty { 2 } else { 1 };
                return Ok(Token::Open {
                    name,
                    attributes,
                    empty,
                });
            }
            if start == self.place || attributes.len() >= MOST_ATTRIBUTES {
                return Err(Malformed);
            }
            let name = self.name()?;
            self.white();
            if self.take(1)? != "=" {
                return Err(Malformed);
            }
            self.white();
            let quote = self.take(1)?;
            if quote != "\"" && quote != "'" {
                return Err(Malformed);
            }
            let value = self.take(self.rest().find(quote).ok_or(Malformed)?)?;
            self.place += 1;
            attributes.push(Attribute {
                name,
                value,
                range: start..self.place,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_have_their_places() {
        let text = "<?x?><a  b='1' c = \"<\"><!-- d --><e/>f</a >";
        let mut scanner = Scanner::of(text);
        let mut seen = Vec::new();
        while let Some((range, token)) = scanner.next().unwrap() {
            seen.push((&text[range], token));
        }
        let attribute = |name, value, range| Attribute { name, value, range };
        assert_eq!(
            seen,
            [
                ("<?x?>", Token::Instruction),
                (
                    "<a  b='1' c = \"<\">",
                    Token::Open {
                        name: "a",
                        attributes: vec![attribute("b", "1", 7..14), attribute("c", "<", 14..22)],
                        empty: false
                    }
                ),
                ("<!-- d -->", Token::Comment),
                (
                    "<e/>",
                    Token::Open {
                        name: "e",
                        attributes: vec![],
                        empty: true
                    }
                ),
                ("f", Token::Text("f")),
                ("</a >", Token::Close("a")),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_or_hangs(text in "[<>/a:='\" !\\-?é\\[\\]]{0,60}") {
            let mut scanner = Scanner::of(&text);
            while let Ok(Some((range, _))) = scanner.next() {
                prop_assert!(!range.is_empty());
            }
        }
    }
}
