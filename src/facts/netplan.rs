//! What netplan's documents, and those that cloud-init makes them of, say of InfiniBand interfaces.
//!
//! netplan reads the documents of three folders in the order of their names. One hides that of the same name in a folder
//! before, and what it says of an interface is added to what the earlier ones say (netplan-generate(8)).

use super::interface_naming::LONG_ADDRESS;
use super::network_managers::{Configured, is_name};
use super::rule_files::OURS;
use crate::host::Host;
use serde_yaml::Value;
use std::collections::BTreeMap;

const FOLDERS: [&str; 3] = ["/lib/netplan", "/etc/netplan", "/run/netplan"];
/// Where an image has its own word on the network, which cloud-init prefers to the platform's (cloud-init, "Network
/// configuration sources").
const CLOUD_INIT: &str = "/etc/cloud/cloud.cfg.d";

/// What documents say of one interface.
#[derive(Debug, Default)]
struct Interface {
    /// The document that spoke of it first.
    path: String,
    is_infiniband: bool,
    optional: bool,
    /// `manual` or `off`, where it is not brought up by itself.
    activation: Option<String>,
    by_network_manager: bool,
}

impl Interface {
    /// Whether the boot waits for it. `NetworkManager` does not know what is optional (netplan(5), `optional`).
    const fn waits(&self) -> bool {
        self.activation.is_none() && (self.by_network_manager || !self.optional)
    }
}

/// The documents that configure InfiniBand interfaces.
pub(super) fn configured(host: &Host) -> Vec<Configured> {
    let mut documents: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for (name, path) in FOLDERS.iter().flat_map(|folder| files(host, folder, ".yaml")) {
        documents.remove(&name);
        documents.extend(document(host, &path).map(|document| (name, (path, document))));
    }
    let mut found = of_all(documents.values());
    if host.root.exists("/usr/bin/cloud-init") {
        for (_, path) in files(host, CLOUD_INIT, ".cfg") {
            let Some(document) = document(host, &path) else { continue };
            found.extend(of_list(&path, &document));
            found.extend(of_all([&(path, document)]));
        }
    }
    found
}

fn files(host: &Host, folder: &str, end: &str) -> Vec<(String, String)> {
    let names = host.root.list(folder).into_iter().filter(|name| name.ends_with(end));
    names.map(|name| (name.clone(), format!("{folder}/{name}"))).collect()
}

/// The part of a document that is about the network.
fn document(host: &Host, path: &str) -> Option<Value> {
    let text = host.root.read_text(path).ok().flatten().filter(|text| !text.starts_with(OURS))?;
    serde_yaml::from_str::<Value>(&text).ok()?.get("network").cloned()
}

/// What documents in the order in which they count say together, a line for each that configures such an interface.
fn of_all<'a>(documents: impl IntoIterator<Item = &'a (String, Value)>) -> Vec<Configured> {
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    let mut renderer = false;
    for (path, network) in documents {
        let Some(ethernets) = network.get("ethernets").and_then(Value::as_mapping) else { continue };
        renderer = by_network_manager(network).unwrap_or(renderer);
        let all = network.get("ethernets").and_then(by_network_manager).unwrap_or(renderer);
        for (id, settings) in ethernets {
            let (Some(id), true) = (id.as_str(), settings.is_mapping() || settings.is_null()) else {
                continue;
            };
            let new = || Interface { path: path.clone(), by_network_manager: all, ..Interface::default() };
            interfaces.entry(id.to_owned()).or_insert_with(new).add(id, settings);
        }
    }
    let mut found: Vec<Configured> = Vec::new();
    for interface in interfaces.into_values().filter(|interface| interface.is_infiniband) {
        let waits = interface.waits();
        match found.iter_mut().find(|it| it.path == interface.path) {
            Some(known) => known.waits |= waits,
            None => found.push(Configured { path: interface.path, waits }),
        }
    }
    found
}

fn by_network_manager(settings: &Value) -> Option<bool> {
    Some(settings.get("renderer")?.as_str()? == "NetworkManager")
}

impl Interface {
    fn add(&mut self, id: &str, settings: &Value) {
        let matched =
            |key: &str| settings.get("match").and_then(|it| it.get(key)).map(words).unwrap_or_default();
        let alias = settings.get("set-name").and_then(Value::as_str);
        self.is_infiniband |= is_name(id)
            || alias.is_some_and(is_name)
            || matched("name").iter().any(|name| is_name(name))
            || matched("driver").iter().any(|driver| driver.contains("ipoib"))
            || matched("macaddress").iter().any(|address| address.len() == LONG_ADDRESS)
            || settings.get("infiniband-mode").is_some();
        self.by_network_manager = by_network_manager(settings).unwrap_or(self.by_network_manager);
        self.optional = settings.get("optional").and_then(Value::as_bool).unwrap_or(self.optional);
        let activation = settings.get("activation-mode").and_then(Value::as_str).map(str::to_owned);
        self.activation = activation.or_else(|| self.activation.take());
    }
}

