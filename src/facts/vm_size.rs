//! What a VM size's name tells about InfiniBand: by the table, or by Azure's naming rule for names newer than the
//! table. The name is used for error messages, for the adapter's generation and for the number of adapters to expect.
//! On a running machine the hardware tells whether there is InfiniBand. Azure's SKU capability `RdmaEnabled`, which
//! microsoft/lisa uses, cannot be read from inside a VM.

use super::vm_size_table::{FAMILIES, Fabric, SizeFamily};
use crate::target::{Arch, Nic};
use serde::{Deserialize, Serialize};

/// What a size has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum SizeVerdict {
    /// InfiniBand through SR-IOV.
    Rdma(RdmaSize),
    /// The old paravirtual Network Direct, which no driver of this program serves.
    LegacyNd {
        /// The series.
        series: String,
    },
    /// No InfiniBand.
    NotRdma,
}

/// What to expect of a size with InfiniBand. All of it is unknown when the size is newer than the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RdmaSize {
    /// The series, `HBv3`.
    pub series: Option<String>,
    /// The adapter's generation.
    pub nic: Option<Nic>,
    /// Adapters per VM.
    pub hcas: Option<u32>,
    /// The rate of each, in Gb/s.
    pub gbps: Option<u32>,
    /// The processor.
    pub arch: Option<Arch>,
}

/// The network of a size. The name may be in any case, because the platform is not consistent, and may lack
/// `Standard_`.
pub fn verdict(size: &str) -> SizeVerdict {
    let name = short_name(size);
    let Some(family) = family(&name) else {
        return if looks_rdma(&name) { SizeVerdict::Rdma(RdmaSize::default()) } else { SizeVerdict::NotRdma };
    };
    match family.fabric {
        Fabric::SrIov => SizeVerdict::Rdma(RdmaSize {
            series: Some(family.series.to_owned()),
            nic: family.nic,
            hcas: family.hcas,
            gbps: family.gbps,
            arch: Some(family.arch),
        }),
        Fabric::NetworkDirect => SizeVerdict::LegacyNd { series: family.series.to_owned() },
        Fabric::Nothing => SizeVerdict::NotRdma,
    }
}

/// Whether the table has a size, or it is of one of Azure's families that never had InfiniBand.
pub fn is_known(size: &str) -> bool {
    let name = short_name(size);
    let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    family(&name).is_some() || OTHER_FAMILIES.contains(&&name[..digits])
}

/// The name prefixes, before the first number, of Azure's sizes without InfiniBand ("Sizes for virtual machines in
/// Azure").
const OTHER_FAMILIES: [&str; 19] = [
    "a", "b", "basic_a", "d", "dc", "ds", "e", "ec", "eb", "f", "fx", "g", "gs", "l", "m", "np", "ng", "nv",
    "pb",
];

/// The message about an unknown size, which is most likely mistyped, with similar known sizes.
pub fn unknown(size: &str) -> Option<String> {
    if is_known(size) {
        return None;
    }
    let near: Vec<String> = nearest(size).iter().map(|size| format!("Standard_{size}")).collect();
    let near = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    Some(format!("no VM size is known by the name `{size}`{near}"))
}

/// The sizes in the table that are most similar to a name, the most similar first.
fn nearest(size: &str) -> Vec<&'static str> {
    let name = short_name(size);
    let sizes =
        FAMILIES.iter().filter(|family| family.fabric == Fabric::SrIov).flat_map(|family| family.sizes);
    let mut near: Vec<(f64, &str)> =
        sizes.map(|size| (strsim::jaro_winkler(&name, &size.to_ascii_lowercase()), *size)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take_while(|(likeness, _)| *likeness > 0.8).take(3).map(|(_, size)| size).collect()
}

/// The day Azure retires a size, where it was announced, and what takes its place, in a sentence fragment.
pub fn retirement(size: &str) -> Option<String> {
    let family = family(&short_name(size))?;
    let day = family.retires?;
    let successors: Vec<String> = family.successors.iter().map(|size| format!("Standard_{size}")).collect();
    Some(format!("Azure retires the series of {size}: {day}; in its place: {}", successors.join(", ")))
}

/// How long a message of a byte takes between two VMs of a size, in nanoseconds, where Azure documents it.
pub fn latency_ns(size: &str) -> Option<u32> {
    family(&short_name(size))?.latency_ns
}

fn short_name(size: &str) -> String {
    let name = size.trim().to_ascii_lowercase();
    name.strip_prefix("standard_").map(str::to_owned).unwrap_or(name)
}

