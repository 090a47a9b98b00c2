//! A registry beside the machine under test: Debian's `docker-registry` at the far server, with certificates of an
//! authority of its own.
//!
//! | address | |
//! |---|---|
//! | `registry.test:5000` | wants a user and a password |
//! | `registry.test:5001` | the same, by a slow line |
//! | `registry.test:5002` | open to everybody |

use crate::eventually;
use crate::lab::Lab;
use netmode_model::error::Code;

/// The user that the registry knows.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "pa:ss w0rd+%";
/// The registry that asks who it is.
pub const PRIVATE: &str = "registry.test:5000";
/// The same by a line of some 400 kB a second.
pub const SLOW: &str = "registry.test:5001";
/// The registry that does not ask.
pub const OPEN: &str = "registry.test:5002";

/// What images call the architecture of this machine.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Certificates, both registries, the slow line; the host trusts the authority.
const START: &str = r#"
set -eu
mkdir -p /srv/registry && cd /srv/registry
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
key ca; openssl req -x509 -new -key ca.key -subj '/CN=Authority of the test' -days 30 -out ca.crt
key server; openssl req -new -key server.key -subj /CN=registry.test -out server.csr
echo subjectAltName=DNS:registry.test >names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -days 30 -out server.crt 2>/dev/null
htpasswd -Bbn "$USER_" "$PASSWORD_" >passwords
configure() {
    echo "version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /srv/registry/data}}
http: {addr: 203.0.113.9:$1, secret: x, tls: {certificate: /srv/registry/server.crt, key: /srv/registry/server.key}}"
    [ "$1" = 5002 ] || echo 'auth: {htpasswd: {realm: test, path: /srv/registry/passwords}}'
}
configure 5000 >private.yml
configure 5002 >open.yml
echo '203.0.113.9 registry.test' >>/etc/hosts
for port in 5000 5001 5002; do
    mkdir -p "/etc/docker/certs.d/registry.test:$port"
    cp ca.crt "/etc/docker/certs.d/registry.test:$port/"
done
"#;

/// A line of some 400 kB a second: 40 kB, a pause, and so on.
const SLOW_LINE: &str = "
import asyncio
async def pour(source, sink, pause):
    while data := await source.read(40000):
        sink.write(data); await sink.drain(); await asyncio.sleep(pause)
    sink.close()
async def serve(reader, writer):
    r, w = await asyncio.open_connection('203.0.113.9', 5000)
    await asyncio.gather(pour(reader, w, 0), pour(r, writer, 0.1), return_exceptions=True)
async def main():
    await (await asyncio.start_server(serve, '203.0.113.9', 5001)).serve_forever()
asyncio.run(main())
";

/// Makes an OCI layout `/srv/images/NAME` of one layer; entries as Python: `(name, type, content or target)`.
const LAYOUT: &str = r#"
import gzip, hashlib, io, json, os, sys, tarfile
name, architecture, entries = sys.argv[1], sys.argv[2], eval(sys.argv[3])
top = f'/srv/images/{name}'
os.makedirs(f'{top}/blobs/sha256')
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    open(f'{top}/blobs/sha256/{digest}', 'wb').write(data)
    return {'digest': 'sha256:' + digest, 'size': len(data)}
raw = io.BytesIO()
with tarfile.open(fileobj=raw, mode='w', format=tarfile.GNU_FORMAT) as tar:
    for path, kind, what in entries:
        info = tarfile.TarInfo(path); info.mode = 0o755; data = None
        # tarfile takes leading slashes for what they are only when they are set afterwards.
        info.name = path
        if kind == 'file': data = what if isinstance(what, bytes) else what.encode()
        elif kind == 'copy': data = open(what, 'rb').read()
        elif kind == 'dir': info.type = tarfile.DIRTYPE
        elif kind == 'link': info.type, info.linkname = tarfile.SYMTYPE, what
        elif kind == 'hard': info.type, info.linkname = tarfile.LNKTYPE, what
        info.size = len(data or b'')
        tar.addfile(info, io.BytesIO(data) if data is not None else None)
