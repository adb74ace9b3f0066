//! Azure's VM sizes that have InfiniBand, had it, or look as if they had: one table, from which the checks, the
//! expectations and the table in docs/support.md are made.
//!
//! Sources: MicrosoftDocs/azure-compute-docs, the page of each series and "Retired and retiring VM size series";
//! adapters per VM and their rates also in Azure/azurehpc-health-checks, conf/*.conf (`check_hw_ib RATE DEVICE`).
//! Where a row rests on something else, its `source` says so.

use crate::target::{Arch, Nic};

/// What the adapter of a size is to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fabric {
    /// A virtual function of a Mellanox adapter, which OFED and the kernel's own driver can drive.
    SrIov,
    /// The paravirtual Network Direct adapter, which they cannot.
    NetworkDirect,
    /// None, although the name is close to one that has it.
    Nothing,
}

/// The sizes of one series that share an adapter.
#[derive(Debug, Clone, Copy)]
pub struct SizeFamily {
    /// The series' name in Azure's documentation.
    pub series: &'static str,
    /// The exact sizes, without `Standard_`.
    pub sizes: &'static [&'static str],
    /// What the guest sees.
    pub fabric: Fabric,
    /// The adapter's generation.
    pub nic: Option<Nic>,
    /// Adapters per VM.
    pub hcas: Option<u32>,
    /// The rate of each, in Gb/s.
    pub gbps: Option<u32>,
    /// How long a message of a byte takes to another VM of the series, in nanoseconds, where Azure documents it.
    pub latency_ns: Option<u32>,
    /// The processor.
    pub arch: Arch,
    /// The day Azure retires the series, where it was announced. Images for it may be in use until then, and
    /// descriptions of it after.
    pub retires: Option<&'static str>,
    /// The sizes with InfiniBand that take the place of a retired or retiring series, as Microsoft orders them.
    pub successors: &'static [&'static str],
    /// Where the row comes from.
    pub source: &'static str,
}

const PAGES: &str = "azure-compute-docs, page of the series";

/// The retirement pages of HC and `HBv2` name these series, in this order; the size is the largest of each. Of the series
/// that the pages of H and HB name, `HBv3` alone has no end yet. A is taken like H.
const HPC: &[&str] = &["HB368rs_v5", "HB176rs_v4", "HX176rs", "HB120rs_v3"];

/// "Migration Guide for GPU Compute Workloads in Azure" names this size for the one with InfiniBand of ND. For those of
/// NC it names sizes without InfiniBand, or V100 sizes that have been retired since.
const GPU: &[&str] = &["ND96amsr_A100_v4"];

const fn ib(
    series: &'static str,
    nic: Nic,
    (hcas, gbps): (u32, u32),
    sizes: &'static [&'static str],
) -> SizeFamily {
    SizeFamily {
        series,
        sizes,
        fabric: Fabric::SrIov,
        nic: Some(nic),
        hcas: Some(hcas),
        gbps: Some(gbps),
        latency_ns: None,
        arch: Arch::X86_64,
        retires: None,
        successors: &[],
        source: PAGES,
    }
}