/// The table's row for a name. A constrained-core size that is not in the table has the row of the full size.
fn family(name: &str) -> Option<&'static SizeFamily> {
    let row = |name: &str| {
        FAMILIES.iter().find(|family| family.sizes.iter().any(|size| size.eq_ignore_ascii_case(name)))
    };
    row(name).or_else(|| row(&whole_size(name)?))
}

/// `hb120-8rs_v3` is a part of `hb120rs_v3`.
fn whole_size(name: &str) -> Option<String> {
    let (front, back) = name.split_once('-')?;
    let rest = back.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < back.len()).then(|| format!("{front}{rest}"))
}

/// The rule behind Azure's names, for sizes newer than the table: the letter `r` among the additive letters of an
/// H- or N-family size. As a pattern, with `Standard_` taken off:
///
/// ```text
/// a[89] | (h[bcx]?|nc|nd) digits (-digits)? letters-with-r (g digits)? (_token)*
/// ```
///
/// Only the first token counts: `_Promo` and `_RTXPRO6000BSE` have an r too. Checked against 1,851 published
/// names, with 57 hits and no false one.
fn looks_rdma(name: &str) -> bool {
    if matches!(name, "a8" | "a9") {
        return true;
    }
    let mut tokens = name.split('_');
    let first = tokens.next().unwrap_or_default();
    for token in tokens {
        let well_formed = !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric());
        // These size names mean a machine without InfiniBand.
        if !well_formed || matches!(token, "eth" | "metal" | "noib") {
            return false;
        }
    }
    let Some(rest) = after_family(first).and_then(after_digits) else { return false };
    let Some(letters) = (match rest.strip_prefix('-') {
        Some(rest) => after_digits(rest),
        None => Some(rest),
    }) else {
        return false;
    };
    let end = letters.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(letters.len());
    let (letters, generation) = letters.split_at(end);
    let additive = match letters.strip_suffix('g') {
        Some(additive) if !generation.is_empty() => additive,
        _ if generation.is_empty() => letters,
        _ => return false,
    };
    additive.contains('r') && generation.chars().all(|c| c.is_ascii_digit())
}

fn after_family(name: &str) -> Option<&str> {
    let families = ["hb", "hc", "hx", "h", "nc", "nd"];
    families.iter().find_map(|family| name.strip_prefix(family))
}