raw = raw.getvalue()
layer = blob(gzip.compress(raw, 1))
config = blob(json.dumps({'architecture': architecture, 'os': 'linux', 'created': '2026-01-02T03:04:05Z',
    'config': {'Cmd': ['/bin/sh'], 'Env': ['PATH=/bin'], 'Labels': {'of': name}},
    'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + hashlib.sha256(raw).hexdigest()]}}).encode())
of = 'application/vnd.oci.image.'
manifest = blob(json.dumps({'schemaVersion': 2, 'mediaType': of + 'manifest.v1+json',
    'config': {'mediaType': of + 'config.v1+json', **config},
    'layers': [{'mediaType': of + 'layer.v1.tar+gzip', **layer}]}).encode())
open(f'{top}/oci-layout', 'w').write('{"imageLayoutVersion":"1.0.0"}')
open(f'{top}/index.json', 'w').write(json.dumps({'schemaVersion': 2, 'manifests': [
    {'mediaType': of + 'manifest.v1+json', **manifest,
     'annotations': {'org.opencontainers.image.ref.name': 'image'}}]}))
"#;

/// The registries of a lab.
pub struct Registry<'a> {
    lab: &'a Lab,
}

impl<'a> Registry<'a> {
    /// Starts them; they end with the lab.
    pub fn start(lab: &'a Lab) -> Self {
        let variables = format!("USER_='{USER}' PASSWORD_='{PASSWORD}'\n");
        lab.sh(&(variables + START));
        lab.write("/srv/registry/slow.py", SLOW_LINE);
        lab.write("/srv/registry/layout.py", LAYOUT);
        let far = ["nsenter", "--net=/run/netns/far"];
        // The namespace is made with the first look at it.
        lab.at("far").run(&["true"]).success();
        for config in ["private", "open"] {
            let file = format!("/srv/registry/{config}.yml");
            let log = format!("/srv/registry/{config}.log");
            lab.spawn(&[&far[..], &["docker-registry", "serve", &file]].concat(), &log);
        }
        lab.spawn(&[&far[..], &["python3", "/srv/registry/slow.py"]].concat(), "/srv/registry/slow.log");
        for registry in [PRIVATE, SLOW, OPEN] {
            eventually(&format!("{registry} answers"), 10.0, || {
                let url = format!("https://{registry}/v2/");
                lab.run(&["curl", "-s", "--cacert", "/srv/registry/ca.crt", &url]).status == 0
            });
        }
        Self { lab }
    }

    /// An image of one layer, pushed to both registries as `NAME` (`app/web:1`). `entries` is what Python makes a tar
    /// of: `('etc/x', 'file', 'content'), ('bin/sh', 'copy', '/bin/busybox'), ('up', 'link', '..')`.
    pub fn image(&self, name: &str, entries: &str) {
        self.image_for(name, ARCHITECTURE, entries);
    }

    /// The same for an architecture.
    pub fn image_for(&self, name: &str, architecture: &str, entries: &str) {
        let layout = name.replace(['/', ':'], "-");
        let entries = format!("[{entries}]");
        self.lab.run(&["rm", "-rf", &format!("/srv/images/{layout}")]).success();
        self.lab.run(&["python3", "/srv/registry/layout.py", &layout, architecture, &entries]).success();
        self.push(&format!("oci:/srv/images/{layout}:image"), name);
    }

    /// Busybox with a shell and some file of its own, which makes it another image.
    pub fn busybox(&self, name: &str, own: &str) {
        let own = own.escape_default();
        let entries =
            format!("('bin/busybox', 'copy', '/bin/busybox'), ('bin/sh', 'link', 'busybox'), ('own', 'file', '{own}')");
        self.image(name, &entries);
    }

    /// Pushes what skopeo can read; both registries show the same.
    pub fn push(&self, source: &str, name: &str) {
        let to = format!("docker://{OPEN}/{name}");
        self.lab.run(&["skopeo", "--insecure-policy", "copy", "--quiet", source, &to]).success();
    }

    /// Puts a list of manifests under a name; architecture and name of each.
    pub fn list(&self, name: &str, of: &[(&str, &str)]) {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let entries: Vec<_> = of
            .iter()
            .map(|(architecture, image)| {
                // A registry lists what is in the same repository.
                let beside = format!("{repository}:{architecture}");
                self.push(&format!("docker://{OPEN}/{image}"), &beside);
                let (digest, size) = self.manifest(&beside);
                serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest,
                    "size": size, "platform": {"os": "linux", "architecture": architecture}})
            })
            .collect();
        let kind = "application/vnd.oci.image.index.v1+json";
        let list = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        let url = format!("https://{OPEN}/v2/{repository}/manifests/{tag}");
        let head = format!("Content-Type: {kind}");
        let curl =
            ["curl", "-sSf", "--cacert", "/srv/registry/ca.crt", "-X", "PUT", "-H", &head, "--data-binary", "@-"];
        self.lab.at("host").run_with(&[&curl[..], &[&url]].concat(), &list.to_string(), &[]).success();
    }

    /// Digest and size of what the registry has under a name.
    pub fn manifest(&self, name: &str) -> (String, usize) {
        let from = format!("docker://{OPEN}/{name}");
        let raw = self.lab.run(&["skopeo", "inspect", "--raw", &from]).success().stdout;
        let digest = self.lab.at("host").run_with(&["skopeo", "manifest-digest", "/dev/stdin"], &raw, &[]).success();
        (digest.stdout.trim().to_owned(), raw.len())
    }

    /// `netmode login` with the right password.
    pub fn login(&self, registry: &str) {
        let login = ["login", "-u", USER, "--password-stdin", registry];
        let out = self.lab.netmode_with(&login, PASSWORD, &[]).success();
        assert_eq!(out.stdout, "Login Succeeded\n");
    }

    /// The lines of `netmode images`, their words joined by single blanks.
    pub fn images(&self) -> Vec<String> {
        let out = self.lab.netmode(&["images"]).success().stdout;
        out.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// What lies in the host's store besides its books: images, and what should not be there.
    pub fn stored(&self) -> Vec<String> {
        let out = self.lab.sh("cd /var/lib/netmode/images && ls -A | grep -v '[.]json$' || :");
        out.lines().map(str::to_owned).collect()
    }

    /// What [`Self::busybox`] put into an image, as a container sees it.
    pub fn own(&self, image: &str) -> String {
        let run = ["run", "--rm", image, "/bin/sh", "-c", "read x </own; echo $x"];
        self.lab.netmode(&run).success().stdout.trim().to_owned()
    }

    /// A refusal in both forms: one sentence that has the words, and the code.
    #[track_caller]
    pub fn refused(&self, args: &[&str], status: i32, code: Code, words: &[&str]) {
        self.lab.netmode(args).refused(status, words);
        self.lab.netmode(&[&["-o", "json"], args].concat()).refused_with(status, code);
    }
}
