#!/usr/bin/env python3
"""Verifies the log of audit events of a lookaside, or one proof from it, without any code of lookaside.

    python3 verify-log.py proof FILE VKEY              a proof, as `lookaside audit prove` and `push --proof` write it
    python3 verify-log.py log URL VKEY [CHECKPOINT]    the whole log of a server; CHECKPOINT: one that was kept from before

VKEY is the log's key, as GET /log/key gives it: have it from whom you trust, not from the server. A closed server wants a token for the
entries, in the environment as LOOKASIDE_TOKEN. Needs Python 3.8 and the openssl program (3.0 or newer), and nothing else.
Written from C2SP's signed-note, tlog-checkpoint, tlog-tiles and tlog-proof, and from RFC 6962. Exit status 0: all of it is right; 1: it is WRONG;
2: it could not be read.
"""
import base64
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

TILE = 256


class Wrong(Exception):
    """What does not hold."""


def sha256(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


def leaf_hash(entry):
    return sha256(b"\0", entry)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def unbase64(text):
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Wrong(f"no base64: {text[:60]!r}") from error


# --- signed notes and checkpoints

def parse_vkey(vkey):
    parts = vkey.strip().split("+", 2)
    if len(parts) != 3:
        raise Wrong("the key has another form; wanted NAME+ID+BASE64")
    name, key_id, key = parts[0], parts[1], unbase64(parts[2])
    if len(key) != 33 or key[0] != 1:
        raise Wrong("the key is no Ed25519 key")
    if sha256(name.encode() + b"\n", key)[:4].hex() != key_id:
        raise Wrong("the key's ID is not that of the key: it was changed")
    return name, bytes.fromhex(key_id), key[1:]


def is_ed25519(public_key, message, signature):
    """Asks openssl."""
    der = bytes.fromhex("302a300506032b6570032100") + public_key
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("key", "message", "signature")]
        for path, content in zip(paths, (der, message, signature)):
            with open(path, "wb") as file:
                file.write(content)
        key, text, sig = paths
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", key, "-rawin", "-in", text, "-sigfile", sig]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def read_checkpoint(note, vkey):
    """Its size and root, once the log's signature is verified."""
    name, key_id, public_key = parse_vkey(vkey)
    text, found, signatures = note.rpartition("\n\n")
    lines = text.split("\n")
    if not found or len(lines) < 3 or lines[0] != name:
        raise Wrong(f"it is no checkpoint of {name}")
    for line in signatures.split("\n"):
        if not line.startswith(f"\u2014 {name} "):
            continue
        signature = unbase64(line.split(" ")[2])
        if signature[:4] == key_id and is_ed25519(public_key, (text + "\n").encode(), signature[4:]):
            if not lines[1].isdigit():
                raise Wrong("its size is no number")
            return int(lines[1]), unbase64(lines[2])
    raise Wrong(f"the checkpoint is not signed by {name} with this key")


# --- one proof

def root_by_path(index, size, found, path):
    """RFC 6962, section 2.1.1, from the leaf upwards."""
    last = size - 1
    for sibling in path:
        if last == 0:
            raise Wrong("the path is too long")
        if index % 2 == 1 or index == last:
            found = node_hash(sibling, found)
            while index % 2 == 0 and index != 0:
                index, last = index // 2, last // 2
        else:
            found = node_hash(found, sibling)
        index, last = index // 2, last // 2
    if last != 0:
        raise Wrong("the path is too short")
    return found


def verify_proof(text, vkey):
    head, found, note = text.partition("\n\n")
    lines = head.split("\n")
    if not found or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Wrong("it is not a proof: wanted c2sp.org/tlog-proof@v1 in its first line")
    rest = lines[1:]
    if len(rest) < 2 or not rest[0].startswith("extra ") or not rest[1].startswith("index "):
        raise Wrong("the proof lacks its entry (extra) or its index")
    entry = unbase64(rest[0][len("extra "):])
    index = int(rest[1][len("index "):])
    size, root = read_checkpoint(note, vkey)
    if not 0 <= index < size:
        raise Wrong(f"entry {index} is not among the {size} of the checkpoint")
    if root_by_path(index, size, leaf_hash(entry), [unbase64(line) for line in rest[2:]]) != root:
        raise Wrong("the path leads to another root than the one that is signed")
    return index, size, entry


# --- the whole log

class Tree:
    """The root over leaves that come one by one, in memory that grows with the logarithm of their number."""

    def __init__(self):
        self.stack = []  # of (number of leaves, hash), larger ones first
        self.size = 0

    def add(self, leaf):
        self.size += 1
        count, found = 1, leaf
        while self.stack and self.stack[-1][0] == count:
            found = node_hash(self.stack.pop()[1], found)
            count *= 2
        self.stack.append((count, found))

    def root(self):
        if not self.stack:
            return sha256()
        found = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            found = node_hash(left, found)
        return found


class TokenStays(urllib.request.HTTPRedirectHandler):
    """The token is for the server that was named, and for no other to which that leads."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urllib.parse.urlsplit(newurl)[:2] != urllib.parse.urlsplit(req.full_url)[:2]:
            following.remove_header("Authorization")
        return following


OPENER = urllib.request.build_opener(TokenStays)


def get(url):
    token = os.environ.get("LOOKASIDE_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with OPENER.open(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return answer.read()


def tile_name(number):
    """As tlog-tiles names it: 1234067 is x001/x234/067."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def entries_of(bundle):
    at = 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at:at + 2], "big")
        at += 2
        if at + length > len(bundle):
            raise Wrong("a bundle of entries is cut short")
        yield bundle[at:at + length]
        at += length


def verify_log(url, vkey, old):
    base = url.rstrip("/") + "/log"
    size, root = read_checkpoint(get(f"{base}/checkpoint").decode(), vkey)
    old_size, old_root = (0, sha256()) if old is None else read_checkpoint(old, vkey)
    if size < old_size:
        raise Wrong(f"the log has {size} entries now, and had {old_size}: it was set back")
    tree = Tree()
    if old_size == 0 and old_root != sha256():
        raise Wrong("the kept checkpoint of no entries has another root")
    for first in range(0, size, TILE):
        width = min(TILE, size - first)
        partial = "" if width == TILE else f".p/{width}"
        entries = list(entries_of(get(f"{base}/tile/entries/{tile_name(first // TILE)}{partial}")))
        if len(entries) != width:
            raise Wrong(f"the bundle from entry {first} has {len(entries)} entries; wanted {width}")
        for entry in entries:
            tree.add(leaf_hash(entry))
            if tree.size == old_size and tree.root() != old_root:
                raise Wrong(f"the first {old_size} entries are not those of the checkpoint that was kept")
    if tree.root() != root:
        raise Wrong("the entries lead to another root than the one that is signed")
    return size


def main(arguments):
    try:
        if len(arguments) == 3 and arguments[0] == "proof":
            with open(arguments[1], encoding="utf-8", newline="") as file:
                index, size, entry = verify_proof(file.read(), arguments[2])
            print(entry.decode("utf-8", "backslashreplace"))
            print(f"right: entry {index} of {size}")
        elif len(arguments) in (3, 4) and arguments[0] == "log":
            old = None
            if len(arguments) == 4:
                with open(arguments[3], encoding="utf-8", newline="") as file:
                    old = file.read()
            size = verify_log(arguments[1], arguments[2], old)
            print(f"right: all {size} entries" + ("" if old is None else ", going on from the checkpoint that was kept"))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (Wrong, ValueError) as error:
        print(f"WRONG: {error}", file=sys.stderr)
        return 1
    except (OSError, http.client.HTTPException) as error:
        print(f"could not look: {error or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