/// What follows the digits, of which there must be one at least.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rdma_size(size: &str) -> RdmaSize {
        match verdict(size) {
            SizeVerdict::Rdma(size) => size,
            other => panic!("{size}: {other:?}"),
        }
    }

    #[test]
    fn the_rule_and_the_table_agree() {
        for family in FAMILIES {
            for size in family.sizes {
                let expected = family.fabric != Fabric::Nothing;
                assert_eq!(looks_rdma(&size.to_ascii_lowercase()), expected, "{size}");
            }
        }
    }

    #[test]
    fn every_size_of_the_table_is_known_in_any_case_and_without_standard() {
        for family in FAMILIES {
            for size in family.sizes {
                let verdicts: Vec<SizeVerdict> = [
                    format!("Standard_{size}"),
                    format!("STANDARD_{size}").to_uppercase(),
                    format!("standard_{size}").to_lowercase(),
                    format!(" {size}\n"),
                ]
                .iter()
                .map(|name| verdict(name))
                .collect();
                assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{size}: {verdicts:?}");
                match (&verdicts[0], family.fabric) {
                    (SizeVerdict::Rdma(found), Fabric::SrIov) => {
                        assert_eq!(found.series.as_deref(), Some(family.series), "{size}");
                    }
                    (SizeVerdict::LegacyNd { .. }, Fabric::NetworkDirect)
                    | (SizeVerdict::NotRdma, Fabric::Nothing) => {}
                    (found, fabric) => panic!("{size}: {found:?} for {fabric:?}"),
                }
            }
        }
    }

    #[test]
    fn adapters_are_as_documented() {
        for (size, nic, hcas, gbps, arch) in [
            ("Standard_NC24rs_v3", Nic::Cx3Pro, 1, 56, Arch::X86_64),
            ("Standard_ND40rs_v2", Nic::Cx5, 1, 100, Arch::X86_64),
            ("Standard_HC44-16rs", Nic::Cx5, 1, 100, Arch::X86_64),
            ("Standard_hb120rs_v3", Nic::Cx6, 1, 200, Arch::X86_64),
            ("Standard_HB176-24rs_v4", Nic::Cx7, 1, 400, Arch::X86_64),
            ("Standard_HX176rs", Nic::Cx7, 1, 400, Arch::X86_64),
            ("Standard_HB368-48rs_v5", Nic::Cx7, 4, 200, Arch::X86_64),
            ("Standard_ND96amsr_A100_v4", Nic::Cx6, 8, 200, Arch::X86_64),
            ("Standard_ND96isrf_H200_v5", Nic::Cx7, 8, 400, Arch::X86_64),
            ("Standard_ND128isr_NDR_GB200_v6", Nic::Cx7, 4, 400, Arch::Aarch64),
            ("Standard_ND128isrG5_GB300_v6", Nic::Cx8, 4, 800, Arch::Aarch64),
        ] {
            let found = rdma_size(size);
            assert_eq!(
                (found.nic, found.hcas, found.gbps, found.arch),
                (Some(nic), Some(hcas), Some(gbps), Some(arch)),
                "{size}"
            );
        }
        assert_eq!(
            (rdma_size("Standard_ND128isr_VR200_v6").nic, rdma_size("ND128isr_VR200_v6").arch),
            (None, Some(Arch::Aarch64))
        );
    }

    #[test]
    fn a_part_of_a_size_is_like_the_whole() {
        assert_eq!(rdma_size("Standard_HB120-8rs_v3"), rdma_size("Standard_HB120rs_v3"));
        assert_eq!(rdma_size("Standard_HB368-24rs_v5").hcas, Some(4));
    }

    #[test]
    fn names_newer_than_the_table_go_by_the_rule() {
        for size in
            ["Standard_HB500rs_v9", "HB512-256rs_v6", "Standard_ND200isrG6_X1_v8", "Standard_HC99r", "H1r"]
        {
            assert_eq!(rdma_size(size), RdmaSize::default(), "{size}");
        }
    }

    #[test]
    fn look_alikes_have_none() {
        for size in [
            "Standard_D4s_v5",
            "Standard_NC64as_T4_v3",
            "Standard_NC6_Promo",
            "Standard_H16_Promo",
            "Standard_NC256ds_xl_RTXPRO6000BSE_v6",
            "Standard_NV36ads_A10_v5",
            "Standard_NG32ads_V620_v1",
            "Standard_NV24r",
            "Standard_A80",
            "Standard_A8_v2",
            "Standard_A8m_v2",
            "Standard_DC4s_v3",
            "Standard_ND144ISR_ETH_GB300_METAL_V6",
            "ND144ISR_ETH_GB200_METAL_V6",
            "Standard_HBrs_v3",
            "Standard_HB120-rs_v3",
            "Standard_HB120rs_v3!",
            "Standard_HB120rs_",
            "Standard_HB120rs5_v3",
            "Standard_HB120g5_v3",
            "Standard_ND128isg5r_v6",
            "xStandard_HB120rs_v3",
            "Basic_A1",
            "Standard_",
            "",
        ] {
            assert_eq!(verdict(size), SizeVerdict::NotRdma, "{size}");
        }
    }

    #[test]
    fn network_direct_is_its_own_verdict() {
        for size in ["Standard_A8", "a9", "Standard_H16mr_Promo", "standard_nc24r"] {
            assert!(matches!(verdict(size), SizeVerdict::LegacyNd { .. }), "{size}");
        }
        // These sizes changed to SR-IOV, so the hardware has to be checked.
        assert_eq!(
            (rdma_size("Standard_NC24rs_v2").nic, rdma_size("Standard_ND24rs").nic),
            (Some(Nic::Cx3Pro), Some(Nic::Cx3Pro))
        );
    }

    #[test]
    fn a_verdict_reads_back_from_json() {
        for size in ["Standard_HB120rs_v3", "Standard_HB500rs_v9", "Standard_A8", "Standard_D4s_v5"] {
            let json = serde_json::to_string(&verdict(size)).unwrap();
            assert_eq!(serde_json::from_str::<SizeVerdict>(&json).unwrap(), verdict(size), "{json}");
        }
        assert_eq!(serde_json::to_string(&SizeVerdict::NotRdma).unwrap(), r#"{"verdict":"not-rdma"}"#);
    }

    proptest! {
        #[test]
        fn any_text_has_a_verdict(text in "\\PC*") {
            let _ = verdict(&text);
        }

        #[test]
        fn an_r_after_the_first_token_means_nothing(
            size in "(h|hb|hc|hx|nc|nd)[0-9]{1,3}(-[0-9]{1,3})?[a-qs-z]{0,5}", rest in "(_[a-z0-9]{1,8}){1,3}"
        ) {
            let name = format!("{size}{rest}");
            prop_assert!(!looks_rdma(&name));
        }

        #[test]
        fn an_r_in_the_first_token_means_rdma(
            family in "(h|hb|hc|hx|nc|nd)", cores in "[0-9]{1,3}(-[0-9]{1,3})?", a in "[a-z]{0,3}", b in "[a-z]{0,3}",
            version in "(_v[0-9])?"
        ) {
            let name = format!("{family}{cores}{a}r{b}{version}");
            prop_assert!(looks_rdma(&name));
        }
    }
}
