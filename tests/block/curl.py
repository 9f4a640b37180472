#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files on the web, seen through lyre-nbd: ranges, what is fetched ahead,
servers that have no ranges or lie, files that change, redirections, passwords,
cookies, TLS, time limits."""
import base64
import http.server
import os
import socket
import socketserver
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtool import *       # noqa: E402,F403

need("nbdcopy", "nbdinfo", "qemu-io", "certtool")
MIB = 1 << 20
SIZE = 5 * MIB + 512
PATH = image(SIZE, holes=False)
with open(PATH, "rb") as f:
    DATA = f.read()


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1           # headers and body in one piece

    def log_message(self, *_):
        pass

    def plain(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        s = self.server
        name, rng = self.path[1:], self.headers.get("Range")
        s.asked.append((name, rng, dict(self.headers)))
        if name.startswith("loop"):
            return self.plain(302, Location="/loop")
        if name.startswith("moved"):
            return self.plain(302, Location="/disk" + name[5:])
        if name == "toplain":
            return self.plain(302, Location=WEB.url + "disk")
        if name == "tofile":
            return self.plain(302, Location="file:///etc/passwd")
        if name == "secret" and self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:pass").decode():
            return self.plain(401, WWW_Authenticate='Basic realm="x"')
        if name == "cookie" and self.headers.get("Cookie") != "a=b; c=d":
            return self.plain(403)
        if name == "norange" or not rng:
            return self.plain(200, DATA)
        if name == "empty":
            return self.plain(416, Content_Range="bytes */0")
        if name == "gone":
            return self.plain(404)
        if name == "hangs":
            time.sleep(3)
        first, last = map(int, rng.split("=")[1].split("-"))
        last = min(last, SIZE - 1)
        body, shown = DATA[first:last + 1], f"bytes {first}-{last}/{SIZE}"
        etag = '"1"'
        if name == "shifts" and first:
            shown = f"bytes {first + 1}-{last + 1}/{SIZE}"
        if name == "grows" and first:
            shown = f"bytes {first}-{last}/{SIZE + 1}"
        if name == "changes" and first:
            etag = '"2"'
        if name == "breaks" and first and not s.mended or name == "breaks-once" and first and not s.broken:
            s.broken = True
            self.send_response(206)
            self.send_header("Content-Range", shown)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return None
        return self.plain(206, body, Content_Range=shown, ETag=etag)

    do_HEAD = do_GET


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


def start(tls=None):
    s = Quiet(("127.0.0.1", 0), Web)
    s.asked, s.mended, s.broken, s.daemon_threads = [], False, False, True
    if tls:
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(*tls)
        s.socket = c.wrap_socket(s.socket, server_side=True)
    s.url = f"http{'s' if tls else ''}://127.0.0.1:{s.server_address[1]}/"
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s


WEB = start()


def serve(name, *more, web=WEB, opts=""):
    web.asked.clear()
    if opts:
        return lyre("-t", "-r", "-e", "0", *more, "--image-opts",
                    f"driver=raw,file.driver={web.url.split(':')[0]},file.url={web.url}{name},{opts}")
    return lyre("-t", "-r", "-e", "0", *more, "-f", "raw", web.url + name)


def whole():
    for args in ([], ["-C", "4", "--request-size=65536"], ["--synchronous", "--request-size=32768"]):
        with serve("disk") as s:
            out = fresh()
            ok("nbdcopy", *args, s.uri(), out)
            assert same(PATH, out)
            assert ok("nbdinfo", "--size", s.uri()) == f"{SIZE}\n"
        # Hardly anything is fetched twice.
        asked = [r for _, r, _ in WEB.asked]
        assert len(asked) <= SIZE // 262144 + 6, asked


def ahead():
    with serve("disk", opts="file.readahead=64k") as s:
        ok("qemu-io", "-f", "raw", "-r", "-c", "read 1M 4k", "-c", "read 1028k 4k", "-c", "read 1032k 8k", s.uri())
    asked = [r for _, r, _ in WEB.asked]
    assert asked == ["bytes=0-65535", f"bytes={MIB}-{MIB + 65535}"], asked


def random_reads():
    cmds = []
    for i in range(60):
        off = i * 2654435761 % (SIZE - 70000)
        cmds += ["-c", f"aio_read {off} {1 + off % 69999}"]
    with serve("disk", opts="file.readahead=16k") as s:
        out = ok("qemu-io", "-f", "raw", "-r", *cmds, "-c", "aio_flush", s.uri())
        assert out.count("\nread ") + out.startswith("read ") == 60 and "fail" not in out, out


def refused():
    for name, words in (("norange", "does not send parts"), ("gone", "404"), ("loop", "redirects"), ("secret", "401"),
                        ("cookie", "403"), ("tofile", "not supported")):
        fails(words, LYRE, "-k", fresh(), "-r", "-f", "raw", WEB.url + name)
    fails("read-only", LYRE, "-k", fresh(), "-f", "raw", WEB.url + "disk")
    fails("no address of https", LYRE, "-k", fresh(), "-r", "--image-opts", f"driver=raw,file.driver=https,file.url={WEB.url}disk")
    fails("multiple of 512", LYRE, "-k", fresh(), "-r", "--image-opts",
          f"driver=raw,file.driver=http,file.url={WEB.url}disk,file.readahead=100")
    fails("onnect", LYRE, "-k", fresh(), "-r", "-f", "raw", "http://127.0.0.1:1/x")
    with serve("empty") as s:
        assert ok("nbdinfo", "--size", s.uri()) == "0\n"


def lies():
    for name, words in (("shifts", "another part"), ("grows", "has changed"), ("changes", "has changed"), ("breaks", "")):
        with serve(name) as s:
            ok("qemu-io", "-f", "raw", "-r", "-c", "read 0 4k", s.uri())
            fails("", "qemu-io", "-f", "raw", "-r", "-c", "read 1M 4k", s.uri())
            assert words in s.said(), s.said()
    with serve("breaks-once") as s:
        ok("qemu-io", "-f", "raw", "-r", "-c", "read 2M 4k", s.uri())
    WEB.mended = False
    with serve("breaks") as s:
        fails("", "qemu-io", "-f", "raw", "-r", "-c", "read 2M 4k", s.uri())
        WEB.mended = True
        ok("qemu-io", "-f", "raw", "-r", "-c", "read 2M 4k", s.uri())


def moved():
    with serve("moved") as s:
        ok("nbdcopy", s.uri(), fresh())


def who_we_are():
    with open(at("pw"), "w", encoding="ascii") as f:
        f.write("pass")
    with open(at("ck"), "w", encoding="ascii") as f:
        f.write("a=b; c=d")
    objects = ["--object", f"secret,id=pw,file={at('pw')}", "--object", f"secret,id=ck,file={at('ck')}"]
    with serve("secret", *objects, opts="file.username=me,file.password-secret=pw") as s:
        ok("nbdinfo", s.uri())
    with serve("cookie", *objects, opts="file.cookie-secret=ck") as s:
        ok("nbdinfo", s.uri())
    with serve("cookie", opts="file.cookie=a=b; c=d") as s:
        ok("nbdinfo", s.uri())


def time_limit():
    start_at = time.monotonic()
    fails("", LYRE, "-k", fresh(), "-r", "--image-opts", f"driver=raw,file.driver=http,file.url={WEB.url}hangs,file.timeout=1")
    assert time.monotonic() - start_at < 3


def encrypted():
    key, cert = at("key.pem"), at("cert.pem")
    with open(at("t.cfg"), "w", encoding="ascii") as f:
        f.write("cn = x\nip_address = 127.0.0.1\ntls_www_server\nsigning_key\nexpiration_days = 10\n")
    ok("certtool", "--generate-privkey", "--key-type", "ecdsa", "--curve", "secp256r1", "--outfile", key)
    ok("certtool", "--generate-self-signed", "--load-privkey", key, "--template", at("t.cfg"), "--outfile", cert)
    web = start((cert, key))
    fails("ertificate", LYRE, "-k", fresh(), "-r", "-f", "raw", web.url + "disk")
    with serve("disk", web=web, opts="file.sslverify=off") as s:
        out = fresh()
        ok("nbdcopy", s.uri(), out)
        assert same(PATH, out)
    # There is no way back from TLS.
    fails("not supported", LYRE, "-k", fresh(), "-r", "--image-opts",
          f"driver=raw,file.driver=https,file.url={web.url}toplain,file.sslverify=off")


class Ftp(socketserver.StreamRequestHandler):
    """As much of FTP as a reader needs."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        rest, data = 0, None
        self.say("220 hello")
        for line in self.rfile:
            word, _, arg = line.decode().strip().partition(" ")
            word = word.upper()
            if word == "EPSV":
                data = socket.create_server(("127.0.0.1", 0))
                self.say(f"229 (|||{data.getsockname()[1]}|)")
            elif word == "SIZE":
                self.say(f"213 {SIZE}" if arg == "disk" else "550 no")
            elif word == "REST":
                rest = int(arg)
                self.say("350 go on")
            elif word == "RETR" and arg == "disk":
                self.say("150 here")
                c, _ = data.accept()
                try:
                    c.sendall(DATA[rest:])
                except OSError:
                    pass
                c.close()
                data.close()
                rest = 0
                self.say("226 done")
            elif word == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say({"USER": "331 and?", "PASS": "230 in", "PWD": '257 "/"', "TYPE": "200 ok", "CWD": "250 ok",
                          "MDTM": "213 20200101000000", "RETR": "550 no"}.get(word, "500 what?"))


def ftp():
    s = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ftp)
    s.daemon_threads = True
    s.handle_error = lambda *_: None
    threading.Thread(target=s.serve_forever, daemon=True).start()
    url = f"ftp://127.0.0.1:{s.server_address[1]}/"
    with lyre("-t", "-r", "-e", "0", "-f", "raw", url + "disk") as n:
        out = fresh()
        ok("nbdcopy", "--synchronous", n.uri(), out)
        assert same(PATH, out)
        ok("qemu-io", "-r", "-f", "raw", "-c", "read 1M 4k", n.uri())
    fails("ftp://", LYRE, "-k", fresh(), "-r", "-f", "raw", url + "nothing")


if __name__ == "__main__":
    main([whole, ahead, random_reads, refused, lies, moved, who_we_are, time_limit, encrypted, ftp])
