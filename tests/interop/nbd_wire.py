# SPDX-License-Identifier: MIT
"""A bare NBD client for tests: says exactly what it is told, right or wrong."""
import socket
import struct

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS = 1, 2, 3, 5
OPT_INFO, OPT_GO, OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 6, 7, 8, 9, 10
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_POLICY, ERR_INVALID = 0x80000001, 0x80000002, 0x80000003
ERR_UNKNOWN, ERR_TOO_BIG = 0x80000006, 0x80000009
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_ERROR = 0, 1, 2, 5, 0x8001

SIMPLE_MAGIC, CHUNK_MAGIC, OPTION_REPLY_MAGIC = 0x67446698, 0x668e33ef, 0x3e889045565a9


class Closed(Exception):
    """The server has closed the connection."""


class Client:
    def __init__(self, path, flags=3, hello=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        if hello:
            self.greeting = self.receive(18)
            self.send(struct.pack(">I", flags))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed
            data += part
        return data

    def is_closed(self):
        """Wait for the server to close; False if it says something instead."""
        try:
            self.receive(1)
        except Closed:
            return True
        return False

    def close(self):
        self.socket.close()

    # Negotiation.

    def option(self, option, data=b"", length=None):
        """Send an option; its replies as a list of (type, data)."""
        self.send(b"IHAVEOPT" + struct.pack(">II", option, len(data) if length is None else length)
                  + data)
        return self.replies(option)

    def replies(self, option):
        result = []
        while True:
            magic, about, kind, length = struct.unpack(">QIII", self.receive(20))
            assert magic == OPTION_REPLY_MAGIC, hex(magic)
            assert about == option, about
            result.append((kind, self.receive(length)))
            if kind == REP_ACK or kind >> 31:
                return result

    def go(self, name=b"", infos=(), option=OPT_GO):
        data = struct.pack(f">I{len(name)}sH{len(infos)}H", len(name), name, len(infos), *infos)
        return self.option(option, data)

    def contexts(self, option, name, queries):
        data = struct.pack(">I", len(name)) + name + struct.pack(">I", len(queries))
        return self.option(option, data + b"".join(struct.pack(">I", len(q)) + q for q in queries))

    # Transmission.

    def request(self, kind, offset=0, length=0, flags=0, cookie=1, data=b"", magic=0x25609513):
        self.send(struct.pack(">IHHQQI", magic, flags, kind, cookie, offset, length) + data)

    def simple(self):
        """The next reply, which must be simple: (error, cookie)."""
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return error, cookie

    def reply(self):
        """The next reply: a list of (chunk type, payload), or [("simple", error)]."""
        result = []
        while True:
            magic = struct.unpack(">I", self.receive(4))[0]
            if magic == SIMPLE_MAGIC:
                assert not result
                return [("simple", struct.unpack(">IQ", self.receive(12))[0])]
            assert magic == CHUNK_MAGIC, hex(magic)
            flags, kind, _, length = struct.unpack(">HHQI", self.receive(16))
            result.append((kind, self.receive(length)))
            if flags & 1:
                return result

    def ask(self, kind, offset=0, length=0, flags=0, data=b""):
        self.request(kind, offset, length, flags, data=data)
        return self.reply()


def connect(path, name, structured=True, contexts=(b"base:allocation",)):
    """A client in transmission."""
    client = Client(path)
    if structured:
        assert client.option(OPT_STRUCTURED) == [(REP_ACK, b"")]
        if contexts:
            client.contexts(OPT_SET_META, name, contexts)
    replies = client.go(name)
    assert replies[-1][0] == REP_ACK, replies
    return client


def error_of(reply):
    """(code, sentence) of an error reply, or None."""
    for kind, payload in reply:
        if kind == "simple":
            return (payload, "") if payload else None
        if kind == CHUNK_ERROR:
            code, length = struct.unpack(">IH", payload[:6])
            assert length == len(payload) - 6
            return code, payload[6:].decode()
    return None


def data_of(reply, offset, length):
    """The bytes that a read's chunks describe, which must cover all of it."""
    result, covered = bytearray(length), 0
    for kind, payload in reply:
        if kind == CHUNK_DATA:
            at = struct.unpack(">Q", payload[:8])[0] - offset
            result[at:at + len(payload) - 8] = payload[8:]
            covered += len(payload) - 8
        elif kind == CHUNK_HOLE:
            covered += struct.unpack(">QI", payload)[1]
        else:
            assert kind == CHUNK_NONE, reply
    assert covered == length
    return bytes(result)


def extents_of(reply):
    """[(bytes, flags)] of the one context of a BLOCK_STATUS reply."""
    (kind, payload), = reply
    assert kind == CHUNK_STATUS, reply
    numbers = struct.unpack(f">{(len(payload) - 4) // 4}I", payload[4:])
    return list(zip(numbers[::2], numbers[1::2]))
