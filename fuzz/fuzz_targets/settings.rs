#![no_main]
use libfuzzer_sys::fuzz_target;
use ofedctl::settings::{Layer, Settings};

fuzz_target!(|input: &str| {
    let _ = Layer::parse("fuzz", input).and_then(|layer| Settings::from_layers([layer]));
});