const fn nothing(series: &'static str, sizes: &'static [&'static str]) -> SizeFamily {
    let row = ib(series, Nic::Cx7, (0, 0), sizes);
    SizeFamily { fabric: Fabric::Nothing, nic: None, hcas: None, gbps: None, ..row }
}

impl SizeFamily {
    const fn network_direct(self) -> Self {
        Self { fabric: Fabric::NetworkDirect, ..self }
    }
    const fn retires(self, day: &'static str, successors: &'static [&'static str]) -> Self {
        Self { retires: Some(day), successors, ..self }
    }
    const fn aarch64(self) -> Self {
        Self { arch: Arch::Aarch64, ..self }
    }
    /// The row "RDMA latency & bandwidth" of the series' page "performance and scalability".
    const fn latency(self, nanoseconds: u32) -> Self {
        Self { latency_ns: Some(nanoseconds), ..self }
    }
    const fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }
    const fn adapter_unknown(self) -> Self {
        Self { nic: None, hcas: None, gbps: None, ..self }
    }
}

/// Every series, oldest first within its family.
#[rustfmt::skip]
pub const FAMILIES: &[SizeFamily] = &[
    SizeFamily { nic: None, ..ib("A", Nic::Cx3Pro, (1, 40), &["A8", "A9"]) }.network_direct().retires("2021-03", HPC),
    ib("H", Nic::Cx3Pro, (1, 56), &["H16r", "H16mr", "H16r_Promo", "H16mr_Promo"])
        .network_direct().retires("2022-08-31", HPC),
    ib("HB", Nic::Cx5, (1, 100), &["HB60rs", "HB60-45rs", "HB60-30rs", "HB60-15rs"])
        .latency(1270).retires("2024-08-31", HPC),
    ib("HC", Nic::Cx5, (1, 100), &["HC44rs", "HC44-32rs", "HC44-16rs"])
        .latency(1050).retires("2027-05-31", HPC),
    ib("HBv2", Nic::Cx6, (1, 200), &[
        "HB120rs_v2", "HB120-96rs_v2", "HB120-64rs_v2", "HB120-32rs_v2", "HB120-16rs_v2",
    ]).latency(1200).retires("2027-05-31", HPC),
    ib("HBv3", Nic::Cx6, (1, 200), &[
        "HB120rs_v3", "HB120-96rs_v3", "HB120-64rs_v3", "HB120-32rs_v3", "HB120-16rs_v3",
    ]).latency(1200),
    ib("HBv4", Nic::Cx7, (1, 400), &[
        "HB176rs_v4", "HB176-144rs_v4", "HB176-96rs_v4", "HB176-48rs_v4", "HB176-24rs_v4",
    ]).latency(2000),
    ib("HX", Nic::Cx7, (1, 400), &["HX176rs", "HX176-144rs", "HX176-96rs", "HX176-48rs", "HX176-24rs"])
        .latency(2000),
    ib("HBv5", Nic::Cx7, (4, 200), &[
        "HB368rs_v5", "HB368-336rs_v5", "HB368-288rs_v5", "HB368-240rs_v5", "HB368-192rs_v5", "HB368-144rs_v5",
        "HB368-96rs_v5", "HB368-48rs_v5",
    ]).latency(2000),
    ib("NC", Nic::Cx3Pro, (1, 56), &["NC24r", "NC24r_Promo"]).network_direct().retires("2023-09-06", GPU),
    // NCv2 and ND changed from Network Direct to SR-IOV during their life, so the hardware decides.
    ib("NCv2", Nic::Cx3Pro, (1, 56), &["NC24rs_v2"]).retires("2023-09-06", GPU),
    ib("NCv3", Nic::Cx3Pro, (1, 56), &["NC24rs_v3"]).retires("2025-09-30", GPU),
    ib("ND", Nic::Cx3Pro, (1, 56), &["ND24rs"]).retires("2023-09-06", GPU),
    ib("NDv2", Nic::Cx5, (1, 100), &["ND40rs_v2"]),
    ib("ND A100 v4", Nic::Cx6, (8, 200), &["ND96asr_v4", "ND96asr_A100_v4"]),
    ib("NDm A100 v4", Nic::Cx6, (8, 200), &["ND96amsr_A100_v4"]),
    ib("ND MI200 v4", Nic::Cx6, (8, 200), &["ND96asr_MI200_v4"]).source("no public page; as ND A100 v4"),
    ib("ND H100 v5", Nic::Cx7, (8, 400), &["ND96isr_H100_v5", "ND96isrf_H100_v5"]),
    ib("ND H200 v5", Nic::Cx7, (8, 400), &["ND96isr_H200_v5", "ND96isrf_H200_v5"]),
    ib("ND MI300X v5", Nic::Cx7, (8, 400), &["ND96isr_MI300X_v5"]),
    ib("ND GB200 v6", Nic::Cx7, (4, 400), &["ND128isr_NDR_GB200_v6", "ND128isrf_NDR_GB200_v6"]).aarch64(),
    ib("ND GB300 v6", Nic::Cx8, (4, 800), &["ND128isr_GB300_v6", "ND128isrG5_GB300_v6"])
        .aarch64().source("page of the series; the generation follows from the rate, which no earlier one reaches"),
    ib("ND VR200 v6", Nic::Cx8, (0, 0), &["ND128isr_VR200_v6"])
        .adapter_unknown().aarch64().source("azhpc-images, build scripts of 2026"),
    nothing("A", &["A10", "A11"]).retires("2021-03", HPC),
    nothing("H", &["H8", "H8m", "H16", "H16m", "H8_Promo", "H8m_Promo", "H16_Promo", "H16m_Promo"])
        .retires("2022-08-31", HPC),
    nothing("NC, NCv2", &["NC24s_v2", "NC24_Promo", "NC6_Promo", "NC12_Promo"]).retires("2023-09-06", GPU),
    nothing("NCv3", &["NC24s_v3"]).retires("2025-09-30", GPU),
    nothing("ND", &["ND24s"]).retires("2023-09-06", GPU),
    nothing("NDv2", &["ND40s_v2"]),
    nothing("NC A100 v4", &["NC24ads_A100_v4", "NC48ads_A100_v4", "NC96ads_A100_v4"]),
    nothing("NC H100 v5", &["NC40ads_H100_v5", "NC80adis_H100_v5", "NCC40ads_H100_v5"]),
    nothing("NCas T4 v3", &["NC4as_T4_v3", "NC8as_T4_v3", "NC16as_T4_v3", "NC64as_T4_v3"]),
    // Their RDMA is Ethernet's.
    nothing("NC RTX PRO 6000 v6", &[
        "NC128ds_xl_RTXPRO6000BSE_v6", "NC128lds_xl_RTXPRO6000BSE_v6", "NC144ds_xl_RTXPRO6000BSE_v6",
    ]),
    nothing("NDm A100 v4", &["ND96ams_A100_v4"]),
    nothing("ND H100 v5", &[
        "ND96is_H100_v5", "ND96isf_H100_v5", "ND96is_flex_H100_v5", "ND96is_noIB_H100_v5",
    ]),
    // Shows an Ethernet verbs device, mlx5_an0.
    nothing("ND H200 v5", &["ND96is_H200_v5"]).source("azurehpc-health-checks, conf/nd96is_h200_v5.conf"),
    nothing("ND MI300X v5", &["ND96is_MI300X_v5"]),
    nothing("ND GB200 v6, bare metal", &["ND144isr_ETH_GB200_METAL_v6"])
        .aarch64().source("azhpc-images, build scripts: an Ethernet fabric"),
];

/// The sizes with InfiniBand as a Markdown table, for docs/support.md.
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| Series | VM sizes | Adapters | Driver | Architecture | Retires |\n|---|---|---|---|---|---|\n",
    );
    for family in FAMILIES.iter().filter(|family| family.fabric != Fabric::Nothing) {
        let adapters = match (family.hcas, family.gbps, family.nic) {
            (Some(hcas), Some(gbps), Some(nic)) => format!("{hcas} x {gbps} Gb/s, {nic}"),
            (Some(hcas), Some(gbps), None) => format!("{hcas} x {gbps} Gb/s"),
            _ => "not known yet".to_owned(),
        };
        let driver = match (family.fabric, family.nic) {
            (Fabric::NetworkDirect, _) => "none: Network Direct",
            (_, Some(nic)) => nic.kernel_driver(),
            (_, None) => "",
        };
        let sizes: Vec<String> = family.sizes.iter().map(|size| format!("`{size}`")).collect();
        let row = format!(
            "| {} | {} | {adapters} | {driver} | {} | {} |\n",
            family.series,
            sizes.join(", "),
            family.arch,
            retirement(family)
        );
        table.push_str(&row);
    }
    table
}

