#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD through TLS: lyre-nbd as server and as client, with certificates (made by
certtool) and shared keys (psktool); nbdinfo, nbdcopy, qemu-nbd, qemu-img and
nbdkit at the other end. What must be refused is refused, in words."""
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtool import *       # noqa: E402,F403

need("nbdinfo", "nbdcopy", "nbdkit", "qemu-nbd", "qemu-img", "certtool", "psktool")
MIB = 1 << 20
PKI, OTHER, PSK = at("pki"), at("other"), at("psk")


def certtool(*args):
    ok("certtool", *args)


def make(folder, name, text, ca=None, rsa=False):
    key, cert, template = (os.path.join(folder, f) for f in (name + "-key.pem", name + "-cert.pem", name + ".cfg"))
    kind = ["--key-type", "rsa", "--bits", "2048"] if rsa else ["--key-type", "ecdsa", "--curve", "secp256r1"]
    certtool("--generate-privkey", *kind, "--outfile", key)
    with open(template, "w", encoding="ascii") as f:
        f.write(text)
    if not ca:
        certtool("--generate-self-signed", "--load-privkey", key, "--template", template, "--outfile", cert)
    else:
        certtool("--generate-certificate", "--load-privkey", key, "--template", template, "--outfile", cert,
                 "--load-ca-certificate", os.path.join(ca, "ca-cert.pem"),
                 "--load-ca-privkey", os.path.join(ca, "ca-key.pem"))


CA = "cn = Test CA\nca\ncert_signing_key\nexpiration_days = 10\n"
SERVER = "cn = server\ndns_name = localhost\ndns_name = server.test\nip_address = 127.0.0.1\ntls_www_server\nsigning_key\nexpiration_days = 10\n"
CLIENT = "cn = client\ntls_www_client\nsigning_key\nexpiration_days = 10\n"


def make_all():
    for d in PKI, OTHER, PSK:
        os.mkdir(d)
    make(PKI, "ca", CA)
    make(PKI, "server", SERVER, PKI)
    make(PKI, "client", CLIENT, PKI)
    make(OTHER, "ca", CA)
    make(OTHER, "client", CLIENT, OTHER)
    ok("psktool", "-u", "alice", "-p", os.path.join(PSK, "keys.psk"))


def x509(end, folder=PKI, more=""):
    return ["--object", f"tls-creds-x509,id=tls0,dir={folder},endpoint={end}{more}"]


def psk(end, more=""):
    return ["--object", f"tls-creds-psk,id=tls0,dir={PSK},endpoint={end}{more}"]


def tls_server(*args, creds=None, sock=None):
    return lyre(*(creds or x509("server")), "--tls-creds", "tls0", "-t", "-e", "0", *args, sock=sock)


def nbds(server, folder=PKI, export=""):
    return f"nbds+unix:///{export}?socket={server.sock}&tls-certificates={folder}"


def opts(sock, hostname="localhost", export=""):
    return (f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.tls-creds=tls0,"
            f"file.export={export}" + (f",file.tls-hostname={hostname}" if hostname else ""))


# ---- as a server

def serves_certificates():
    path, out = image(8 * MIB), fresh()
    with tls_server("-x", "exp", "-f", "raw", path) as s:
        # libnbd (which has no name to compare at a unix socket), and a client in the clear
        ok("nbdcopy", "-C", "4", nbds(s, export="exp"), out)
        assert same(path, out)
        fails("TLS", "nbdinfo", s.uri("exp"))
        # QEMU's
        told = ok("qemu-nbd", "-L", "-k", s.sock, *x509("client"), "--tls-creds", "tls0", "--tls-hostname", "localhost")
        assert "export: 'exp'" in told, told
        told = ok(LYRE, "-L", "-k", s.sock, *x509("client"), "--tls-creds", "tls0", "--tls-hostname", "server.test")
        assert "export: 'exp'" in told, told
        ok("qemu-img", "compare", *x509("client"), "--image-opts", opts(s.sock, None, "exp") + ",file.tls-hostname=localhost",
           f"driver=raw,file.driver=file,file.filename={path}")


def refuses_clients():
    with tls_server("-r", "-f", "raw", image(MIB)) as s:
        # signed by somebody else; without a certificate; in the clear
        assert run("nbdinfo", nbds(s, OTHER))[0] != 0
        os.makedirs(at("none"), exist_ok=True)
        shutil.copy(os.path.join(PKI, "ca-cert.pem"), at("none"))
        assert run("nbdinfo", nbds(s, at("none")))[0] != 0
        fails("wants TLS", LYRE, "-L", "-k", s.sock)
        fails("tls-creds=ID", LYRE, "-k", fresh(), "-r", "-f", "raw", s.uri())
        ok("nbdinfo", nbds(s))
    with tls_server("-r", "-f", "raw", image(MIB), creds=x509("server", more=",verify-peer=off")) as s:
        ok("nbdinfo", nbds(s, at("none")))
    # A server without TLS says so.
    with lyre("-t", "-r", "-f", "raw", image(MIB)) as s:
        fails("does not allow", LYRE, "-L", "-k", s.sock, *x509("client"), "--tls-creds", "tls0")


def serves_keys():
    path, out = image(2 * MIB), fresh()
    with tls_server("-f", "raw", path, creds=psk("server")) as s:
        ok("nbdcopy", f"nbds+unix://alice@/?socket={s.sock}&tls-psk-file={PSK}/keys.psk", out)
        assert same(path, out)
        told = ok("qemu-nbd", "-L", "-k", s.sock, *psk("client", ",username=alice"), "--tls-creds", "tls0")
        assert "export: ''" in told, told
        told = ok(LYRE, "-L", "-k", s.sock, *psk("client", ",username=alice"), "--tls-creds", "tls0")
        assert "export: ''" in told, told
    fails("no key of the user 'bob'", LYRE, "-L", "-k", at("x"), *psk("client", ",username=bob"), "--tls-creds", "tls0")


# ---- as a client, seen through a lyre-nbd without TLS

def proxy(image_opts, creds):
    return lyre("-t", "-e", "0", *creds, "--image-opts", image_opts)


def uses_certificates():
    path, out = image(4 * MIB), fresh()
    with qemu("-t", "-f", "raw", *x509("server"), "--tls-creds", "tls0", "-e", "5", path) as up:
        with proxy(opts(up.sock), x509("client")) as s:
            ok("nbdcopy", "-C", "4", s.uri(), out)
            assert same(path, out)
            ok("qemu-io", "-f", "raw", "-c", "write -P 5 0 1M", "-c", "read -P 5 0 1M", s.uri())
        fails("compared with 'elsewhere'", LYRE, "-k", fresh(), *x509("client"), "--image-opts", opts(up.sock, "elsewhere"))
        fails("there is none", LYRE, "-k", fresh(), *x509("client"), "--image-opts", opts(up.sock, None))
        fails("certificate is refused", LYRE, "-k", fresh(), *x509("client", OTHER), "--image-opts", opts(up.sock))
        fails("those of a server", LYRE, "-k", fresh(), *x509("server"), "--image-opts", opts(up.sock))
    with nbdkit("--tls=require", f"--tls-certificates={PKI}", "--tls-verify-peer", "pattern", "3M") as up:
        with proxy(opts(up.sock) + ",read-only=on", x509("client") + ["-r"]) as s:
            ok("nbdcopy", s.uri(), out)
        assert os.path.getsize(out) == 3 * MIB
    # nbds: in a name
    with tls_server("-f", "raw", path) as up:
        name = f"nbds+unix:///?socket={up.sock}&tls-creds=tls0&tls-hostname=localhost"
        with lyre("-t", *x509("client"), "-f", "raw", name) as s:
            assert ok("nbdinfo", "--size", s.uri()) == f"{4 * MIB}\n"


def uses_keys():
    with nbdkit("--tls=require", f"--tls-psk={PSK}/keys.psk", "pattern", "3M") as up:
        with proxy(opts(up.sock, None) + ",read-only=on", psk("client", ",username=alice") + ["-r"]) as s:
            assert ok("nbdinfo", "--size", s.uri()) == f"{3 * MIB}\n"


# ---- certificates that are no good

def looks_at_certificates():
    bad = at("bad")
    cases = (
        ("has expired", "server", SERVER.replace("expiration_days = 10", "activation_date = 2019-01-01\nexpiration_date = 2020-01-01")),
        ("is not valid yet", "server", SERVER.replace("expiration_days = 10", "activation_date = 2090-01-01\nexpiration_date = 2091-01-01")),
        ("that of a CA", "server", SERVER + "ca\n"),
        ("does not allow use by a server", "server", SERVER.replace("tls_www_server", "tls_www_client")),
        ("does not allow digital signatures", "server", SERVER.replace("signing_key", "encryption_key")),
        ("does not allow use by a client", "client", CLIENT.replace("tls_www_client", "tls_www_server")),
    )
    for words, end, text in cases:
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(PKI, bad)
        make(bad, end, text, PKI, rsa="encryption_key" in text)
        args = ["-L", "-k", at("x")] if end == "client" else ["-k", at("x"), "-f", "raw", image(MIB)]
        fails(words, LYRE, *x509(end, bad), "--tls-creds", "tls0", *args)
    for words, change in (("not signed by", ("ca-cert.pem", OTHER)), ("server-cert.pem", ("server-cert.pem", None)),
                          ("server-key.pem", ("server-key.pem", None)), ("ca-cert.pem", ("ca-cert.pem", None))):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(PKI, bad)
        if change[1]:
            shutil.copy(os.path.join(change[1], change[0]), bad)
        else:
            os.unlink(os.path.join(bad, change[0]))
        fails(words, LYRE, *x509("server", bad), "--tls-creds", "tls0", "-k", at("x"), "-f", "raw", image(MIB))
    fails("dir=FOLDER", LYRE, "--object", "tls-creds-x509,id=tls0,endpoint=server", "-L")
    fails("tls-creds-x509", LYRE, "--object", "tls-creds-x508,id=tls0,endpoint=server", "-L")


def key_with_password():
    locked = at("locked")
    shutil.copytree(PKI, locked)
    key = os.path.join(locked, "server-key.pem")
    ok("certtool", "--to-p8", "--load-privkey", os.path.join(PKI, "server-key.pem"), "--password", "sesame",
       "--pkcs-cipher", "aes-256", "--outfile", key)
    with open(at("word"), "w", encoding="ascii") as f:
        f.write("sesame")
    fails("passwordid", LYRE, *x509("server", locked), "--tls-creds", "tls0", "-k", at("x"), "-f", "raw", image(MIB))
    with lyre("--object", f"secret,id=sec0,file={at('word')}", *x509("server", locked, ",passwordid=sec0"), "--tls-creds", "tls0",
              "-t", "-f", "raw", image(MIB)) as s:
        ok("nbdinfo", nbds(s))


if __name__ == "__main__":
    make_all()
    main([serves_certificates, refuses_clients, serves_keys, uses_certificates, uses_keys, looks_at_certificates,
          key_with_password])
