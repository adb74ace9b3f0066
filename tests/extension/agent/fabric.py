"""The HTTP side of Azure, as far as an agent that runs extensions asks for it: wire server, storage, metadata service.

Formats: Azure/WALinuxAgent, tests/data/wire, and the instance metadata service's documentation.
"""
import base64
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

WIRE = "168.63.129.16"
IMDS = "169.254.169.254"
PACKAGES = "/srv/packages"
KEYS = "/srv/keys"

VERSIONS = """<?xml version="1.0" encoding="utf-8"?><Versions><Preferred><Version>2012-11-30</Version></Preferred>
<Supported><Version>2012-11-30</Version></Supported></Versions>"""

GOAL_STATE = """<?xml version="1.0" encoding="utf-8"?><GoalState><Version>2012-11-30</Version>
<Incarnation>{n}</Incarnation><Machine><ExpectedState>Started</ExpectedState></Machine>
<Container><ContainerId>c6d5526c-5ac2-4200-b6e2-56f2b70c5ab2</ContainerId><RoleInstanceList><RoleInstance>
<InstanceId>b61f93d0-e1ed-40b2-b067-22c243233448.vm</InstanceId><State>Started</State><Configuration>
<HostingEnvironmentConfig>http://{wire}/config/hosting</HostingEnvironmentConfig>
<SharedConfig>http://{wire}/config/shared</SharedConfig>
<ExtensionsConfig>http://{wire}/config/extensions</ExtensionsConfig>{certificates}
<ConfigName>vm.1.xml</ConfigName></Configuration></RoleInstance></RoleInstanceList></Container></GoalState>"""

HOSTING = """<?xml version="1.0" encoding="utf-8"?><HostingEnvironmentConfig version="1.0.0.0">
<Deployment name="d" /><Incarnation number="1" instance="vm" guid="g" /><Role name="r" />
</HostingEnvironmentConfig>"""

SHARED = """<?xml version="1.0" encoding="utf-8"?><SharedConfig version="1.0.0.0"><Deployment name="d" /></SharedConfig>"""


class Fabric:
    """Serves what `goal` says until it is changed, and keeps the status that was uploaded last."""

    def __init__(self, compute):
        self.compute = compute
        self.incarnation = 0
        self.goal = []
        self.status = None
        for address, port in ((WIRE, 80), (WIRE, 32526), (IMDS, 80)):
            server = ThreadingHTTPServer((address, port), self._handler())
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def set_goal(self, goal):
        self.goal = goal
        self.incarnation += 1
        self.status = None

    def _handler(fabric):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(*fabric.get(self.path, self.headers))

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.reply(200, b"")

            def do_PUT(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/storage/status"):
                    fabric.status = json.loads(body)
                self.reply(201, b"")

            def reply(self, code, body):
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def get(self, path, headers):
        if path.startswith("/metadata/instance"):
            return (200, json.dumps({"compute": self.compute}).encode()) if self.compute else (404, b"")
        if path.startswith("/storage/packages/"):
            with open(os.path.join(PACKAGES, os.path.basename(path)), "rb") as package:
                return 200, package.read()
        if path == "/config/certificates":
            return 200, certificates(headers["x-ms-guest-agent-public-x509-cert"]).encode()
        keys = "<Certificates>http://%s/config/certificates</Certificates>" % WIRE if os.path.isdir(KEYS) else ""
        texts = {
            "/?comp=versions": VERSIONS,
            "/machine/?comp=goalstate": GOAL_STATE.format(n=self.incarnation, wire=WIRE, certificates=keys),
            "/config/hosting": HOSTING,
            "/config/shared": SHARED,
            "/config/extensions": self.extensions(),
            # No version that agents know: they then talk to storage themselves.
            "/versions": "[]",
        }
        if path.startswith("/storage/manifest"):
            return 200, manifest().encode()
        return (200, texts[path].encode()) if path in texts else (404, b"")

    def extensions(self):
        plugins, settings = "", ""
        for one in self.goal:
            name, version = one["name"], one["version"]
            plugins += ('<Plugin name="%s" version="%s" location="http://%s/storage/manifest.xml" state="%s" '
                        'autoUpgrade="false" failoverlocation="" runAsStartupTask="false" isJson="true" '
                        'useExactVersion="true" />') % (name, version, WIRE, one.get("state", "enabled"))
            if one.get("settings") is not None:
                text = one["settings"] if isinstance(one["settings"], str) else json.dumps(one["settings"])
                settings += '<Plugin name="%s" version="%s"><RuntimeSettings seqNo="%d">%s</RuntimeSettings></Plugin>' % (
                    name, version, one["seq"], escape(text))
        return ('<Extensions version="1.0.0.0" goalStateIncarnation="%d"><GuestAgentExtension /><Plugins>%s</Plugins>'
                '<PluginSettings>%s</PluginSettings><StatusUploadBlob statusBlobType="BlockBlob">'
                'http://%s/storage/status</StatusUploadBlob></Extensions>') % (
                    self.incarnation, plugins, settings, WIRE)


def manifest():
    """Every package there is, as the platform lists the versions of one extension."""
    plugins = ""
    for package in sorted(os.listdir(PACKAGES)):
        plugins += "<Plugin><Version>%s</Version><Uris><Uri>http://%s/storage/packages/%s</Uri></Uris></Plugin>" % (
            package[: -len(".zip")], WIRE, package)
    return '<?xml version="1.0" encoding="utf-8"?><PluginVersionManifest><Plugins>%s</Plugins></PluginVersionManifest>' % plugins


def openssl(*args, **kwargs):
    return subprocess.run(("openssl",) + args, check=True, stdout=subprocess.PIPE, **kwargs).stdout


def certificates(transport):
    """The VM's key and certificate, encrypted for the agent that asks."""
    with open("/tmp/transport.pem", "w") as pem:
        lines = [transport[at:at + 64] for at in range(0, len(transport), 64)]
        pem.write("-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % "\n".join(lines))
    pfx = openssl("pkcs12", "-export", "-inkey", KEYS + "/vm.prv", "-in", KEYS + "/vm.crt", "-passout", "pass:")
    blob = openssl("cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "/tmp/transport.pem", input=pfx)
    return ('<?xml version="1.0" encoding="utf-8"?><CertificateFile><Version>2010-12-15</Version><Incarnation>1'
            "</Incarnation><Format>Pkcs7BlobWithPfxContents</Format><Data>%s</Data></CertificateFile>"
            ) % base64.encodebytes(blob).decode()
