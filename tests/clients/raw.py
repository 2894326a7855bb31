"""Sends sequences of messages to a server, and prints the kinds of its replies.

Run with host, port, user and password; the password may be empty, for a server that trusts.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
import sys

host, port, user, password = sys.argv[1:]


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


class Client:
    def __init__(self):
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.buffer = b""
        body = struct.pack("!I", 3 << 16) + text("user") + text(user) + text("database") + text("postgres") + b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.log_in()
        while self.read()[0] != "Z":
            pass

    def read(self):
        while True:
            if len(self.buffer) >= 5:
                length = struct.unpack("!I", self.buffer[1:5])[0]
                if len(self.buffer) > length:
                    kind, body = self.buffer[:1].decode(), self.buffer[5 : length + 1]
                    self.buffer = self.buffer[length + 1 :]
                    return kind, body
            block = self.socket.recv(65536)
            if not block:
                return "end", b""
            self.buffer += block

    def log_in(self):
        kind, body = self.read()
        if struct.unpack("!I", body[:4])[0] == 0:
            return
        assert body[4:] == b"SCRAM-SHA-256\0\0", body
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        sent = ("n,," + first).encode()
        self.send(message(b"p", text("SCRAM-SHA-256") + struct.pack("!I", len(sent)) + sent))
        server_first = self.read()[1][4:].decode()
        parts = dict(part.split("=", 1) for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))

        def sign(key, what):
            return hmac.digest(key, what, "sha256")

        client_key = sign(salted, b"Client Key")
        without_proof = f"c=biws,r={parts['r']}"
        exchanged = f"{first},{server_first},{without_proof}".encode()
        signature = sign(hashlib.sha256(client_key).digest(), exchanged)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send(message(b"p", f"{without_proof},p={proof}".encode()))
        last = self.read()[1][4:].decode()
        assert base64.b64decode(last[2:]) == sign(sign(salted, b"Server Key"), exchanged)
        assert self.read() == ("R", b"\0\0\0\0")

    def send(self, data):
        self.socket.sendall(data)


def query(sql):
    return message(b"Q", text(sql))


def parse(sql, name="", types=()):
    types = struct.pack("!H", len(types)) + b"".join(struct.pack("!I", each) for each in types)
    return message(b"P", text(name) + text(sql) + types)


def bind(portal="", statement="", values=(), formats=(), results=()):
    body = text(portal) + text(statement)
    body += struct.pack("!H", len(formats)) + b"".join(struct.pack("!H", each) for each in formats)
    body += struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    body += struct.pack("!H", len(results)) + b"".join(struct.pack("!H", each) for each in results)
    return message(b"B", body)


def describe(what, name=""):
    return message(b"D", what.encode() + text(name))


def execute(portal="", rows=0):
    return message(b"E", text(portal) + struct.pack("!I", rows))


def close(what, name=""):
    return message(b"C", what.encode() + text(name))


SYNC = message(b"S")
FLUSH = message(b"H")
ROWS = "select v from generate_series(1, 7) as t(v) order by v"
LONG = ("select v::bigint as v, v::text as t from generate_series(1, 3) as t(v) order by v")

SEQUENCES = {
    "several statements": [query("select 1; select 2; select 3 where false")],
    "an error ends the rest": [query("select 1; select nope; select 3")],
    "empty": [query(""), query(" ; ; "), query("-- nothing")],
    "a row limit": [parse(ROWS), bind(), describe("P"), execute(rows=3), execute(rows=4), execute(rows=2), execute(), SYNC],
    "suspended at the last row": [parse(ROWS), bind(), execute(rows=7), execute(rows=7), SYNC],
    "an error skips to Sync": [parse("select nope"), bind(), execute(), parse("select 1"), SYNC, query("select 1")],
    "no statement": [bind(statement="x"), execute(), SYNC, execute("y"), SYNC, describe("S", "z"), SYNC],
    "named twice": [parse("select 1", "a"), parse("select 2", "a"), SYNC, close("S", "a"), parse("select 2", "a"), SYNC],
    "portals end with Sync": [parse("select 1"), bind("p"), SYNC, execute("p"), SYNC],
    "portals live in a block": [query("begin"), parse(ROWS), bind("p"), execute("p", 2), SYNC, execute("p", 2), SYNC, query("commit"), execute("p"), SYNC],
    "parameters": [parse("select $1::bigint + $2"), describe("S"), bind(values=[b"1", b"2"]), describe("P"), execute(), SYNC],
    "binary": [parse(LONG), bind(results=[1, 0]), describe("P"), execute(), SYNC],
    "wrong number of values": [parse("select $1::int"), bind(values=[]), SYNC],
    "wrong number of formats": [parse("select 1"), bind(results=[0, 1]), SYNC],
    "an invalid value": [parse("select $1::int"), bind(values=[b"x"]), SYNC],
    "a NULL": [parse("select $1::int"), bind(values=[None]), execute(), SYNC],
    "several commands prepared": [parse("select 1; select 2"), SYNC],
    "an empty statement": [parse(""), describe("S"), bind(), describe("P"), execute(), SYNC],
    "closing what is not there": [close("S", "none"), close("P", "none"), SYNC],
    "a command": [parse("set application_name = 'x'"), describe("S"), bind(), execute(), SYNC],
    "show": [parse("show application_name"), describe("S"), bind(), describe("P"), execute(), SYNC],
    "transactions": [query("begin"), query("begin"), query("select nope"), query("select 1"), query("commit"), query("commit"), query("rollback")],
    "savepoints": [query("begin"), query("savepoint a"), query("select nope"), query("rollback to a"), query("select 1"), query("release a"), query("end"), query("savepoint b")],
    "a failed block, prepared": [query("begin"), parse("select nope"), SYNC, parse("select 1"), SYNC, parse("rollback"), bind(), execute(), SYNC],
    "cursors": [query("begin; declare c cursor for " + ROWS), query("fetch 2 from c"), query("move 1 from c"), query("fetch all from c"), query("fetch c"), query("close c"), query("fetch c"), query("rollback")],
    "a cursor outside a block": [query("declare c cursor for select 1"), query("fetch c")],
    "copy": [query("copy (select 1 where false) to stdout"), query("copy (" + ROWS + ") to stdout"), query("copy (select nope) to stdout")],
    "copy, prepared": [parse("copy (" + ROWS + ") to stdout (format csv)"), bind(), describe("P"), execute(), SYNC],
    "copy binary": [query("copy (" + LONG + ") to stdout (format binary)")],
    "flush": [parse("select 1"), FLUSH, bind(), execute(), FLUSH, SYNC],
    "described after Sync": [parse("select 1::int as a", "s"), SYNC, describe("S", "s"), SYNC, bind(statement="s"), execute(), describe("S", "s"), SYNC],
    "the unnamed statement is gone": [parse("select 42"), SYNC, parse("selec"), SYNC, bind(), SYNC],
    "an integer column": [parse("select x + $1 from (values (1::int)) as t(x)", types=[23]), describe("S"), bind(values=[b"\0\0\0\5"], formats=[1], results=[1]), execute(), SYNC],
    "an unknown savepoint": [query("begin"), query("select nope"), query("rollback to nosuch"), query("rollback")],
    "chains": [query("commit and chain"), query("begin"), query("commit and chain"), query("rollback")],
    "read only": [query("begin read only"), query("create table ro (a int)"), query("rollback"), query("set default_transaction_read_only = on"), query("create table ro (a int)"), query("begin read write"), query("select 1::int"), query("commit")],
    "a held cursor": [query("begin; declare h cursor with hold for " + ROWS), query("commit"), query("begin"), query("rollback"), query("fetch 2 from h"), query("close h")],
    "nothing takes effect": [query("create table early (a int); selec 2"), query("select * from early")],
    "fetch, prepared": [query("begin; declare b binary cursor for " + LONG), parse("fetch 1 from b"), bind(), describe("P"), execute(), SYNC, query("fetch 1 from b"), query("rollback")],
    "deallocate": [parse("select 1", "d"), SYNC, query("deallocate d"), bind(statement="d"), SYNC, query("deallocate all"), query("discard all")],
}


def show(kind, body):
    """The kind, with the parts that must be the same."""
    if kind in "EN":
        fields = dict((part[:1], part[1:]) for part in body.split(b"\0") if part)
        return f"{kind}:{fields[b'S'].decode()}:{fields[b'C'].decode()}"
    if kind in "ZCDdTtSH":
        return f"{kind}:{body.hex()}" if kind != "C" else f"C:{body[:-1].decode()}"
    return kind


for name, messages in SEQUENCES.items():
    client = Client()
    ready = sum(each[:1] in (b"Q", b"S") for each in messages)
    client.send(b"".join(messages))
    replies = []
    while ready:
        kind, body = client.read()
        replies.append(show(kind, body))
        ready -= kind == "Z"
        if kind == "end":
            break
    client.send(message(b"X"))
    print(name, *replies, sep="\n    ")
