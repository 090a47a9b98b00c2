# image.py OUT NAME FILE...: an OCI image of one layer with the files, executable, in /bin, and busybox as sh, sleep, cat.
import hashlib, io, json, sys, tarfile

out, name, files = sys.argv[1], sys.argv[2], sys.argv[3:]


def add(tar, path, data=None, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(path)
    info.mode, info.type, info.linkname, info.size = 0o755, kind, link, len(data or b"")
    tar.addfile(info, io.BytesIO(data) if data is not None else None)


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    for directory in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"):
        add(tar, directory, kind=tarfile.DIRTYPE)
    add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    for file in files + ["/bin/busybox"]:
        add(tar, "bin/" + file.rsplit("/", 1)[1], open(file, "rb").read())
    for word in ("sh", "sleep", "cat"):
        add(tar, "bin/" + word, kind=tarfile.SYMTYPE, link="busybox")

blobs = {}


def blob(data, kind):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": digest, "size": len(data)}


machine = {"x86_64": "amd64", "aarch64": "arm64"}[__import__("platform").machine()]
layer = blob(layer.getvalue(), "layer.v1.tar")
config = {
    "architecture": machine, "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sleep", "1000000"]},
    "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
}
config = blob(json.dumps(config).encode(), "config.v1+json")
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}
manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
with tarfile.open(out, "w") as tar:
    add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode())
    for digest, data in blobs.items():
        add(tar, "blobs/sha256/" + digest.split(":")[1], data)
