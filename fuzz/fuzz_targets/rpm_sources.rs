#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| ofedctl_fuzz::rpm_sources(input));
