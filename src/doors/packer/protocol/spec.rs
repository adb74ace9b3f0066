//! The attributes of the provisioner's block, in the two forms Packer takes them: Protocol Buffers from 1.12 on when
//! every plugin speaks them, gob before that and wherever one does not.
//!
//! From these Packer checks a template before this program sees it: unknown names, wrong types, what is missing.

use super::gob::{int, message, uint};

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Type {
    /// A text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A list of texts.
    Texts,
}

/// An attribute of the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Attribute {
    /// Its name.
    pub(in super::super) name: String,
    /// Its type.
    pub(in super::super) kind: Type,
    /// Whether a template must have it.
    pub(in super::super) required: bool,
}

/// The specification as packer-plugin-sdk's `rpc/hcl_spec.proto` has it.
pub(super) fn protobuf(attributes: &[Attribute]) -> Vec<u8> {
    let mut object = Vec::new();
    for Attribute { name, kind, required } in attributes {
        let mut attribute = Vec::new();
        length_delimited(1, name.as_bytes(), &mut attribute);
        length_delimited(2, &protobuf_type(*kind), &mut attribute);
        if *required {
            attribute.extend([3 << 3, 1]);
        }
        let mut spec = Vec::new();
        length_delimited(2, &attribute, &mut spec);
        let mut entry = Vec::new();
        length_delimited(1, name.as_bytes(), &mut entry);
        length_delimited(2, &spec, &mut entry);
        length_delimited(1, &entry, &mut object);
    }
    let mut spec = Vec::new();
    length_delimited(1, &object, &mut spec);
    spec
}

fn protobuf_type(kind: Type) -> Vec<u8> {
    let primitive = |name: &str| {
        let mut inner = Vec::new();
        length_delimited(1, name.as_bytes(), &mut inner);
        let mut outer = Vec::new();
        length_delimited(1, &inner, &mut outer);
        outer
    };
    match kind {
        Type::Text => primitive("cty.String"),
        Type::Bool => primitive("cty.Bool"),
        Type::Number => primitive("cty.Number"),
        Type::Texts => {
            let mut list = Vec::new();
            length_delimited(1, &primitive("cty.String"), &mut list);
            let mut outer = Vec::new();
            length_delimited(2, &list, &mut outer);
            outer
        }
    }
}

/// A field of wire type 2: its number, the length, the bytes.
fn length_delimited(field: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        into.push(0x80 | u8::try_from(length & 0x7f).unwrap_or(0));
        length >>= 7;
    }
    into.extend(u8::try_from(length));
    into.extend_from_slice(bytes);
}

// The types of a gob stream have numbers: those of Go's own, and ours from 65 on.
const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
const STRING: i64 = 6;
const INTERFACE: i64 = 8;
const OBJECT_SPEC: i64 = 65;
const ATTR_SPEC: i64 = 66;
const TYPE: i64 = 67;
const GOB_TYPE: i64 = 68;
const IMPLEMENTATION: i64 = 69;

/// The specification as Go's gob writes hcldec's `ObjectSpec`, a map of `AttrSpec`s behind interfaces.
pub(super) fn gob(attributes: &[Attribute]) -> Vec<u8> {
    let key = |attribute: &Attribute, into: &mut Vec<u8>| {
        message(attribute.name.as_bytes(), into);
        message(b"*hcldec.AttrSpec", into);
    };
    let mut spec = Vec::new();
    message(&map_definition(OBJECT_SPEC, "ObjectSpec", STRING, INTERFACE), &mut spec);
    let mut head = Vec::new();
    int(OBJECT_SPEC, &mut head);
    head.push(0);
    uint(attributes.len() as u64, &mut head);
    // The types a value needs are defined in the middle of it, before their first use.
    let mut rest = Vec::new();
    for (index, attribute) in attributes.iter().enumerate() {
        key(attribute, if index == 0 { &mut head } else { &mut rest });
        gob_attribute(attribute, &mut rest);
    }
    if !attributes.is_empty() {
        let fields = [("Name", STRING), ("Type", TYPE), ("Required", BOOL)];
        head.extend(struct_definition(ATTR_SPEC, "AttrSpec", &fields));
    }
    message(&head, &mut spec);
    if !attributes.is_empty() {
        message(&encoder_definition(TYPE, "Type"), &mut spec);
        message(&rest, &mut spec);
    }
    spec
}

fn gob_attribute(attribute: &Attribute, into: &mut Vec<u8>) {
    let mut fields = vec![1];
    message(attribute.name.as_bytes(), &mut fields);
    fields.push(1);
    message(&gob_type(attribute.kind), &mut fields);
    if attribute.required {
        fields.extend([1, 1]);
    }
    fields.push(0);
    int(ATTR_SPEC, into);
    message(&fields, into);
}

