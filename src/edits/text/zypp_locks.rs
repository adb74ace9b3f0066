//! zypper's list of locks, `/etc/zypp/locks`, in the form that `zypper addlock` writes: a paragraph for each.

/// Adds a lock for each name that has none. Locks of others stay as they are.
pub(in super::super) fn add(text: &[u8], names: &[String]) -> Vec<u8> {
    let mut text = text.to_vec();
    for name in names {
        if !paragraphs(&text).any(|paragraph| is_lock_of(paragraph, name)) {
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.extend_from_slice(
                format!("\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {name}\n\n")
                    .as_bytes(),
            );
        }
    }
    text
}

/// Removes the locks of these names, except those that `before` has.
pub(in super::super) fn remove(text: &[u8], before: &[u8], names: &[String]) -> Vec<u8> {
    let has = |text: &[u8], name: &String| paragraphs(text).any(|it| is_lock_of(it, name));
    let ours: Vec<&String> = names.iter().filter(|name| !has(before, name)).collect();
    let mut left = Vec::with_capacity(text.len());
    for paragraph in paragraphs(text) {
        if !ours.iter().any(|name| is_lock_of(paragraph, name)) {
            left.extend_from_slice(paragraph);
        }
    }
    left
}

/// Each paragraph with the empty lines before it and one after it, as zypper writes them.
fn paragraphs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut length = 0;
        let mut begun = false;
        for line in rest.split_inclusive(|byte| *byte == b'\n') {
            length += line.len();
            let is_blank = line.trim_ascii().is_empty();
            if begun && is_blank {
                break;
            }
            begun |= !is_blank;
        }
        let (paragraph, left) = rest.split_at(length);
        rest = left;
        (!paragraph.is_empty()).then_some(paragraph)
    })
}

/// Whether a paragraph locks the packages of this name, and not only some of their versions or those of one repository.
fn is_lock_of(paragraph: &[u8], name: &str) -> bool {
    let lines = || paragraph.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let has = |wanted: &str| lines().any(|line| line == wanted.as_bytes());
    let known = [b"type:".as_slice(), b"match_type:", b"case_sensitive:", b"solvable_name:", b"comment:"];
    has("type: package")
        && has("match_type: glob")
        && has(&format!("solvable_name: {name}"))
        && lines().all(|line| line.is_empty() || known.iter().any(|key| line.starts_with(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lock(name: &str) -> String {
        format!("\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {name}\n\n")
    }

    #[test]
    fn locks_join_those_of_others_and_leave_them_again() {
        let ours = ["kernel-default*".to_owned(), "b".to_owned()];
        let of_a_repository = format!("\nrepo: r{}", lock("b"));
        for before in [String::new(), lock("x"), lock("b") + &lock("x"), of_a_repository] {
            let edited = add(before.as_bytes(), &ours);
            let text = String::from_utf8(edited.clone()).unwrap();
            let lacking = if before.starts_with(&lock("b")) { 1 } else { 2 };
            assert_eq!(
                text.matches("type: package").count(),
                before.matches("type: package").count() + lacking
            );
            assert!(text.starts_with(&before));
            assert_eq!(add(&edited, &ours), edited);
            let grown = text.clone() + &lock("later");
            let left = remove(grown.as_bytes(), before.as_bytes(), &ours);
            assert_eq!(String::from_utf8(left).unwrap(), before.clone() + &lock("later"));
            assert_eq!(remove(&edited, before.as_bytes(), &ours), before.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn twice_is_once_whatever_the_file_holds(text in "(type: package\n|match_type: glob\n|solvable_name: b\n|\n|x|é){0,30}") {
            let ours = ["b".to_owned(), "c*".to_owned()];
            let once = add(text.as_bytes(), &ours);
            prop_assert_eq!(&add(&once, &ours), &once);
            remove(&once, text.as_bytes(), &ours);
        }
    }
}
