//! The platform around a VM, as cloud-init's Azure datasource meets it: metadata service, wire server, provisioning disc.

use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The guest's network card.
pub const MAC: &str = "52:54:00:12:34:56";
/// What the firmware of every Azure VM says of its chassis.
pub const CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";
/// Where the metadata service and the wire server answer.
const ADDRESSES: [&str; 2] = ["169.254.169.254/32", "168.63.129.16/32"];

/// A VM's platform. The servers live as long as the test.
#[derive(Debug)]
pub struct Azure {
    pub vm_id: String,
    requests: Arc<Mutex<Vec<String>>>,
    user_data: String,
}

impl Azure {
    /// Starts the servers in a network of the calling thread's own, which has no way out: what is started from this
    /// thread from now on sees nothing else.
    pub fn start(size: &str, vm_id: &str, user_data: &str) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        for address in ADDRESSES {
            run(Command::new("ip").args(["addr", "add", address, "dev", "lo"]));
        }
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (listener, seen) = (TcpListener::bind("0.0.0.0:80").unwrap(), Arc::clone(&requests));
        let metadata = metadata(size, vm_id);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(&stream.unwrap(), &metadata, &seen);
            }
        });
        Self { vm_id: vm_id.to_owned(), requests, user_data: user_data.to_owned() }
    }

    /// Method and path of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Writes the disc that the platform puts into a new VM's drive.
    pub fn disc(&self, folder: &Path) -> PathBuf {
        let files = folder.join("disc");
        std::fs::create_dir_all(&files).unwrap();
        let custom = folder.join("custom-data");
        std::fs::write(&custom, &self.user_data).unwrap();
        let custom = Command::new("base64").arg("-w0").arg(custom).output().unwrap().stdout;
        let environment = OVF.replace("CUSTOM_DATA", &String::from_utf8(custom).unwrap());
        std::fs::write(files.join("ovf-env.xml"), environment).unwrap();
        let disc = folder.join("azure.iso");
        run(Command::new("genisoimage").args(["-quiet", "-udf", "-o"]).arg(&disc).arg(files));
        disc
    }
}

fn answer(stream: &TcpStream, metadata: &str, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let request: Vec<&str> = first.split(' ').take(2).collect();
    seen.lock().unwrap().push(request.join(" "));
    let (kind, body) = match request[..] {
        ["GET", path] if path.contains("metadata") => ("application/json", metadata),
        ["GET", _] => ("text/xml", GOAL_STATE),
        _ => ("text/plain", ""),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    (&mut &*stream).write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

fn metadata(size: &str, vm_id: &str) -> String {
    let address = json!({"privateIpAddress": "10.0.2.15", "publicIpAddress": ""});
    let interface = json!({
        "macAddress": MAC.replace(':', ""),
        "ipv4": {"ipAddress": [address], "subnet": [{"address": "10.0.2.0", "prefix": "24"}]},
        "ipv6": {"ipAddress": []},
    });
    let compute = json!({
        "vmSize": size, "vmId": vm_id, "location": "westeurope", "name": "vm", "osType": "Linux",
        "publisher": "", "offer": "", "sku": "", "version": "", "tags": "", "zone": "",
        "azEnvironment": "AzurePublicCloud", "resourceGroupName": "test", "subscriptionId": "test",
        "vmScaleSetName": "", "publicKeys": [],
        "osProfile": {"adminUsername": "azureuser", "computerName": "vm", "disablePasswordAuthentication": "true"},
    });
    let extended = json!({"compute": {"hasCustomData": false, "ppsType": "None"}});
    json!({"compute": compute, "network": {"interface": [interface]}, "extended": extended}).to_string()
}

const GOAL_STATE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<GoalState xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Version>2012-11-30</Version>
<Incarnation>1</Incarnation><Machine><ExpectedState>Started</ExpectedState></Machine><Container>
<ContainerId>c</ContainerId><RoleInstanceList><RoleInstance><InstanceId>i</InstanceId><State>Started</State>
</RoleInstance></RoleInstanceList></Container></GoalState>"#;

const OVF: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xmlns:ns1="http://schemas.microsoft.com/windowsazure"><ns1:ProvisioningSection><ns1:Version>1.0</ns1:Version>
<ns1:LinuxProvisioningConfigurationSet><ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType>
<ns1:HostName>vm</ns1:HostName><ns1:UserName>azureuser</ns1:UserName>
<ns1:DisableSshPasswordAuthentication>true</ns1:DisableSshPasswordAuthentication><ns1:CustomData>CUSTOM_DATA</ns1:CustomData>
</ns1:LinuxProvisioningConfigurationSet></ns1:ProvisioningSection><ns1:PlatformSettingsSection><ns1:Version>1.0</ns1:Version>
<ns1:PlatformSettings><ns1:ProvisionGuestAgent>false</ns1:ProvisionGuestAgent></ns1:PlatformSettings>
</ns1:PlatformSettingsSection></Environment>"#;

pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