/// A type of zclconf/go-cty, which encodes itself as a stream of its own.
fn gob_type(kind: Type) -> Vec<u8> {
    let primitive = |letter: u8| vec![1, letter, 0];
    let (implementation, field, value) = match kind {
        Type::Text => ("primitiveType", ("Kind", UINT), primitive(b'S')),
        Type::Bool => ("primitiveType", ("Kind", UINT), primitive(b'B')),
        Type::Number => ("primitiveType", ("Kind", UINT), primitive(b'N')),
        Type::Texts => {
            let mut fields = vec![1];
            message(&gob_type(Type::Text), &mut fields);
            fields.push(0);
            ("typeList", ("ElementTypeT", TYPE), fields)
        }
    };
    let mut stream = Vec::new();
    message(&struct_definition(GOB_TYPE, "gobType", &[("Version", INT), ("Impl", INTERFACE)]), &mut stream);
    let mut head = Vec::new();
    int(GOB_TYPE, &mut head);
    head.push(2);
    message(format!("github.com/zclconf/go-cty/cty.{implementation}").as_bytes(), &mut head);
    head.extend(struct_definition(IMPLEMENTATION, implementation, &[field]));
    message(&head, &mut stream);
    if kind == Type::Texts {
        message(&encoder_definition(TYPE, "Type"), &mut stream);
    }
    let mut body = Vec::new();
    int(IMPLEMENTATION, &mut body);
    message(&value, &mut body);
    body.push(0);
    message(&body, &mut stream);
    stream
}

fn named(name: &str, id: i64, into: &mut Vec<u8>) {
    into.push(1);
    message(name.as_bytes(), into);
    into.push(1);
    int(id, into);
    into.push(0);
}

/// What every definition begins with: the number negated, which kind it is, its name and number.
fn definition(kind: u8, id: i64, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    int(-id, &mut bytes);
    bytes.extend([kind, 1]);
    named(name, id, &mut bytes);
    bytes
}

fn struct_definition(id: i64, name: &str, fields: &[(&str, i64)]) -> Vec<u8> {
    let mut bytes = definition(3, id, name);
    bytes.push(1);
    uint(fields.len() as u64, &mut bytes);
    for (field, kind) in fields {
        named(field, *kind, &mut bytes);
    }
    bytes.extend([0, 0]);
    bytes
}

fn map_definition(id: i64, name: &str, key: i64, element: i64) -> Vec<u8> {
    let mut bytes = definition(4, id, name);
    for kind in [key, element] {
        bytes.push(1);
        int(kind, &mut bytes);
    }
    bytes.extend([0, 0]);
    bytes
}

/// A type that encodes itself.
fn encoder_definition(id: i64, name: &str) -> Vec<u8> {
    let mut bytes = definition(5, id, name);
    bytes.extend([0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::hex;
    use sha2::{Digest, Sha256};

    fn attribute(name: &str, kind: Type, required: bool) -> Attribute {
        Attribute { name: name.to_owned(), kind, required }
    }

    fn digest(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    /// Captured from packer-plugin-sdk's own encoder.
    #[test]
    fn protocol_buffers_are_those_of_the_sdk() {
        assert_eq!(
            hex(&protobuf(&[attribute("duration", Type::Text, false)])),
            "0a2a0a280a086475726174696f6e121c121a0a086475726174696f6e120e0a0c0a0a6374792e537472696e67"
        );
        let two = [attribute("release", Type::Text, true), attribute("k", Type::Texts, false)];
        assert_eq!(
            hex(&protobuf(&two)),
            "0a4a0a280a0772656c65617365121d121b0a0772656c65617365120e0a0c0a0a6374792e537472696e671801\
             0a1e0a016b121912170a016b121212100a0e0a0c0a0a6374792e537472696e67"
        );
    }

    /// The first is, byte for byte, what the `sleep` provisioner of Packer 1.6.6 sends.
    #[test]
    fn gobs_are_those_of_go() {
        let one = gob(&[attribute("duration", Type::Text, false)]);
        assert_eq!(
            (one.len(), digest(&one).as_str()),
            (284, "6cfa4d5d7aa72aedfe3f2e452e1b881c75d9362eb913206d817b148a15169ff5")
        );
        let two = gob(&[attribute("release", Type::Text, true), attribute("force", Type::Bool, false)]);
        assert_eq!(
            (two.len(), digest(&two).as_str()),
            (458, "8cad946e7697fd90d837a67e227239e67bc1a07eedc5bc40bfb983c628db70fd")
        );
    }

    #[test]
    fn types_encode_themselves_as_go_cty_does() {
        let text = gob_type(Type::Text);
        assert_eq!(
            hex(&text),
            "2aff8703010107676f625479706501ff88000102010756657273696f6e0104000104496d706c01100000\
             0053ff88022b6769746875622e636f6d2f7a636c636f6e662f676f2d6374792f6374792e7072696d6974\
             69766554797065ff890301010d7072696d69746976655479706501ff8a00010101044b696e6401060000\
             0007ff8a0301530000"
        );
        let letter = text.len() - 3;
        for (kind, wanted) in [(Type::Bool, b'B'), (Type::Number, b'N')] {
            let mut same = gob_type(kind);
            assert_eq!(std::mem::replace(&mut same[letter], b'S'), wanted);
            assert_eq!(same, text);
        }
        let list = gob_type(Type::Texts);
        assert_eq!((list.len(), &digest(&list)[..16]), (289, "e801b43d74209639"));
    }
}
