//! Walks through the XML that package managers print and keep. What is no XML between its elements, such as a key that
//! another program printed, is read as text; what ends in the middle is read as far as it goes.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

/// An element that is open.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    fn read(start: &BytesStart) -> Self {
        let attribute = |it: quick_xml::events::attributes::Attribute| {
            Some((it.key.0.to_owned(), it.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned()))
        };
        let attributes = start.attributes().with_checks(false).flatten().filter_map(attribute).collect();
        Self { name: start.name().0.to_owned(), attributes }
    }

    /// The value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What comes next inside the innermost open element.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// The element itself begins.
    Begin,
    /// A piece of text, without entities.
    Text(&'a str),
    /// The element ends.
    End,
}

/// Hands each part of a text to `visit`, with the elements that are open, the outermost first.
pub(super) fn walk(text: &str, mut visit: impl FnMut(&[Element], Part)) {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    (config.expand_empty_elements, config.check_end_names) = (true, false);
    (config.allow_unmatched_ends, config.allow_dangling_amp) = (true, true);
    let mut open: Vec<Element> = Vec::new();
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(start) => {
                open.push(Element::read(&start));
                visit(&open, Part::Begin);
            }
            Event::End(end) => {
                // What was no element, such as `<build@example.com>` in a text, is left open inside.
                let Some(at) = open.iter().rposition(|element| element.name == end.name().0) else {
                    continue;
                };
                open.truncate(at + 1);
                visit(&open, Part::End);
                open.pop();
            }
            Event::Text(text) => visit(&open, Part::Text(&text.xml10_content())),
            Event::CData(text) => visit(&open, Part::Text(&text.xml10_content())),
            Event::GeneralRef(named) => visit(&open, Part::Text(&resolved(&named))),
            Event::Eof => break,
            _ => {}
        }
    }
}

fn resolved(named: &BytesRef) -> String {
    let name = named.xml10_content();
    let known = || resolve_xml_entity(&name).map_or_else(|| format!("&{name};"), str::to_owned);
    named.resolve_char_ref().ok().flatten().map_or_else(known, String::from)
}

/// Whether an element of this name is open.
pub(super) fn is_in(open: &[Element], name: &str) -> bool {
    open.iter().any(|element| element.name == name)
}

/// The innermost open element, if it stands directly in one of this name.
pub(super) fn child_of<'a>(open: &'a [Element], parent: &str) -> Option<&'a Element> {
    match open {
        [.., outer, innermost] if outer.name == parent => Some(innermost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        walk(text, |open, part| {
            let path = open.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join("/");
            seen.push(format!("{path} {part:?} {}", open.last().and_then(|it| it.get("a")).unwrap_or("-")));
        });
        seen
    }

    #[test]
    fn elements_attributes_and_entities_are_read() {
        let seen = walked(
            "<?xml version='1.0'?><x><!-- <y a=\"2\"/> --><y a='it&apos;s > 1'/>a&amp;&#98;<![CDATA[<c>]]></x>",
        );
        let wanted = [
            "x Begin -",
            "x/y Begin it's > 1",
            "x/y End it's > 1",
            "x Text(\"a\") -",
            "x Text(\"&\") -",
            "x Text(\"b\") -",
            "x Text(\"<c>\") -",
            "x End -",
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn several_documents_with_text_between_them_are_read_as_far_as_they_go() {
        let seen = walked(
            "<?xml version='1.0'?><x></x>\n-----BEGIN & END\n<?xml version='1.0'?><x a=\"1\"/><y a=\"",
        );
        assert_eq!(seen.iter().filter(|part| part.contains("Begin")).count(), 2, "{seen:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_walk_panic(text in "(<x|</x>|<y a=\"|\"|/>|>|<|&|&lt;|&#|;|<!\\[CDATA\\[|\\]\\]>|<!--|-->|é|[a-z0-9 \n]){0,60}") {
            walk(&text, |_, _| ());
        }
    }
}
