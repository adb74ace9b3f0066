//! The other VM, as a user names it.

use super::PORT;
use anyhow::{Result, bail};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A machine and the TCP port that it serves at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub machine: String,
    /// The port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = anyhow::Error;

    /// `vm-2`, `vm-2:18600`, `10.0.0.5`, `fe80::2` or `[fe80::2]:18600`.
    fn from_str(text: &str) -> Result<Self> {
        let (machine, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (address, port),
            Some(_) => bail!("no IPv6 address stands between the brackets"),
            None if text.parse::<Ipv6Addr>().is_ok() => (text, ""),
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match port {
            "" => Some(PORT),
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        match port {
            Some(port)
                if !machine.is_empty() && !machine.starts_with('-') && machine.chars().all(is_name) =>
            {
                Ok(Self { machine: machine.to_owned(), port })
            }
            _ => bail!("it is no HOST and no HOST:PORT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_machine_may_be_named_with_its_port_or_without() {
        for (text, machine, port) in [
            ("vm-2", "vm-2", PORT),
            ("vm-2:18600", "vm-2", 18600),
            ("10.0.0.5:1", "10.0.0.5", 1),
            ("fe80::2", "fe80::2", PORT),
            ("[fe80::2]", "fe80::2", PORT),
            ("[fe80::2]:18600", "fe80::2", 18600),
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap(),
                Address { machine: machine.to_owned(), port },
                "{text}"
            );
        }
        for text in ["", ":1", "a:", "a:0", "a:65536", "a b", "--help", "[x]:1", "[::1]1", "user@host"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_becomes_an_option_of_another_program(text in "\\PC{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert!(!address.machine.starts_with('-') && !address.machine.is_empty());
            }
        }
    }
}
