//! The list of components of Azure's HPC images: a JSON object of names and versions. Other members of it belong to
//! other programs.
//!
//! Azure/azhpc-images writes it (`write_component_version` in utils/utilities.sh), indented by two spaces.

use serde_json::{Map, Value};

/// Sets the component's version. None if the text is not such a list; this program does not repair it.
pub(in super::super) fn set(text: Option<&[u8]>, component: &str, version: &str) -> Option<Vec<u8>> {
    let mut list = match text {
        Some(text) if !text.trim_ascii().is_empty() => read(text)?,
        _ => Map::new(),
    };
    if list.get(component).and_then(Value::as_str) == Some(version) {
        return text.map(<[u8]>::to_vec);
    }
    list.insert(component.to_owned(), Value::String(version.to_owned()));
    write(list)
}

/// Restores the component's earlier version, or removes the component if it had none. None if the text is not such a
/// list.
pub(in super::super) fn revert(text: &[u8], before: Option<&[u8]>, component: &str) -> Option<Vec<u8>> {
    let mut list = read(text)?;
    let listed_before = before.and_then(read);
    match listed_before.as_ref().and_then(|before| before.get(component)) {
        Some(version) => drop(list.insert(component.to_owned(), version.clone())),
        None => drop(list.shift_remove(component)),
    }
    // If the list is equal to the earlier one, the earlier text is restored with its formatting.
    if listed_before.as_ref() == Some(&list) { before.map(<[u8]>::to_vec) } else { write(list) }
}

fn read(text: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(text).ok()
}

fn write(list: Map<String, Value>) -> Option<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&Value::Object(list)).ok()?;
    text.push(b'\n');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const OTHERS: &[u8] = b"{\n  \"HPCX\": \"v2.24\",\n  \"NCCL\": {\"version\": \"2.27\"}\n}\n";

    #[test]
    fn a_version_is_set_among_others_and_taken_out_again() {
        let set_to = set(Some(OTHERS), "OFED", "24.10-4.1.4.0").unwrap();
        let list = read(&set_to).unwrap();
        assert_eq!(list.keys().collect::<Vec<_>>(), ["HPCX", "NCCL", "OFED"]);
        assert_eq!(list["OFED"], "24.10-4.1.4.0");
        assert_eq!(set(Some(&set_to), "OFED", "24.10-4.1.4.0").unwrap(), set_to);
        let grown = set(Some(&set_to), "MPI", "5").unwrap();
        let reverted = read(&revert(&grown, Some(OTHERS), "OFED").unwrap()).unwrap();
        assert_eq!(reverted.keys().collect::<Vec<_>>(), ["HPCX", "NCCL", "MPI"]);
        let older = set(Some(OTHERS), "OFED", "5.8").unwrap();
        assert_eq!(read(&revert(&grown, Some(&older), "OFED").unwrap()).unwrap()["OFED"], "5.8");
    }

    #[test]
    fn a_list_is_begun_where_there_is_none_and_what_is_no_list_is_left_alone() {
        assert_eq!(set(None, "OFED", "5.8").unwrap(), b"{\n  \"OFED\": \"5.8\"\n}\n");
        assert_eq!(set(Some(b" \n"), "OFED", "5.8"), set(None, "OFED", "5.8"));
        for odd in [&b"[]"[..], b"\"x\"", b"{", b"OFED=5.8\n", b"\xff"] {
            assert_eq!((set(Some(odd), "OFED", "5.8"), revert(odd, None, "OFED")), (None, None));
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_out_again_leaves_the_others(
            others in prop::collection::btree_map("[A-Z]{1,4}", "[0-9.]{1,6}", 0..5), version in "[0-9.-]{1,9}",
        ) {
            let text = serde_json::to_vec(&others).unwrap();
            let with = set(Some(&text), "OFED", &version).unwrap();
            prop_assert_eq!(&read(&with).unwrap()["OFED"], &version);
            let back = revert(&with, Some(&text), "OFED").unwrap();
            prop_assert_eq!(serde_json::from_slice::<BTreeMap<String, String>>(&back).unwrap(), others);
        }
    }
}