/// The day and what to take in its place, as the table tells them.
fn retirement(family: &SizeFamily) -> String {
    let Some(day) = family.retires else { return String::new() };
    let successors: Vec<String> = family.successors.iter().map(|size| format!("`{size}`")).collect();
    format!("{day}; then {}", successors.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_stands_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for size in FAMILIES.iter().flat_map(|family| family.sizes) {
            assert!(seen.insert(size.to_ascii_lowercase()), "{size}");
            assert!(size.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{size}");
        }
    }

    #[test]
    fn a_row_with_sr_iov_knows_its_adapter_or_nothing_of_it() {
        for family in FAMILIES {
            let known = (family.nic.is_some(), family.hcas.is_some(), family.gbps.is_some());
            match family.fabric {
                Fabric::SrIov => assert!(known.0 == known.1 && known.1 == known.2, "{}", family.series),
                Fabric::NetworkDirect => assert!(known.1 && known.2, "{}", family.series),
                Fabric::Nothing => assert_eq!(known, (false, false, false), "{}", family.series),
            }
            assert!(family.hcas.is_none_or(|hcas| (1..=8).contains(&hcas)), "{}", family.series);
        }
    }

    #[test]
    fn what_a_retired_series_leads_to_has_infiniband_and_no_end() {
        for family in FAMILIES {
            assert_eq!(family.retires.is_some(), !family.successors.is_empty(), "{}", family.series);
            for size in family.successors {
                let row = FAMILIES.iter().find(|row| row.sizes.contains(size)).unwrap();
                assert!(row.fabric == Fabric::SrIov && row.retires.is_none(), "{}: {size}", family.series);
            }
        }
    }

    #[test]
    fn the_readme_table_has_every_size_with_infiniband_and_no_other() {
        let table = markdown_table();
        for family in FAMILIES {
            for size in family.sizes {
                assert_eq!(table.contains(&format!("`{size}`")), family.fabric != Fabric::Nothing, "{size}");
            }
        }
        assert!(
            table.contains("| HBv5 | `HB368rs_v5`, ")
                && table.contains("| 4 x 200 Gb/s, cx7 | mlx5 | x86_64 |")
        );
    }
}
