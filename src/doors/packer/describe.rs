//! `describe`: what Packer asks a plugin before anything else, and before it is installed.

use super::protocol::{API_VERSION, DEFAULT_COMPONENT};
use serde_json::json;

/// The release of packer-plugin-sdk whose protocol is spoken here. Packer shows it and decides nothing by it.
const SDK_VERSION: &str = "0.6.10";

/// The version of the protocol, as file names and `describe` have it.
pub(super) fn api_version() -> String {
    let (major, minor) = API_VERSION;
    format!("x{major}.{minor}")
}

/// The answer, one line of JSON.
pub(super) fn description() -> String {
    let none: [&str; 0] = [];
    let description = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "sdk_version": SDK_VERSION,
        "api_version": api_version(),
        "builders": none,
        "post_processors": none,
        "provisioners": [DEFAULT_COMPONENT],
        "datasources": none,
        // Tells Packer that the specification can be sent as Protocol Buffers.
        "protocol_version": "v2",
    });
    format!("{description}\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_has_all_that_packer_reads() {
        let wanted = concat!(
            r#"{"version":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","sdk_version":"0.6.10","api_version":"x5.0","builders":[],"post_processors":[],"#,
            r#""provisioners":["-packer-default-plugin-name-"],"datasources":[],"protocol_version":"v2"}"#,
            "\n"
        );
        assert_eq!(super::description(), wanted);
    }
}