/// A word, or several.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::Sequence(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// The first form of cloud-init's documents, a list of interfaces.
fn of_list(path: &str, network: &Value) -> Option<Configured> {
    let text = |it: &Value, key: &str| it.get(key).and_then(Value::as_str).map(str::to_owned);
    let is_infiniband = |it: &&Value| {
        text(it, "type").as_deref() == Some("infiniband")
            || text(it, "name").is_some_and(|name| is_name(&name))
    };
    let named: Vec<&Value> = network.get("config")?.as_sequence()?.iter().filter(is_infiniband).collect();
    let waits = named.iter().any(|it| it.get("optional").and_then(Value::as_bool) != Some(true));
    (!named.is_empty()).then(|| Configured { path: path.to_owned(), waits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;

    #[test]
    fn documents_of_all_folders_are_one_in_the_order_of_their_names() {
        let own = |settings: &str| format!("network:\n  ethernets:\n    ib0: {{{settings}}}\n");
        let [plain, optional] = ["dhcp4: false", "optional: true"].map(own);
        for (files, waits) in [
            (vec![("etc/netplan/60-ib.yaml", plain.as_str())], Some(true)),
            // A later document adds to an earlier one, and one of the same name takes its place.
            (vec![("etc/netplan/60-ib.yaml", &plain), ("etc/netplan/99.yaml", &optional)], Some(false)),
            (vec![("etc/netplan/60-ib.yaml", &optional), ("etc/netplan/99.yaml", &plain)], Some(false)),
            (vec![("lib/netplan/60-ib.yaml", &plain), ("etc/netplan/60-ib.yaml", &optional)], Some(false)),
            (vec![("lib/netplan/60-ib.yaml", &plain), ("etc/netplan/60-ib.yaml", "")], None),
            (vec![("run/netplan/60-ib.yaml", &plain)], Some(true)),
        ] {
            let (_dir, host) = host_with(&files);
            let found = configured(&host);
            assert_eq!(found.first().map(|it| it.waits), waits, "{files:?}");
            assert!(found.iter().all(|it| it.path.ends_with("60-ib.yaml")), "{found:?}");
        }
    }

    #[test]
    fn an_interface_is_infiniband_by_whatever_picks_it() {
        for (settings, found) in [
            ("hpc: {match: {name: \"ib*\"}}", true),
            ("hpc: {match: {name: [eth9, ib0]}}", true),
            ("hpc: {match: {driver: ib_ipoib}}", true),
            ("hpc: {match: {macaddress: \"00:15:5d:33:ff:2a\"}, set-name: ib0}", true),
            ("hpc: {infiniband-mode: datagram}", true),
            (
                "hpc: {match: {macaddress: \"80:00:01:49:fe:80:00:00:00:00:00:00:00:15:5d:ff:fd:33:ff:2a\"}}",
                true,
            ),
            ("eth1: {match: {driver: mlx5_core}}", false),
            ("renderer: NetworkManager", false),
        ] {
            let text = format!("network:\n  ethernets:\n    {settings}\n");
            let (_dir, host) = host_with(&[("etc/netplan/60-ib.yaml", &text)]);
            assert_eq!(!configured(&host).is_empty(), found, "{settings}");
        }
    }

    #[test]
    fn networkmanager_waits_for_what_is_optional_and_for_nothing_that_is_brought_up_by_hand() {
        for (settings, waits) in [
            ("renderer: NetworkManager\n  ethernets:\n    ib0: {optional: true}", true),
            ("ethernets:\n    renderer: NetworkManager\n    ib0: {optional: true}", true),
            ("ethernets:\n    ib0: {optional: true, renderer: NetworkManager}", true),
            ("renderer: NetworkManager\n  ethernets:\n    ib0: {activation-mode: manual}", false),
            ("ethernets:\n    ib0: {activation-mode: \"off\"}", false),
        ] {
            let text = format!("network:\n  {settings}\n");
            let (_dir, host) = host_with(&[("etc/netplan/60-ib.yaml", &text)]);
            assert_eq!(configured(&host)[0].waits, waits, "{settings}");
        }
    }

    #[test]
    fn an_images_own_network_for_cloud_init_is_read_in_both_forms() {
        let first = "network:\n  version: 1\n  config:\n  - {type: physical, name: ib0}\n";
        let second = "network:\n  version: 2\n  ethernets:\n    ib0: {optional: true}\n";
        for (text, waits) in
            [(first, Some(true)), (second, Some(false)), ("network: {config: disabled}\n", None)]
        {
            let file = ("etc/cloud/cloud.cfg.d/99-net.cfg", text);
            let (_dir, host) = host_with(&[("usr/bin/cloud-init", ""), file]);
            assert_eq!(configured(&host).first().map(|it| it.waits), waits, "{text}");
            let (_dir, host) = host_with(&[file]);
            assert!(configured(&host).is_empty());
        }
    }
}
