//! Mirrors of a file: the addresses that the setting `mirrors` derives from the original one, in the order in which
//! they are tried.

use crate::host::http::without_secrets;
use crate::outcome::Reason;
use anyhow::Result;

/// The addresses from which a file can be downloaded. `url` itself is the last, unless a rule puts it elsewhere. A rule
/// `PREFIX=REPLACEMENT` replaces the prefix. To a rule that is only an address, the file's host and path are appended,
/// which is the layout of `wget --mirror`.
pub fn alternatives(mirrors: &[String], url: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for rule in mirrors {
        let other = if let Some((prefix, replacement)) = rule.split_once('=') {
            check(rule, prefix)?;
            check(rule, replacement)?;
            url.strip_prefix(prefix).map(|rest| format!("{replacement}{rest}"))
        } else {
            check(rule, rule)?;
            let (_, rest) = url.split_once("://").unwrap_or_default();
            let is_web = url.starts_with("http://") || url.starts_with("https://");
            is_web.then(|| format!("{}/{rest}", rule.trim_end_matches('/')))
        };
        found.extend(other);
    }
    found.push(url.to_owned());
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|url| seen.insert(url.clone()));
    Ok(found)
}

fn check(rule: &str, address: &str) -> Result<()> {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| ["http", "https", "oci"].contains(&scheme)) {
        return Ok(());
    }
    let rule = without_secrets(rule);
    Err(Reason::BadSettings.error(format!(
        "key `mirrors`: `{rule}`: write `https://MIRROR/` or `https://HOST/PATH/=https://MIRROR/PATH/`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://content.example/ofed/5.8/x.tgz";

    fn addresses(mirrors: &[&str]) -> Vec<String> {
        alternatives(&mirrors.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>(), URL).unwrap()
    }

    #[test]
    fn without_mirrors_there_is_the_address_itself() {
        assert_eq!(addresses(&[]), [URL]);
    }

    #[test]
    fn rules_are_tried_in_order_and_the_address_itself_last() {
        let rules =
            ["https://content.example/=http://near/c/", "https://other/=http://no/", "http://far/all/"];
        let wanted = ["http://near/c/ofed/5.8/x.tgz", "http://far/all/content.example/ofed/5.8/x.tgz", URL];
        assert_eq!(addresses(&rules), wanted);
    }

    #[test]
    fn a_rule_can_give_the_address_itself_its_place() {
        let rules = ["https://content.example/=https://content.example/", "http://far"];
        assert_eq!(addresses(&rules), [URL, "http://far/content.example/ofed/5.8/x.tgz"]);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        for rule in ["mirror", "https://a/=b", "=", "ftp://u:secret@x/"] {
            let error = alternatives(&[rule.to_owned()], URL).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::BadSettings);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_rule_makes_it_panic_and_the_address_is_always_there(rule in ".{0,40}", url in ".{0,40}") {
            if let Ok(all) = alternatives(&[rule], &url) {
                proptest::prop_assert!(all.contains(&url));
            }
        }
    }
}
